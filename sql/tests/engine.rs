//! The engine over tables whose source does what sources do not.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::ipc::writer::StreamWriter;
use futures_util::StreamExt;
use futures_util::stream;
use pyralog_sql::{
    Bounds, Catalog, Engine, Format, IpcStream, Limits, Part, Source, SourceError, SqlError, Table, Wanted,
};

/// What a part of a table does.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Gives so many rows.
    Give(usize),
    Fail,
    Panic,
    /// Gives something else than it said.
    Lie,
}

#[derive(Clone)]
struct World(Vec<Deed>);

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("agent", DataType::Utf8, false),
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("v", DataType::Float64, true),
    ])
}

fn ipc(rows: usize) -> Bytes {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["a"; rows])),
        Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows as i64).with_timezone("UTC")),
        Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64))),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema()), columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema()).unwrap();
    if rows > 0 {
        writer.write(&batch).unwrap();
    }
    writer.into_inner().unwrap().into()
}

#[async_trait]
impl Catalog for World {
    async fn names(&self) -> Result<Vec<String>, SourceError> {
        Ok(vec!["t".into()])
    }

    async fn table(&self, name: &str) -> Result<Option<Table>, SourceError> {
        let parts = self.0.iter().map(|_| Part { bounds: Bounds::default() }).collect();
        let source = Arc::new(self.clone());
        let table = Table { schema: ipc(0), has_date: true, files: Vec::new(), parts, source };
        Ok((name == "t").then_some(table))
    }
}

#[async_trait]
impl Source for World {
    async fn read(&self, _: &str, _: Range<u64>) -> Result<Bytes, SourceError> {
        Err(SourceError::Ours("there are no files".into()))
    }

    fn part(&self, index: usize, _: Wanted) -> IpcStream {
        let piece = match self.0[index] {
            Deed::Give(rows) => Ok(ipc(rows)),
            Deed::Fail => Err(SourceError::Unavailable("the disk is away".into())),
            Deed::Panic => return stream::once(async { panic!("a bug") }).boxed(),
            Deed::Lie => Ok(Bytes::from_static(b"no Arrow at all")),
        };
        stream::iter([piece]).boxed()
    }
}

async fn answer(deeds: &[Deed], sql: &str) -> Result<String, (String, SqlError)> {
    let limits = Limits { memory: 64 << 20, queries: 1, timeout: Duration::from_secs(60), threads: 1 };
    let engine = Engine::new(limits).unwrap();
    let mut text = String::new();
    let query = engine.query(Arc::new(World(deeds.to_vec())), sql, Format::Csv).await;
    let mut answer = query.map_err(|error| (String::new(), error))?;
    while let Some(piece) = answer.next().await {
        match piece {
            Ok(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            Err(error) => return Err((text, error)),
        }
    }
    Ok(text)
}

#[tokio::test]
async fn parts_are_one_table_and_the_date_is_that_of_the_time() {
    let sql = "SELECT count(*) AS n, sum(v) AS v, min(date) AS date FROM t";
    let text = answer(&[Deed::Give(3), Deed::Give(0), Deed::Give(20_000)], sql).await.unwrap();
    assert_eq!(text, "n,v,date\n20003,199990003.0,1970-01-01\n");
}

#[tokio::test]
async fn what_a_source_says_of_its_trouble_arrives_as_it_was_said() {
    let (_, error) = answer(&[Deed::Give(1), Deed::Fail], "SELECT count(*) FROM t").await.unwrap_err();
    assert!(
        matches!(&error, SqlError::Source(SourceError::Unavailable(reason)) if reason == "the disk is away"),
        "{error}"
    );
    let (_, error) = answer(&[Deed::Lie], "SELECT count(*) FROM t").await.unwrap_err();
    assert!(!matches!(error, SqlError::Internal(_)), "{error}");
}

#[tokio::test]
async fn an_answer_whose_query_panicked_is_never_taken_for_a_whole_one() {
    for sql in ["SELECT count(*) FROM t", "SELECT * FROM t"] {
        let (_, error) = answer(&[Deed::Give(20_000), Deed::Panic], sql).await.unwrap_err();
        assert!(matches!(error, SqlError::Internal(_)), "{sql}: {error}");
    }
    // The first rows are out when the second part fails.
    let outcome = answer(&[Deed::Give(20_000), Deed::Fail], "SELECT v FROM t").await;
    assert!(matches!(outcome, Err((_, SqlError::Source(_)))));
}

#[tokio::test]
async fn an_aggregate_of_nothing_and_a_query_without_a_table_have_answers() {
    assert_eq!(answer(&[], "SELECT count(*) AS n, max(v) AS m FROM t").await.unwrap(), "n,m\n0,\n");
    assert_eq!(answer(&[], "SELECT 1 + 1 AS two").await.unwrap(), "two\n2\n");
    assert_eq!(answer(&[], "SELECT * FROM t").await.unwrap(), "agent,time,v,date\n");
}

//! A table for whoever queries it: its files with what is known of their rows, and its columns for records that are in none yet.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use crate::adopt::adopt;
use crate::columns::{Columns, Kind};
use crate::delta::Add;
use crate::lake::LakeError;
use crate::rows::widened;

/// A Parquet file of a table; bounds are inclusive, and `None` where they are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its name in the lake, for [`Lake::read_range`](crate::Lake::read_range).
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The day of its rows, in days since 1970.
    pub date: Option<i32>,
    /// First and last agent by name.
    pub agents: Option<(String, String)>,
    /// Lowest and highest epoch.
    pub epochs: Option<(i64, i64)>,
    /// Lowest and highest offset.
    pub offsets: Option<(i64, i64)>,
    /// Lowest and highest time, Unix microseconds, outwards to whole milliseconds.
    pub times: Option<(i64, i64)>,
}

impl DataFile {
    pub(crate) fn new(folder: &str, add: &Add) -> Self {
        let stats: Value = serde_json::from_str(add.stats.as_deref().unwrap_or_default()).unwrap_or_default();
        let pair = |name: &str| (&stats["minValues"][name], &stats["maxValues"][name]);
        let text = |name: &str| {
            let (least, most) = pair(name);
            Some((least.as_str()?.to_owned(), most.as_str()?.to_owned()))
        };
        let long = |name: &str| {
            let (least, most) = pair(name);
            Some((least.as_i64()?, most.as_i64()?))
        };
        let times = text("time").and_then(|(least, most)| Some((micros(&least)?, micros(&most)?)));
        let date = add.partition_values.get("date").and_then(Option::as_deref).and_then(day);
        Self {
            name: format!("{folder}/{}", add.path),
            size: add.size,
            date,
            agents: text("agent"),
            epochs: long("epoch"),
            offsets: long("offset"),
            times,
        }
    }
}

fn micros(time: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(time).ok()?.timestamp_micros())
}

fn day(date: &str) -> Option<i32> {
    Some(date.parse::<NaiveDate>().ok()?.to_epoch_days())
}

/// The columns of a table, and of records that are not archived yet.
#[derive(Debug, Clone, Default)]
pub struct Shape(Columns);

impl Shape {
    pub(crate) fn new(columns: Columns) -> Self {
        Self(columns)
    }

    /// Adds the columns of segments with this schema: `time`, then the log's. Those of types that no segment has are left out.
    pub fn widen(&mut self, segment: &Schema) {
        let fields = segment.fields().iter().skip(1);
        let columns: Vec<_> =
            fields.filter_map(|field| Some((field.name().as_str(), Kind::of(field.data_type())?))).collect();
        self.0.place(&columns);
    }

    /// The columns, as they are in files: strings as such.
    pub fn schema(&self) -> SchemaRef {
        let plain = |field: &Arc<Field>| match field.data_type() {
            DataType::Dictionary(_, values) => {
                Arc::new(Field::new(field.name(), values.as_ref().clone(), field.is_nullable()))
            }
            _ => Arc::clone(field),
        };
        Arc::new(Schema::new(self.0.arrow().fields().iter().map(plain).collect::<Vec<_>>()))
    }

    /// Some rows of a segment, as rows with [`Self::schema`]; `base` is the offset of its first. Columns that the schema lacks are left out.
    pub fn rows(
        &self,
        agent: &str,
        epoch: u32,
        base: u64,
        segment: &RecordBatch,
        rows: Range<usize>,
    ) -> Result<RecordBatch, LakeError> {
        let part = segment.slice(rows.start, rows.len());
        let adopted = adopt(&mut self.0.clone(), agent, epoch, base + rows.start as u64, &part)?;
        widened(&adopted, &self.schema())
    }
}

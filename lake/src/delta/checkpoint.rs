//! Checkpoints: a table's state in one Parquet file, so that nobody reads its whole log.
//!
//! Rows are the actions of the log. They cross into Parquet and back as lines of JSON, so one code knows what they mean.

use std::io::Cursor;
use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use arrow_json::reader::ReaderBuilder;
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::action::lines;
use super::log::Snapshot;
use crate::lake::{Lake, LakeError};

/// A checkpoint is written every so many versions.
pub(super) const EVERY: u64 = 20;

/// Actions converted at once.
const RUN: usize = 8_192;

fn pointer(folder: &str) -> String {
    format!("{folder}/_delta_log/_last_checkpoint")
}

fn name(folder: &str, version: u64) -> String {
    format!("{folder}/_delta_log/{version:020}.checkpoint.parquet")
}

/// The state of the newest checkpoint; `None` where there is none, or another program wrote one that this build does not read,
/// and the log is whole without it.
pub(super) async fn read(lake: &Lake, folder: &str) -> Result<Option<Snapshot>, LakeError> {
    let Some(bytes) = lake.read(&pointer(folder)).await? else { return Ok(None) };
    let last: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let Some(version) = last["version"].as_u64() else { return Ok(None) };
    let name = name(folder, version);
    let foreign = |reason: String| LakeError::Foreign { name: name.clone(), reason };
    let Some(bytes) = lake.read(&name).await? else {
        return match lake.read(&super::log::commit_name(folder, 0)).await? {
            Some(_) => Ok(None),
            None => Err(foreign(
                "it is missing, and so is the start of the log; restore the lake or archive into another".into(),
            )),
        };
    };
    let mut snapshot = parse(bytes).map_err(foreign)?;
    snapshot.version = Some(version);
    Ok(Some(snapshot))
}

fn parse(bytes: Bytes) -> Result<Snapshot, String> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.with_batch_size(RUN).build());
    let mut snapshot = Snapshot::default();
    for batch in reader.map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut text);
        writer.write(&batch).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
        snapshot.apply(&text)?;
    }
    Ok(snapshot)
}

/// Writes a checkpoint when it is time for one. Whoever else does so writes the same state.
pub(super) async fn write(lake: &Lake, folder: &str, snapshot: &Snapshot) -> Result<(), LakeError> {
    let Some(version) = snapshot.version.filter(|version| *version > 0 && version.is_multiple_of(EVERY)) else {
        return Ok(());
    };
    let (bytes, size) = encode(snapshot)?;
    lake.create(&name(folder, version), bytes).await?;
    let last = serde_json::json!({ "version": version, "size": size }).to_string();
    lake.replace(&pointer(folder), last.into()).await
}

fn encode(snapshot: &Snapshot) -> Result<(Bytes, usize), LakeError> {
    let schema = Arc::new(schema());
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None)?;
    let actions: Vec<_> = snapshot.actions().collect();
    for run in actions.chunks(RUN) {
        let text = lines(run).map_err(LakeError::ours)?;
        let reader = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(RUN).build(Cursor::new(text))?;
        for batch in reader {
            writer.write(&batch?)?;
        }
    }
    Ok((writer.into_inner()?.into(), actions.len()))
}

fn schema() -> Schema {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let long = |name| Field::new(name, DataType::Int64, true);
    let int = |name| Field::new(name, DataType::Int32, true);
    let flag = |name| Field::new(name, DataType::Boolean, true);
    let row = |name, fields: Vec<Field>| Field::new(name, DataType::Struct(Fields::from(fields)), true);
    let map = |name| {
        let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        Field::new(name, DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false), true)
    };
    let partitions = DataType::List(Arc::new(text("element")));
    Schema::new(vec![
        row("protocol", vec![int("minReaderVersion"), int("minWriterVersion")]),
        row(
            "metaData",
            vec![
                text("id"),
                text("name"),
                row("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                Field::new("partitionColumns", partitions, true),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        row("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        row("remove", vec![text("path"), long("deletionTimestamp"), flag("dataChange")]),
        row(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
            ],
        ),
    ])
}

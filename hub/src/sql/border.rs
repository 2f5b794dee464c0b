//! The way out of this Arrow: batches as IPC bytes, which any other Arrow reads.

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;
use pyralog_sql::SourceError;

/// Columns alone.
pub(super) fn schema(schema: &Schema) -> Result<Bytes, SourceError> {
    encoded(schema, None).map_err(ours)
}

/// One batch.
pub(super) fn batch(batch: &RecordBatch) -> Result<Bytes, SourceError> {
    encoded(&batch.schema(), Some(batch)).map_err(ours)
}

fn encoded(schema: &Schema, batch: Option<&RecordBatch>) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    batch.map(|batch| writer.write(batch)).transpose()?;
    Ok(writer.into_inner()?.into())
}

pub(super) fn ours(error: impl std::fmt::Display) -> SourceError {
    SourceError::Ours(error.to_string())
}

//! Counts the readings in a stream of records: field values that are not null.

use arrow_array::Array;
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;

use super::Result;

/// What a stream holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) records: u64,
    pub(super) readings: u64,
}

impl Counted {
    /// Reads a whole Arrow IPC stream.
    pub(super) fn of(stream: &[u8]) -> Result<Self> {
        let mut counted = Self::default();
        for batch in StreamReader::try_new(stream, None)? {
            let batch = batch?;
            counted.records += batch.num_rows() as u64;
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let is_tag = matches!(field.data_type(), DataType::Dictionary(_, _));
                if !is_tag && !matches!(field.name().as_str(), "epoch" | "offset" | "time") {
                    counted.readings += (column.len() - column.null_count()) as u64;
                }
            }
        }
        Ok(counted)
    }
}

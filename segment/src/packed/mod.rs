//! The `packed` encoding.

use arrow_array::RecordBatch;

use crate::codec::{DecodeError, DecodeLimits, EncodeError};
use crate::schema::Schema;

pub(crate) fn encode(batch: &RecordBatch, schema: &Schema, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    crate::arrow_zstd::encode(batch, schema, out)
}

pub(crate) fn decode(
    bytes: &[u8],
    schema: &Schema,
    rows: usize,
    limits: &DecodeLimits,
) -> Result<RecordBatch, DecodeError> {
    crate::arrow_zstd::decode(bytes, schema, rows, limits)
}

pub(crate) fn scratch_bytes(rows: usize, _schema: &Schema) -> usize {
    (1 << 20) + rows * 48
}

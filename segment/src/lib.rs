//! Segments of sensor records: their schema, their compressed bodies, and the formats in which records leave.
//!
//! A segment is a run of consecutive records of one log under one [`Schema`]. In memory it is an Arrow batch in the shape
//! that [`Schema::arrow`] gives; at rest and on the wire it is the bytes of [`encode`]; [`decode`] gives the same batch
//! back, bit for bit. The schema and the row count travel outside of those bytes.
//!
//! ```
//! use pyralog_segment::{Column, ColumnType, DecodeLimits, Encoding, Schema, decode, encode};
//! use std::sync::Arc;
//! # use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
//! let schema = Schema::new(vec![Column::new("temp", ColumnType::F64)])?;
//! let time: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC"));
//! let temp: ArrayRef = Arc::new(Float64Array::from(vec![Some(20.5), None, Some(20.7)]));
//! let batch = RecordBatch::try_new(schema.arrow(), vec![time, temp])?;
//!
//! let mut bytes = Vec::new();
//! encode(&batch, Encoding::Packed, &mut bytes)?;
//! assert_eq!(decode(&bytes, &schema, 3, Encoding::Packed, &DecodeLimits::default())?, batch);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrow_zstd;
mod codec;
mod output;
mod packed;
mod schema;

pub use codec::{
    DecodeError, DecodeLimits, EncodeError, Encoding, UnknownEncoding, decode, encode, overhead_bytes, scratch_bytes,
};
pub use output::{Format, OutputError, RecordsWriter, UnknownFormat};
pub use schema::{
    Column, ColumnType, MAX_COLUMN_NAME, MAX_COLUMNS, Place, RESERVED_NAMES, Schema, SchemaError, TIME_COLUMN,
};

//! One cell of a batch as the text formats see it.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow_array::{
    Array, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType};

/// A value of one cell.
pub(super) enum Cell<'a> {
    Null,
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A column with its type known, so that a row costs no downcast.
pub(super) enum Cells<'a> {
    Time(&'a TimestampNanosecondArray),
    Epoch(&'a UInt32Array),
    U64(&'a UInt64Array),
    I64(&'a Int64Array),
    F64(&'a Float64Array),
    Bool(&'a BooleanArray),
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
    Tag(&'a DictionaryArray<Int32Type>, &'a StringArray),
}

impl<'a> Cells<'a> {
    /// The columns of a batch of the output schema.
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Vec<Self>, ArrowError> {
        batch.columns().iter().map(|column| Self::new(column.as_ref())).collect()
    }

    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let cells = match array.data_type() {
            DataType::Timestamp(..) => array.as_primitive_opt::<TimestampNanosecondType>().map(Self::Time),
            DataType::UInt32 => array.as_primitive_opt::<UInt32Type>().map(Self::Epoch),
            DataType::UInt64 => array.as_primitive_opt::<UInt64Type>().map(Self::U64),
            DataType::Int64 => array.as_primitive_opt::<Int64Type>().map(Self::I64),
            DataType::Float64 => array.as_primitive_opt::<Float64Type>().map(Self::F64),
            DataType::Boolean => array.as_boolean_opt().map(Self::Bool),
            DataType::Utf8 => array.as_string_opt::<i32>().map(Self::Utf8),
            DataType::Binary => array.as_binary_opt::<i32>().map(Self::Binary),
            DataType::Dictionary(..) => array
                .as_dictionary_opt::<Int32Type>()
                .and_then(|tags| Some(Self::Tag(tags, tags.values().as_string_opt::<i32>()?))),
            _ => None,
        };
        cells.ok_or_else(|| ArrowError::SchemaError(format!("no text form for {}", array.data_type())))
    }

    /// The value in row `row`, which must be a row of the batch.
    pub(super) fn get(&self, row: usize) -> Cell<'a> {
        match self {
            Self::Time(array) if array.is_valid(row) => Cell::Signed(array.value(row)),
            Self::Epoch(array) if array.is_valid(row) => Cell::Unsigned(array.value(row).into()),
            Self::U64(array) if array.is_valid(row) => Cell::Unsigned(array.value(row)),
            Self::I64(array) if array.is_valid(row) => Cell::Signed(array.value(row)),
            Self::F64(array) if array.is_valid(row) => Cell::Float(array.value(row)),
            Self::Bool(array) if array.is_valid(row) => Cell::Bool(array.value(row)),
            Self::Utf8(array) if array.is_valid(row) => Cell::Text(array.value(row)),
            Self::Binary(array) if array.is_valid(row) => Cell::Bytes(array.value(row)),
            Self::Tag(tags, values) => match tags.key(row) {
                Some(key) if values.is_valid(key) => Cell::Text(values.value(key)),
                _ => Cell::Null,
            },
            _ => Cell::Null,
        }
    }
}

/// Appends the shortest decimal form that reads back as the same float; NaN and infinities by name.
pub(super) fn push_float(value: f64, out: &mut Vec<u8>) {
    match value {
        v if v.is_nan() => out.extend_from_slice(b"NaN"),
        f64::INFINITY => out.extend_from_slice(b"Infinity"),
        f64::NEG_INFINITY => out.extend_from_slice(b"-Infinity"),
        v => out.extend_from_slice(ryu::Buffer::new().format_finite(v).as_bytes()),
    }
}

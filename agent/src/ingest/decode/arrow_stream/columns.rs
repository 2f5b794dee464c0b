//! From the columns of a stream to the types of a log.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder, StringDictionaryBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Date32Type, Date64Type, Float16Type, Float32Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, RecordBatch};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{DataType, Schema, TimeUnit};

use super::{Columns, StreamError, StreamOptions};

/// What becomes of each column of a stream's schema.
#[derive(Debug)]
pub(super) struct Plan {
    time: Option<usize>,
    /// Index, name, and whether strings are tags; columns of nulls alone are left out.
    columns: Vec<(usize, String, bool)>,
}

impl Plan {
    pub(super) fn new(schema: &Schema, options: &StreamOptions) -> Result<Self, StreamError> {
        let key = options.time_key.as_deref().unwrap_or("time");
        let mut plan = Self { time: None, columns: Vec::new() };
        for (index, field) in schema.fields().iter().enumerate() {
            let unsupported = || StreamError::Unsupported {
                column: field.name().chars().take(255).collect(),
                data_type: field.data_type().to_string(),
            };
            if field.name() == key && plan.time.is_none() {
                if !is_time(field.data_type()) {
                    return Err(unsupported());
                }
                plan.time = Some(index);
            } else if is_supported(field.data_type()) {
                let tag = options.tags.iter().any(|tag| tag == field.name());
                plan.columns.push((index, field.name().clone(), tag));
            } else if *field.data_type() != DataType::Null {
                return Err(unsupported());
            }
        }
        if plan.time.is_none() && plan.columns.is_empty() {
            // Such a batch would have rows without bytes: as many as its header likes.
            return Err(StreamError::Invalid { message: 1, detail: "the schema has no column with values".to_owned() });
        }
        Ok(plan)
    }

    /// Converts a batch; copied texts may take `room` bytes in all.
    pub(super) fn columns(&self, batch: &RecordBatch, now: i64, mut room: u64) -> Result<Columns, String> {
        let times = match self.time {
            None => vec![now; batch.num_rows()],
            Some(index) => {
                let times = time_ns(batch.column(index))?;
                times.iter().map(|time| time.unwrap_or(now)).collect()
            }
        };
        let mut columns = Vec::with_capacity(self.columns.len());
        for (index, name, tag) in &self.columns {
            let array =
                convert(batch.column(*index), *tag, &mut room).map_err(|error| format!("column {name:?}: {error}"))?;
            columns.push((name.clone(), array));
        }
        Ok(Columns { times, columns })
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64 | DataType::Null) || is_date(data_type)
}

fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(key, values) => {
            key.is_dictionary_key_type()
                && matches!(**values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        other => other.is_integer() || other.is_floating() || is_date(other),
    }
}

/// Any time as Unix nanoseconds; integers are nanoseconds already.
fn time_ns(array: &ArrayRef) -> Result<PrimitiveArray<Int64Type>, String> {
    let day = 86_400_000_000_000;
    match array.data_type() {
        DataType::Int64 => Ok(array.as_primitive::<Int64Type>().clone()),
        DataType::UInt64 => {
            array.as_primitive::<UInt64Type>().try_unary(|time| i64::try_from(time).map_err(|_| range(time)))
        }
        DataType::Null => Ok(PrimitiveArray::new_null(array.len())),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => scale::<TimestampNanosecondType>(array, 1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scale::<TimestampMicrosecondType>(array, 1_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scale::<TimestampMillisecondType>(array, 1_000_000),
        DataType::Timestamp(TimeUnit::Second, _) => scale::<TimestampSecondType>(array, 1_000_000_000),
        DataType::Date32 => scale::<Date32Type>(array, day),
        DataType::Date64 => scale::<Date64Type>(array, 1_000_000),
        other => Err(format!("{other} is no time")),
    }
}

fn scale<T>(array: &ArrayRef, nanos: i64) -> Result<PrimitiveArray<Int64Type>, String>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    array.as_primitive::<T>().try_unary(|time| {
        let time: i64 = time.into();
        time.checked_mul(nanos).ok_or_else(|| range(time))
    })
}

fn range(time: impl std::fmt::Display) -> String {
    format!("the time {time} is outside the years 1677 to 2262")
}

fn convert(array: &ArrayRef, tag: bool, room: &mut u64) -> Result<ArrayRef, String> {
    Ok(match array.data_type() {
        DataType::Int8 => widen::<Int8Type, Int64Type>(array),
        DataType::Int16 => widen::<Int16Type, Int64Type>(array),
        DataType::Int32 => widen::<Int32Type, Int64Type>(array),
        DataType::UInt8 => widen::<UInt8Type, UInt64Type>(array),
        DataType::UInt16 => widen::<UInt16Type, UInt64Type>(array),
        DataType::UInt32 => widen::<UInt32Type, UInt64Type>(array),
        DataType::Float16 => widen::<Float16Type, Float64Type>(array),
        DataType::Float32 => widen::<Float32Type, Float64Type>(array),
        DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Boolean => Arc::clone(array),
        DataType::Utf8 if !tag => Arc::clone(array),
        DataType::Utf8 => text(array.as_string::<i32>().iter(), tag, room)?,
        DataType::LargeUtf8 => text(array.as_string::<i64>().iter(), tag, room)?,
        DataType::Utf8View => text(array.as_string_view().iter(), tag, room)?,
        DataType::Binary => Arc::clone(array),
        DataType::LargeBinary => binary(array.as_binary::<i64>().iter(), room)?,
        DataType::BinaryView => binary(array.as_binary_view().iter(), room)?,
        DataType::FixedSizeBinary(_) => binary(array.as_fixed_size_binary().iter(), room)?,
        DataType::Dictionary(key, _) => match **key {
            DataType::Int8 => dictionary::<Int8Type>(array, room)?,
            DataType::Int16 => dictionary::<Int16Type>(array, room)?,
            DataType::Int32 => dictionary::<Int32Type>(array, room)?,
            DataType::Int64 => dictionary::<Int64Type>(array, room)?,
            DataType::UInt8 => dictionary::<UInt8Type>(array, room)?,
            DataType::UInt16 => dictionary::<UInt16Type>(array, room)?,
            DataType::UInt32 => dictionary::<UInt32Type>(array, room)?,
            DataType::UInt64 => dictionary::<UInt64Type>(array, room)?,
            _ => return Err("a dictionary with unusual keys".to_owned()),
        },
        _ => Arc::new(time_ns(array)?),
    })
}

fn widen<From, To>(array: &ArrayRef) -> ArrayRef
where
    From: ArrowPrimitiveType,
    To: ArrowPrimitiveType,
    From::Native: Into<To::Native>,
{
    Arc::new(array.as_primitive::<From>().unary::<_, To>(Into::into))
}

fn text<'a>(
    values: impl Iterator<Item = Option<&'a str>> + Clone,
    tag: bool,
    room: &mut u64,
) -> Result<ArrayRef, String> {
    if tag {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for value in values {
            match value {
                Some(value) => drop(builder.append(value).map_err(|error| error.to_string())?),
                None => builder.append_null(),
            }
        }
        return Ok(Arc::new(builder.finish()));
    }
    fits(values.clone().flatten().map(str::len), room)?;
    let mut builder = StringBuilder::new();
    builder.extend(values);
    Ok(Arc::new(builder.finish()))
}

fn binary<'a>(values: impl Iterator<Item = Option<&'a [u8]>> + Clone, room: &mut u64) -> Result<ArrayRef, String> {
    fits(values.clone().flatten().map(<[u8]>::len), room)?;
    let mut builder = BinaryBuilder::new();
    builder.extend(values);
    Ok(Arc::new(builder.finish()))
}

/// Views may name one long value many times: then the copy could be far larger than the message.
fn fits(lengths: impl Iterator<Item = usize>, room: &mut u64) -> Result<(), String> {
    let total = lengths.fold(0_u64, |sum, length| sum.saturating_add(length as u64));
    let left = room.checked_sub(total).ok_or_else(|| {
        format!("{total} bytes of values where the message has room for {room}: send repeated values as a dictionary")
    })?;
    *room = left;
    Ok(())
}

/// Dictionary columns keep their dictionary where it has our form, and get a new one where not.
fn dictionary<K: ArrowDictionaryKeyType>(array: &ArrayRef, room: &mut u64) -> Result<ArrayRef, String> {
    let dictionary = array.as_dictionary::<K>();
    let values = dictionary.values();
    if *values.data_type() == DataType::Utf8 && values.null_count() == 0 && values.len() <= array.len().max(256) {
        // Keys under nulls may be anything; those of values were checked to be within the dictionary.
        let keys = dictionary.keys().unary::<_, Int32Type>(|key| key.as_usize() as i32);
        let same = DictionaryArray::try_new(keys, Arc::clone(values)).map_err(|error| error.to_string())?;
        return Ok(Arc::new(same));
    }
    let key = |row: usize| dictionary.key(row);
    let rows = 0..array.len();
    match values.data_type() {
        DataType::LargeUtf8 => {
            let values = values.as_string::<i64>();
            text(rows.map(|row| key(row).filter(|key| values.is_valid(*key)).map(|key| values.value(key))), true, room)
        }
        DataType::Utf8View => {
            let values = values.as_string_view();
            text(rows.map(|row| key(row).filter(|key| values.is_valid(*key)).map(|key| values.value(key))), true, room)
        }
        _ => {
            let values = values.as_string::<i32>();
            text(rows.map(|row| key(row).filter(|key| values.is_valid(*key)).map(|key| values.value(key))), true, room)
        }
    }
}

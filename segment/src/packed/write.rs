//! A batch into packed bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};

use super::bits::{BitWriter, zigzag};
use super::flags::Patterns;
use super::order::{Groups, Order, gather};
use super::strings::Coded;
use super::{LAYOUT, flags, floats, ints, strings, time};
use crate::codec::EncodeError;
use crate::schema::{ColumnType, Schema};

/// Columns looked at to decide whether rows are grouped.
const SAMPLE_COLUMNS: usize = 8;

pub(crate) fn encode(batch: &RecordBatch, schema: &Schema, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let rows = batch.num_rows();
    if rows > 1 << 24 {
        return Err(EncodeError::TooLarge);
    }
    let times = batch.columns().first().and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let times = times.ok_or(EncodeError::NullTime)?;
    if times.null_count() > 0 {
        return Err(EncodeError::NullTime);
    }
    let columns = || batch.columns().iter().skip(1).zip(schema.columns());
    let mut out = BitWriter::new(out);
    out.put(LAYOUT, 4);
    let mut patterns = Patterns::default();
    let mut groups = Groups::one(rows);
    for (array, _) in columns().filter(|(_, column)| column.ty == ColumnType::Tag) {
        write_tag(array, &mut groups, &mut patterns, &mut out)?;
    }
    let mut order = None;
    if groups.may_order() {
        let grouped = groups.order();
        let fields: Vec<_> = columns().map(|(array, _)| array).take(SAMPLE_COLUMNS + 8).collect();
        let helps = grouping_helps(&fields, &grouped);
        out.put_flag(helps);
        order = helps.then_some(grouped);
    }
    let order = order.as_deref();
    write_times(times.values(), order, &mut out)?;
    for (array, column) in columns().filter(|(_, column)| column.ty != ColumnType::Tag) {
        write_field(array, column.ty, order, &mut patterns, &mut out)?;
    }
    out.align();
    Ok(())
}

fn write_tag(
    array: &ArrayRef,
    groups: &mut Groups,
    patterns: &mut Patterns,
    out: &mut BitWriter<'_>,
) -> Result<(), EncodeError> {
    let tags = array.as_dictionary_opt::<Int32Type>().ok_or_else(foreign)?;
    let values = tags.values().as_string_opt::<i32>().ok_or_else(foreign)?;
    // A row is null by its key or by the value that its key leads to.
    let key = |row: usize| tags.key(row).filter(|&key| values.is_valid(key));
    let valid: Vec<bool> = (0..tags.len()).map(|row| key(row).is_some()).collect();
    // The values in use get codes in order of appearance; the dictionary itself may hold more, as slices do.
    let (mut code_of, mut coded) = (vec![u32::MAX; values.len()], Coded::default());
    for key in (0..tags.len()).filter_map(key) {
        if code_of[key] == u32::MAX {
            code_of[key] = coded.distinct.len() as u32;
            coded.distinct.push(values.value(key).as_bytes());
        }
        coded.codes.push(code_of[key].into());
    }
    groups.split((0..tags.len()).map(|row| key(row).map(|key| code_of[key])), coded.distinct.len());
    patterns.write(valid.contains(&false).then_some(valid), out)?;
    coded.write(out)
}

fn write_times(times: &[i64], order: Order<'_>, out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    if order.is_none() {
        return time::write(times, out);
    }
    let grouped = gather(times, None, order);
    let as_came = steps(times) <= steps(&grouped);
    out.put_flag(as_came);
    time::write(if as_came { times } else { &grouped }, out)
}

fn write_field(
    array: &ArrayRef,
    ty: ColumnType,
    order: Order<'_>,
    patterns: &mut Patterns,
    out: &mut BitWriter<'_>,
) -> Result<(), EncodeError> {
    let valid = (array.null_count() > 0).then(|| {
        let is_valid = |row: usize| array.is_valid(row);
        match order {
            None => (0..array.len()).map(is_valid).collect::<Vec<_>>(),
            Some(order) => order.iter().map(|&row| is_valid(row as usize)).collect(),
        }
    });
    patterns.write(valid.clone(), out)?;
    let valid = valid.as_deref();
    match ty {
        ColumnType::F64 => {
            let array = array.as_primitive_opt::<Float64Type>().ok_or_else(foreign)?;
            floats::write(&gather(array.values(), valid, order), out)
        }
        ColumnType::I64 => {
            let array = array.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?;
            ints::write(&gather(array.values(), valid, order), out)
        }
        ColumnType::U64 => {
            let array = array.as_primitive_opt::<UInt64Type>().ok_or_else(foreign)?;
            let values = gather(array.values(), valid, order);
            ints::write(&values.into_iter().map(|value| value as i64).collect::<Vec<_>>(), out)
        }
        ColumnType::Bool => {
            let array = array.as_boolean_opt().ok_or_else(foreign)?;
            let values: Vec<bool> = array.values().iter().collect();
            flags::write(&gather(&values, valid, order), out)
        }
        ColumnType::Utf8 => {
            let array = array.as_string_opt::<i32>().ok_or_else(foreign)?;
            let values: Vec<&[u8]> = (0..array.len()).map(|row| array.value(row).as_bytes()).collect();
            strings::write(&gather(&values, valid, order), out)
        }
        ColumnType::Binary => {
            let array = array.as_binary_opt::<i32>().ok_or_else(foreign)?;
            let values: Vec<&[u8]> = (0..array.len()).map(|row| array.value(row)).collect();
            strings::write(&gather(&values, valid, order), out)
        }
        ColumnType::Tag => Err(foreign()),
    }
}

/// Arrow guarantees that arrays are of their schema's types, so this is not met.
fn foreign() -> EncodeError {
    EncodeError::Library { library: "arrow", message: "an array is not of its field's type".into() }
}

/// Whether neighbours are closer to each other when rows are grouped, going by the numbers.
fn grouping_helps(columns: &[&ArrayRef], grouped: &[u32]) -> bool {
    let numbers = columns.iter().filter_map(|array| {
        if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
            return Some(floats.values().iter().map(|value| value.to_bits() as i64).collect::<Vec<_>>());
        }
        if let Some(unsigned) = array.as_primitive_opt::<UInt64Type>() {
            return Some(unsigned.values().iter().map(|&value| value as i64).collect());
        }
        array.as_primitive_opt::<Int64Type>().map(|signed| signed.values().to_vec())
    });
    let (mut as_came, mut together) = (0, 0);
    for numbers in numbers.take(SAMPLE_COLUMNS) {
        as_came += steps(&numbers);
        together += steps(&gather(&numbers, None, Some(grouped)));
    }
    together < as_came
}

/// Bits of the differences between neighbours.
fn steps(values: &[i64]) -> u64 {
    values.windows(2).map(|pair| u64::from(64 - zigzag(pair[1].wrapping_sub(pair[0])).leading_zeros())).sum()
}

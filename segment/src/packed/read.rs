//! Packed bytes into a batch. Trusts nothing: memory is charged to the limit before it is taken.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;

use super::bits::BitReader;
use super::flags::Patterns;
use super::order::{Groups, Order, scatter};
use super::strings::Strings;
use super::{LAYOUT, flags, floats, ints, strings, time};
use crate::codec::{DecodeError, DecodeLimits, Meter};
use crate::schema::{ColumnType, Schema};

/// Bytes per row of the lists that grouping needs: ids, order, starts.
const ORDER_WIDTH: usize = 12;

pub(crate) fn decode(
    bytes: &[u8],
    schema: &Schema,
    rows: usize,
    limits: &DecodeLimits,
) -> Result<RecordBatch, DecodeError> {
    if rows > 1 << 24 {
        return Err(DecodeError::TooLarge { max_bytes: limits.max_bytes });
    }
    let mut reader =
        Reader { input: BitReader::new(bytes), meter: Meter::new(limits), patterns: Patterns::default(), rows };
    let layout = reader.input.get(4)?;
    if layout != LAYOUT {
        return Err(DecodeError::Version { version: layout as u8 });
    }
    reader.meter.charge(schema.columns().len() + 1, size_of::<ArrayRef>())?;
    let mut columns: Vec<Option<ArrayRef>> = vec![None; schema.columns().len() + 1];
    reader.meter.charge(rows, ORDER_WIDTH)?;
    let mut groups = Groups::one(rows);
    for (slot, column) in columns.iter_mut().skip(1).zip(schema.columns()) {
        if column.ty == ColumnType::Tag {
            *slot = Some(reader.tag(&mut groups)?);
        }
    }
    let grouped = groups.may_order() && reader.input.get_flag()?;
    let order = grouped.then(|| groups.order());
    let order = order.as_deref();
    let times = reader.times(order)?;
    for (slot, column) in columns.iter_mut().skip(1).zip(schema.columns()) {
        if column.ty != ColumnType::Tag {
            *slot = Some(reader.field(column.ty, order)?);
        }
    }
    if let Some(slot) = columns.first_mut() {
        *slot = Some(times);
    }
    reader.input.finish()?;
    RecordBatch::try_new(schema.arrow(), columns.into_iter().flatten().collect()).map_err(misfit)
}

struct Reader<'a> {
    input: BitReader<'a>,
    meter: Meter,
    patterns: Patterns,
    rows: usize,
}

impl Reader<'_> {
    fn tag(&mut self, groups: &mut Groups) -> Result<ArrayRef, DecodeError> {
        let valid = self.patterns.read(self.rows, &mut self.input, &mut self.meter)?;
        let valid = valid.as_deref();
        let (distinct, codes) = strings::read_coded(self.valid_rows(valid), &mut self.input, &mut self.meter)?;
        self.meter.charge(self.rows, 2 * size_of::<i32>())?;
        let mut keys = Vec::with_capacity(codes.len());
        for &code in &codes {
            match i32::try_from(code) {
                Ok(key) if key >= 0 && (key as usize) < distinct.len() => keys.push(key),
                _ => return Err(DecodeError::corrupt("a code has no value")),
            }
        }
        self.meter.refund(codes.len(), size_of::<i64>());
        drop(codes);
        let keys = scatter(keys, self.rows, valid, None);
        let by_row = keys.iter().enumerate();
        let by_row = by_row.map(|(row, &key)| valid.is_none_or(|valid| valid[row]).then_some(key as u32));
        groups.split(by_row, distinct.len());
        let offsets = std::iter::once(0).chain(distinct.ends.iter().copied()).map(|end| end as i32).collect();
        let values = string_array(offsets, distinct.bytes, None)?;
        let keys = Int32Array::try_new(keys.into(), nulls(valid)).map_err(misfit)?;
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(values)).map_err(misfit)?))
    }

    fn times(&mut self, order: Order<'_>) -> Result<ArrayRef, DecodeError> {
        let as_came = order.is_some() && self.input.get_flag()?;
        let times = time::read(self.rows, &mut self.input, &mut self.meter)?;
        let times = scatter(times, self.rows, None, if as_came { None } else { order });
        let times = TimestampNanosecondArray::try_new(times.into(), None).map_err(misfit)?;
        Ok(Arc::new(times.with_timezone("UTC")))
    }

    fn field(&mut self, ty: ColumnType, order: Order<'_>) -> Result<ArrayRef, DecodeError> {
        let valid = self.patterns.read(self.rows, &mut self.input, &mut self.meter)?;
        let valid = valid.as_deref();
        let (rows, count) = (self.rows, self.valid_rows(valid));
        let (input, meter) = (&mut self.input, &mut self.meter);
        let nulls = nulls_in_order(valid, order);
        Ok(match ty {
            ColumnType::F64 => {
                let values = widen(floats::read(count, input, meter)?, rows, valid, order, meter)?;
                Arc::new(Float64Array::try_new(values.into(), nulls).map_err(misfit)?)
            }
            ColumnType::I64 => {
                let values = widen(ints::read(count, input, meter)?, rows, valid, order, meter)?;
                Arc::new(Int64Array::try_new(values.into(), nulls).map_err(misfit)?)
            }
            ColumnType::U64 => {
                let values = widen(ints::read(count, input, meter)?, rows, valid, order, meter)?;
                let values = values.into_iter().map(|value| value as u64).collect::<ScalarBuffer<_>>();
                Arc::new(UInt64Array::try_new(values, nulls).map_err(misfit)?)
            }
            ColumnType::Bool => {
                let values = widen(flags::read(count, input, meter)?, rows, valid, order, meter)?;
                let values = BooleanArray::new(BooleanBuffer::from(values), nulls);
                meter.refund(rows, size_of::<bool>());
                Arc::new(values)
            }
            ColumnType::Utf8 => {
                let (offsets, bytes) = lay_out(&strings::read(count, input, meter)?, count, rows, valid, order, meter)?;
                Arc::new(string_array(offsets, bytes, nulls)?)
            }
            ColumnType::Binary => {
                let (offsets, bytes) = lay_out(&strings::read(count, input, meter)?, count, rows, valid, order, meter)?;
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(BinaryArray::try_new(offsets, Buffer::from_vec(bytes), nulls).map_err(misfit)?)
            }
            ColumnType::Tag => return Err(DecodeError::corrupt("a tag among fields")),
        })
    }

    fn valid_rows(&self, valid: Option<&[bool]>) -> usize {
        valid.map_or(self.rows, |valid| valid.iter().filter(|valid| **valid).count())
    }
}

/// The valid values at their rows; what the values took is given back, what the column takes is charged.
fn widen<T: Copy + Default>(
    values: Vec<T>,
    rows: usize,
    valid: Option<&[bool]>,
    order: Order<'_>,
    meter: &mut Meter,
) -> Result<Vec<T>, DecodeError> {
    let count = values.len();
    meter.charge(rows, size_of::<T>())?;
    let column = scatter(values, rows, valid, order);
    meter.refund(count, size_of::<T>());
    Ok(column)
}

/// Offsets and bytes of the valid strings at their rows; a null is empty.
fn lay_out(
    strings: &Strings,
    count: usize,
    rows: usize,
    valid: Option<&[bool]>,
    order: Order<'_>,
    meter: &mut Meter,
) -> Result<(Vec<i32>, Vec<u8>), DecodeError> {
    let mut total = 0usize;
    for place in 0..count {
        let length = strings.get(place).ok_or(DecodeError::corrupt("a code has no value"))?.len();
        // Offsets of Arrow strings have 31 bits.
        let sum = total.checked_add(length).filter(|&sum| sum <= i32::MAX as usize);
        total = sum.ok_or(DecodeError::corrupt("strings exceed 2 GiB"))?;
    }
    meter.charge(total, 1)?;
    meter.charge(rows, size_of::<usize>() + size_of::<i32>())?;
    // Place + 1, by row; 0 where null.
    let places = scatter((1..=count).collect(), rows, valid, order);
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0);
    let mut bytes = Vec::with_capacity(total);
    for place in places {
        let value = place.checked_sub(1).and_then(|place| strings.get(place));
        bytes.extend_from_slice(value.unwrap_or_default());
        offsets.push(bytes.len() as i32);
    }
    meter.refund(rows, size_of::<usize>());
    meter.refund(strings.charged(), 1);
    Ok((offsets, bytes))
}

fn string_array(offsets: Vec<i32>, bytes: Vec<u8>, nulls: Option<NullBuffer>) -> Result<StringArray, DecodeError> {
    // Offsets ascend from zero by construction.
    let offsets = OffsetBuffer::new(offsets.into());
    StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls)
        .map_err(|_| DecodeError::corrupt("a string is not UTF-8"))
}

fn nulls(valid: Option<&[bool]>) -> Option<NullBuffer> {
    valid.map(|valid| NullBuffer::from(BooleanBuffer::from(valid)))
}

fn nulls_in_order(valid: Option<&[bool]>, order: Order<'_>) -> Option<NullBuffer> {
    match (valid, order) {
        (Some(valid), Some(_)) => nulls(Some(&scatter(valid.to_vec(), valid.len(), None, order))),
        _ => nulls(valid),
    }
}

fn misfit(_: ArrowError) -> DecodeError {
    DecodeError::corrupt("columns do not fit the schema")
}

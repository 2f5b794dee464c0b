//! The values of one column of an open segment, in Arrow's layout but growing.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    UInt64Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use pyralog_segment::ColumnType;

use super::dictionary::{Dictionary, reserve};
use crate::records::Value;

/// One growing column.
///
/// It may lag behind its segment: rows that no record filled are added as nulls when the next value comes, or at the end, so
/// a record costs its own cells and not the width of its log. Fixed-width room for `cap_rows` rows is allocated (and was
/// charged) by [`Self::grow_rows`]; pushing a fixed-width value never allocates.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    rows: usize,
    cap_rows: usize,
    /// One bit a row; absent while no row is null.
    valid: Option<Vec<u8>>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    Bool(Vec<u8>),
    Tag(Vec<i32>, Box<Dictionary>),
    Utf8(Texts),
    Binary(Texts),
}

#[derive(Debug, Default)]
struct Texts {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl ColumnBuilder {
    pub(super) fn new(ty: ColumnType) -> Self {
        let values = match ty {
            ColumnType::F64 => Values::F64(Vec::new()),
            ColumnType::I64 => Values::I64(Vec::new()),
            ColumnType::U64 => Values::U64(Vec::new()),
            ColumnType::Bool => Values::Bool(Vec::new()),
            ColumnType::Tag => Values::Tag(Vec::new(), Box::default()),
            ColumnType::Utf8 => Values::Utf8(Texts::default()),
            ColumnType::Binary => Values::Binary(Texts::default()),
        };
        Self { rows: 0, cap_rows: 0, valid: None, values }
    }

    /// Allocates fixed-width room for `rows` rows in all: no more than [`Width`] says.
    pub(super) fn grow_rows(&mut self, rows: usize) {
        match &mut self.values {
            Values::F64(v) => v.reserve_exact(rows - self.rows),
            Values::I64(v) => v.reserve_exact(rows - self.rows),
            Values::U64(v) => v.reserve_exact(rows - self.rows),
            Values::Tag(v, _) => v.reserve_exact(rows - self.rows),
            Values::Bool(v) => v.reserve_exact(rows.div_ceil(8) - v.len()),
            Values::Utf8(t) | Values::Binary(t) => t.ends.reserve_exact(rows - self.rows),
        }
        if let Some(valid) = &mut self.valid {
            valid.reserve_exact(rows.div_ceil(8) - valid.len());
        }
        self.cap_rows = rows;
    }

    /// An upper bound of the bytes that `value` makes it allocate beyond its fixed width; and those that it adds to the
    /// segment's raw size. `cap` bounds what a column of texts grows to by doubling.
    pub(super) fn growth(&mut self, value: Value<'_>, cap: usize) -> Growth {
        match (&mut self.values, value) {
            (Values::Tag(_, tags), Value::Tag(tag)) => match tags.find(tag) {
                Some(_) => Growth::default(),
                None => Growth { heap: tags.growth(1, tag.len(), cap), raw: tag.len() + size_of::<i32>() },
            },
            (Values::Utf8(t), Value::Utf8(s)) => t.growth(s.len(), cap),
            (Values::Binary(t), Value::Binary(b)) => t.growth(b.len(), cap),
            _ => Growth::default(),
        }
    }

    /// As [`Self::growth`] for a run of new texts or tags with these many and these bytes in all.
    pub(super) fn growth_of_run(&self, count: usize, len: usize, cap: usize) -> Growth {
        match &self.values {
            Values::Tag(_, tags) if count > 0 => {
                Growth { heap: tags.growth_of_run(count, len, cap), raw: len + count * size_of::<i32>() }
            }
            Values::Utf8(t) | Values::Binary(t) => t.growth(len, cap),
            _ => Growth::default(),
        }
    }

    /// Makes room for the texts of a run, as [`Self::growth_of_run`] foretold: one by one they might take more.
    pub(super) fn reserve_texts(&mut self, len: usize, cap: usize) {
        if let Values::Utf8(t) | Values::Binary(t) = &mut self.values {
            reserve(&mut t.bytes, len, cap);
        }
    }

    /// Whether the tag is known already.
    pub(super) fn knows(&mut self, tag: &str) -> bool {
        match &mut self.values {
            Values::Tag(_, tags) => tags.find(tag).is_some(),
            _ => false,
        }
    }

    /// Puts a value of the column's own type into row `row`, which it has not reached yet.
    #[inline]
    pub(super) fn push(&mut self, row: usize, value: Value<'_>, cap: usize) {
        if self.rows < row {
            self.pad(row);
        }
        debug_assert!(self.rows == row && row < self.cap_rows);
        match (&mut self.values, value) {
            (Values::F64(v), Value::F64(x)) => v.push(x),
            (Values::I64(v), Value::I64(x)) => v.push(x),
            (Values::U64(v), Value::U64(x)) => v.push(x),
            (Values::Bool(bits), Value::Bool(x)) => push_bit(bits, row, x),
            (Values::Tag(keys, tags), Value::Tag(x)) => keys.push(tags.intern(x, cap)),
            (Values::Utf8(t), Value::Utf8(x)) => t.push(x.as_bytes(), cap),
            (Values::Binary(t), Value::Binary(x)) => t.push(x, cap),
            _ => {
                debug_assert!(false, "a value of another type than its column");
                return;
            }
        }
        self.rows += 1;
        if let Some(valid) = &mut self.valid {
            push_bit(valid, row, true);
        }
    }

    /// Puts a run of floats that begins at `row`.
    pub(super) fn push_f64s(&mut self, row: usize, run: &[f64], nulls: Option<&NullBuffer>) {
        self.pad(row);
        if let Values::F64(v) = &mut self.values {
            v.extend_from_slice(run);
            self.extended(run.len(), nulls);
        }
    }

    /// Puts a run of signed integers that begins at `row`.
    pub(super) fn push_i64s(&mut self, row: usize, run: &[i64], nulls: Option<&NullBuffer>) {
        self.pad(row);
        if let Values::I64(v) = &mut self.values {
            v.extend_from_slice(run);
            self.extended(run.len(), nulls);
        }
    }

    /// Puts a run of unsigned integers that begins at `row`.
    pub(super) fn push_u64s(&mut self, row: usize, run: &[u64], nulls: Option<&NullBuffer>) {
        self.pad(row);
        if let Values::U64(v) = &mut self.values {
            v.extend_from_slice(run);
            self.extended(run.len(), nulls);
        }
    }

    /// Adds nulls until the column has `rows` rows.
    pub(super) fn pad(&mut self, rows: usize) {
        if rows <= self.rows {
            return;
        }
        match &mut self.values {
            Values::F64(v) => v.resize(rows, 0.0),
            Values::I64(v) => v.resize(rows, 0),
            Values::U64(v) => v.resize(rows, 0),
            Values::Tag(v, _) => v.resize(rows, 0),
            Values::Bool(v) => v.resize(rows.div_ceil(8), 0),
            Values::Utf8(t) | Values::Binary(t) => t.ends.resize(rows, t.bytes.len() as i32),
        }
        let had = self.rows;
        let valid = self.valid_bits();
        valid.resize(rows.div_ceil(8), 0);
        debug_assert!(had <= rows);
        self.rows = rows;
    }

    /// Bytes of heap held; a bitmap that may still come is counted, as it is charged.
    pub(super) fn heap_bytes(&self) -> usize {
        let bitmap = self.valid.as_ref().map_or(self.cap_rows.div_ceil(8), Vec::capacity);
        bitmap
            + match &self.values {
                Values::F64(v) => v.capacity() * 8,
                Values::I64(v) => v.capacity() * 8,
                Values::U64(v) => v.capacity() * 8,
                Values::Bool(v) => v.capacity(),
                Values::Tag(keys, tags) => keys.capacity() * 4 + tags.heap_bytes(),
                Values::Utf8(t) | Values::Binary(t) => t.ends.capacity() * 4 + t.bytes.capacity(),
            }
    }

    /// The column as an Arrow array of `rows` rows.
    pub(super) fn into_array(mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        let nulls = self.valid.map(|bits| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows)));
        Ok(match self.values {
            Values::F64(v) => Arc::new(Float64Array::try_new(v.into(), nulls)?),
            Values::I64(v) => Arc::new(Int64Array::try_new(v.into(), nulls)?),
            Values::U64(v) => Arc::new(UInt64Array::try_new(v.into(), nulls)?),
            Values::Bool(bits) => {
                Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows), nulls))
            }
            Values::Tag(keys, tags) => {
                let keys = Int32Array::try_new(keys.into(), nulls)?;
                Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(tags.into_array()?))?)
            }
            Values::Utf8(t) => Arc::new(StringArray::try_new(offsets(&t.ends, 0), Buffer::from_vec(t.bytes), nulls)?),
            Values::Binary(t) => Arc::new(BinaryArray::try_new(offsets(&t.ends, 0), Buffer::from_vec(t.bytes), nulls)?),
        })
    }

    /// A copy of the rows `start..end` as an Arrow array; rows that the column has not reached are null.
    pub(super) fn copy(&self, start: usize, end: usize) -> Result<ArrayRef, ArrowError> {
        let nulls = self.copy_nulls(start, end);
        let (from, to) = (start.min(self.rows), end.min(self.rows));
        let rows = end - start;
        Ok(match &self.values {
            Values::F64(v) => Arc::new(Float64Array::try_new(padded(&v[from..to], rows).into(), nulls)?),
            Values::I64(v) => Arc::new(Int64Array::try_new(padded(&v[from..to], rows).into(), nulls)?),
            Values::U64(v) => Arc::new(UInt64Array::try_new(padded(&v[from..to], rows).into(), nulls)?),
            Values::Bool(bits) => {
                let values = BooleanBuffer::collect_bool(rows, |i| bit(bits, from + i, to));
                Arc::new(BooleanArray::new(values, nulls))
            }
            Values::Tag(keys, tags) => copy_tags(&keys[from..to], rows, nulls, tags)?,
            Values::Utf8(t) => {
                let (offsets, bytes) = t.copy(from, to, rows);
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Binary(t) => {
                let (offsets, bytes) = t.copy(from, to, rows);
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
        })
    }

    /// Bytes that [`Self::copy`] of these rows takes, roughly from above.
    pub(super) fn copy_bytes(&self, start: usize, end: usize) -> usize {
        let (from, to) = (start.min(self.rows), end.min(self.rows));
        let rows = end - start;
        rows.div_ceil(8)
            + 64
            + match &self.values {
                Values::F64(_) | Values::I64(_) | Values::U64(_) => rows * 8,
                Values::Bool(_) => rows.div_ceil(8),
                Values::Tag(keys, tags) => {
                    let len = |key: &i32| tags.get(*key).len() + 32;
                    let worst: usize = if tags.len() == 0 { 0 } else { keys[from..to].iter().map(len).sum() };
                    rows * 4 + worst.min(tags.raw_bytes() + tags.len() * 32)
                }
                Values::Utf8(t) | Values::Binary(t) => rows * 4 + t.span(from, to).len(),
            }
    }

    fn copy_nulls(&self, start: usize, end: usize) -> Option<NullBuffer> {
        if self.valid.is_none() && end <= self.rows {
            return None;
        }
        let valid = |i: usize| match &self.valid {
            Some(bits) => bit(bits, start + i, self.rows),
            None => start + i < self.rows,
        };
        Some(NullBuffer::new(BooleanBuffer::collect_bool(end - start, valid)))
    }

    /// Accounts for `count` values just added, of which `nulls` may say that some are null.
    fn extended(&mut self, count: usize, nulls: Option<&NullBuffer>) {
        let from = self.rows;
        self.rows += count;
        let Some(nulls) = nulls.filter(|n| n.null_count() > 0) else {
            if let Some(valid) = &mut self.valid {
                set_bits(valid, from, from + count);
            }
            return;
        };
        self.rows = from;
        let valid = self.valid_bits();
        for i in 0..count {
            push_bit(valid, from + i, nulls.is_valid(i));
        }
        self.rows = from + count;
    }

    /// The bitmap, made of ones for the rows so far if there is none yet.
    fn valid_bits(&mut self) -> &mut Vec<u8> {
        let (rows, cap) = (self.rows, self.cap_rows.div_ceil(8));
        self.valid.get_or_insert_with(|| {
            let mut bits = Vec::with_capacity(cap);
            set_bits(&mut bits, 0, rows);
            bits
        })
    }
}

/// What a value makes a column grow by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    /// Bytes to charge before: new blocks in full, since the old ones live while their content is copied.
    pub(super) heap: usize,
    /// Bytes of data, which count towards the size at which a segment is sealed.
    pub(super) raw: usize,
}

impl Texts {
    fn growth(&self, len: usize, cap: usize) -> Growth {
        Growth { heap: grown(self.bytes.len(), self.bytes.capacity(), len, cap), raw: len }
    }

    fn push(&mut self, text: &[u8], cap: usize) {
        reserve(&mut self.bytes, text.len(), cap);
        self.bytes.extend_from_slice(text);
        // Segments are sealed at 1 MiB or less, so lengths fit.
        self.ends.push(self.bytes.len() as i32);
    }

    fn span(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        let at = |row: usize| if row == 0 { 0 } else { self.ends[row - 1] as usize };
        at(from)..at(to)
    }

    fn copy(&self, from: usize, to: usize, rows: usize) -> (OffsetBuffer<i32>, Buffer) {
        let span = self.span(from, to);
        let mut ends = self.ends[from..to].to_vec();
        ends.resize(rows, span.end as i32);
        (offsets(&ends, span.start as i32), Buffer::from_vec(self.bytes[span].to_vec()))
    }
}

/// What the rows of some columns take apart from texts and tags.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Width {
    bytes: usize,
    bitmaps: usize,
}

impl Width {
    /// The width of one column.
    pub(super) fn of(ty: ColumnType) -> Self {
        match ty {
            ColumnType::F64 | ColumnType::I64 | ColumnType::U64 => Self { bytes: 8, bitmaps: 1 },
            ColumnType::Bool => Self { bytes: 0, bitmaps: 2 },
            ColumnType::Tag | ColumnType::Utf8 | ColumnType::Binary => Self { bytes: 4, bitmaps: 1 },
        }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, bitmaps: self.bitmaps + other.bitmaps }
    }

    /// Bytes of `rows` rows.
    pub(super) fn bytes(self, rows: usize) -> usize {
        rows * self.bytes + rows.div_ceil(8) * self.bitmaps
    }
}

/// The capacity to allocate when `more` elements come, or 0 when they fit: twice the old one, but no more than `cap` unless
/// they need it.
pub(super) fn grown(len: usize, capacity: usize, more: usize, cap: usize) -> usize {
    let needed = len + more;
    if needed <= capacity { 0 } else { (capacity * 2).clamp(16, cap.max(16)).max(needed) }
}

fn offsets(ends: &[i32], base: i32) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend(ends.iter().map(|end| end - base));
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn padded<T: Copy + Default>(values: &[T], rows: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(rows);
    all.extend_from_slice(values);
    all.resize(rows, T::default());
    all
}

/// Copies tags with a dictionary of just those that occur.
fn copy_tags(keys: &[i32], rows: usize, nulls: Option<NullBuffer>, tags: &Dictionary) -> Result<ArrayRef, ArrowError> {
    let mut used = Dictionary::default();
    let mut copied = Vec::with_capacity(rows);
    for (i, key) in keys.iter().enumerate() {
        let null = nulls.as_ref().is_some_and(|n| n.is_null(i));
        let tag = if null { None } else { std::str::from_utf8(tags.get(*key)).ok() };
        copied.push(tag.map_or(0, |tag| used.intern(tag, usize::MAX)));
    }
    copied.resize(rows, 0);
    let keys = Int32Array::try_new(copied.into(), nulls)?;
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(used.into_array()?))?))
}

#[inline]
fn push_bit(bits: &mut Vec<u8>, at: usize, one: bool) {
    let mask = u8::from(one) << (at % 8);
    match bits.get_mut(at / 8) {
        Some(byte) => *byte |= mask,
        None => bits.push(mask),
    }
}

fn bit(bits: &[u8], at: usize, rows: usize) -> bool {
    at < rows && bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// Sets the bits `from..to` of a bitmap that so far ends at `from`.
fn set_bits(bits: &mut Vec<u8>, from: usize, to: usize) {
    let mut at = from;
    while at < to && !at.is_multiple_of(8) {
        push_bit(bits, at, true);
        at += 1;
    }
    if at < to {
        bits.resize(to / 8, 0xff);
        (to / 8 * 8..to).for_each(|at| push_bit(bits, at, true));
    }
}

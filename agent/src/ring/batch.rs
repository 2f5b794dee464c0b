//! The append path for runs of records given by columns.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, StringArray};
use arrow_buffer::NullBuffer;
use pyralog_segment::ColumnType;

use super::append::{AppendError, Appended, no_log};
use super::budget::Exhausted;
use super::column::ColumnBuilder;
use super::config::{EvictionPolicy, Now};
use super::schema::NoColumn;
use super::state::State;
use crate::records::{Records, Value};

/// Records by columns: `times` in Unix nanoseconds, and columns of the same length.
#[derive(Debug, Clone, Copy)]
pub struct ColumnBatch<'a> {
    /// Time of each record.
    pub times: &'a [i64],
    /// Name and values of each column.
    pub columns: &'a [(&'a str, ColumnSlice<'a>)],
}

/// The values of one column of a batch.
#[derive(Debug, Clone, Copy)]
pub enum ColumnSlice<'a> {
    /// Floats.
    F64(&'a [f64]),
    /// Signed integers.
    I64(&'a [i64]),
    /// Unsigned integers.
    U64(&'a [u64]),
    /// Booleans.
    Bool(&'a [bool]),
    /// Tags.
    Tag(&'a [&'a str]),
    /// Strings.
    Utf8(&'a [&'a str]),
    /// Raw bytes.
    Binary(&'a [&'a [u8]]),
    /// An Arrow array of a type that [`ColumnType::from_arrow`] knows; it may hold nulls.
    Array(&'a ArrayRef),
}

/// One column with its Arrow type resolved.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    F64(&'a [f64], Option<&'a NullBuffer>),
    I64(&'a [i64], Option<&'a NullBuffer>),
    U64(&'a [u64], Option<&'a NullBuffer>),
    Bools(&'a [bool]),
    BoolArray(&'a BooleanArray),
    Tags(&'a [&'a str]),
    TagArray(&'a DictionaryArray<Int32Type>, &'a StringArray),
    Texts(&'a [&'a str]),
    TextArray(&'a StringArray),
    Bytes(&'a [&'a [u8]]),
    BytesArray(&'a BinaryArray),
}

/// Rows that go through the record path at a time when the columns as such cannot be taken.
const ROWS_AT_ONCE: usize = 256;

impl State {
    pub(super) fn append_columns(
        &mut self,
        log: &str,
        batch: &ColumnBatch<'_>,
        now: Now,
    ) -> Result<Appended, AppendError> {
        let mut sources = Vec::with_capacity(batch.columns.len());
        for (column, (_, slice)) in batch.columns.iter().enumerate() {
            let source = Source::new(*slice).filter(|source| source.len() == batch.times.len());
            sources.push(source.ok_or(AppendError::Shape { column })?);
        }
        let done = Appended::default();
        let Some((at, columns)) = self.columns_of(log, batch, &sources) else {
            return self.append_rows(log, batch, &sources, 0, done, now);
        };
        if self.config.eviction_policy == EvictionPolicy::Reject {
            let data: usize = sources.iter().map(|s| s.data_len(0, batch.times.len()) + 16 * batch.times.len()).sum();
            self.make_room((data + self.limits.bytes) as u64).map_err(|_| AppendError::Full { done })?;
        }
        let run = Run { times: batch.times, sources: &sources, columns: &columns };
        let mut from = 0;
        while from < batch.times.len() {
            let done = Appended { rows: from as u64, ..done };
            let Some((count, charged)) =
                self.room_for_run(at, &run, from, now).map_err(|_| AppendError::Full { done })?
            else {
                // A row larger than a segment: the record path knows what to do with it.
                return self.append_rows(log, batch, &sources, from, done, now);
            };
            self.push_run(at, &run, from..from + count, charged, now);
            from += count;
        }
        Ok(Appended { rows: from as u64, ..done })
    }

    /// The log and the column of each source; `None` if some source has none or one column comes twice.
    fn columns_of(&mut self, log: &str, batch: &ColumnBatch<'_>, sources: &[Source<'_>]) -> Option<(usize, Vec<u32>)> {
        let at = self.log_for(log).map_err(|why| tracing::debug!(log, "{}", no_log(why))).ok()?;
        let mut columns = Vec::with_capacity(sources.len());
        self.stamp += 1;
        for (position, ((name, _), source)) in batch.columns.iter().zip(sources).enumerate() {
            let column = match self.logs[at].schema.resolve(position, name, source.ty()) {
                Ok(column) => column,
                Err(NoColumn::New { name_bytes }) => self.add_column(at, name, name_bytes, source.ty())?,
                Err(NoColumn::Name) => return None,
            };
            let stamp = &mut self.logs[at].stamps[column as usize];
            if std::mem::replace(stamp, self.stamp) == self.stamp {
                return None;
            }
            columns.push(column);
        }
        Some((at, columns))
    }

    /// The slow way: row by row, as records.
    fn append_rows(
        &mut self,
        log: &str,
        batch: &ColumnBatch<'_>,
        sources: &[Source<'_>],
        from: usize,
        mut done: Appended,
        now: Now,
    ) -> Result<Appended, AppendError> {
        let mut records = Records::new();
        for start in (from..batch.times.len()).step_by(ROWS_AT_ONCE) {
            records.clear();
            for row in start..batch.times.len().min(start + ROWS_AT_ONCE) {
                records.begin(log, Some(batch.times[row]));
                for ((name, _), source) in batch.columns.iter().zip(sources) {
                    source.value(row).into_iter().for_each(|value| records.push(name, value));
                }
                records.finish();
            }
            for record in records.iter() {
                self.append_record(record, now, &mut done).map_err(|_| AppendError::Full { done })?;
            }
        }
        Ok(done)
    }

    /// Makes room for rows from `from` on; says for how many and whether it charged for that. `None` if the very first is
    /// larger than a segment.
    fn room_for_run(
        &mut self,
        at: usize,
        run: &Run<'_>,
        from: usize,
        now: Now,
    ) -> Result<Option<(usize, bool)>, Exhausted> {
        let limits = self.limits;
        let first = run.data_len(from, from + 1);
        if first > limits.bytes {
            return Ok(None);
        }
        if self.logs[at].open.as_ref().is_some_and(|open| open.rows > 0 && !open.fits(1, first, limits)) {
            self.seal(at);
        }
        for again in [true, false] {
            let usual = self.logs[at].usual_rows;
            let open = self.open(at, now.mono);
            let mut count = (run.times.len() - from).min(limits.rows - open.rows).max(1);
            while count > 1 && !open.fits(count, 0, limits) {
                count = count.div_ceil(2);
            }
            let mut growth = run.growth(&mut open.columns, from, count, limits.bytes);
            while count > 1 && !open.fits(count, growth.1, limits) {
                count /= 2;
                growth = run.growth(&mut open.columns, from, count, limits.bytes);
            }
            let rows = open.row_growth(count, usual, limits);
            let heap = rows.map_or(0, |(_, bytes)| bytes) + growth.0;
            if heap > 0 {
                if self.relieve(heap as u64) == Some(at) && again {
                    continue;
                }
                self.charge_open(at, heap as u64, rows.map(|(cap, _)| cap))?;
            }
            return Ok(Some((count, heap > 0)));
        }
        Ok(None)
    }

    fn push_run(&mut self, at: usize, run: &Run<'_>, rows: Range<usize>, charged: bool, now: Now) {
        let limits = self.limits;
        let log = &mut self.logs[at];
        let Some(open) = &mut log.open else { return };
        if open.rows == 0 {
            open.since = now.mono;
        }
        let row = open.rows;
        for (source, column) in run.sources.iter().zip(run.columns) {
            if let Some(builder) = open.columns.get_mut(*column as usize) {
                open.var_bytes += source.push(builder, row, rows.start, rows.len(), limits.bytes);
            }
        }
        let capacity = open.times.capacity();
        open.times.extend_from_slice(&run.times[rows.clone()]);
        debug_assert_eq!(capacity, open.times.capacity());
        open.finish_rows();
        log.head += rows.len() as u64;
        let full = open.is_full(limits);
        if charged {
            self.settle_open(at);
        }
        if full {
            self.seal(at);
        }
    }
}

/// A batch whose columns are found.
struct Run<'a> {
    times: &'a [i64],
    sources: &'a [Source<'a>],
    columns: &'a [u32],
}

impl Run<'_> {
    fn data_len(&self, from: usize, to: usize) -> usize {
        self.sources.iter().map(|source| source.data_len(from, to)).sum()
    }

    /// Bytes that texts and tags of these rows make the columns allocate, and their raw bytes; both from above.
    fn growth(&self, builders: &mut [ColumnBuilder], from: usize, count: usize, cap: usize) -> (usize, usize) {
        let mut sum = (0, 0);
        for (source, column) in self.sources.iter().zip(self.columns) {
            let Some(builder) = builders.get_mut(*column as usize) else { continue };
            let (mut fresh, mut len) = (0, 0);
            match source.ty() {
                ColumnType::Tag => {
                    for row in from..from + count {
                        if let Some(Value::Tag(tag)) = source.value(row)
                            && !builder.knows(tag)
                        {
                            fresh += 1;
                            len += tag.len();
                        }
                    }
                }
                ColumnType::Utf8 | ColumnType::Binary => len = source.data_len(from, from + count),
                _ => continue,
            }
            let growth = builder.growth_of_run(fresh, len, cap);
            sum.0 += growth.heap;
            sum.1 += growth.raw;
        }
        sum
    }
}

impl<'a> Source<'a> {
    fn new(slice: ColumnSlice<'a>) -> Option<Self> {
        Some(match slice {
            ColumnSlice::F64(v) => Self::F64(v, None),
            ColumnSlice::I64(v) => Self::I64(v, None),
            ColumnSlice::U64(v) => Self::U64(v, None),
            ColumnSlice::Bool(v) => Self::Bools(v),
            ColumnSlice::Tag(v) => Self::Tags(v),
            ColumnSlice::Utf8(v) => Self::Texts(v),
            ColumnSlice::Binary(v) => Self::Bytes(v),
            ColumnSlice::Array(array) => match ColumnType::from_arrow(array.data_type())? {
                ColumnType::F64 => Self::F64(array.as_primitive_opt::<Float64Type>()?.values(), array.nulls()),
                ColumnType::I64 => Self::I64(array.as_primitive_opt::<Int64Type>()?.values(), array.nulls()),
                ColumnType::U64 => Self::U64(array.as_primitive_opt::<UInt64Type>()?.values(), array.nulls()),
                ColumnType::Bool => Self::BoolArray(array.as_boolean_opt()?),
                ColumnType::Utf8 => Self::TextArray(array.as_string_opt::<i32>()?),
                ColumnType::Binary => Self::BytesArray(array.as_binary_opt::<i32>()?),
                ColumnType::Tag => {
                    let tags = array.as_dictionary_opt::<Int32Type>()?;
                    Self::TagArray(tags, tags.values().as_string_opt::<i32>()?)
                }
            },
        })
    }

    fn ty(&self) -> ColumnType {
        match self {
            Self::F64(..) => ColumnType::F64,
            Self::I64(..) => ColumnType::I64,
            Self::U64(..) => ColumnType::U64,
            Self::Bools(_) | Self::BoolArray(_) => ColumnType::Bool,
            Self::Tags(_) | Self::TagArray(..) => ColumnType::Tag,
            Self::Texts(_) | Self::TextArray(_) => ColumnType::Utf8,
            Self::Bytes(_) | Self::BytesArray(_) => ColumnType::Binary,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F64(v, _) => v.len(),
            Self::I64(v, _) => v.len(),
            Self::U64(v, _) => v.len(),
            Self::Bools(v) => v.len(),
            Self::BoolArray(v) => v.len(),
            Self::Tags(v) | Self::Texts(v) => v.len(),
            Self::TagArray(v, _) => v.len(),
            Self::TextArray(v) => v.len(),
            Self::Bytes(v) => v.len(),
            Self::BytesArray(v) => v.len(),
        }
    }

    /// The value of a row, `None` for a null.
    fn value(&self, row: usize) -> Option<Value<'a>> {
        let some = |nulls: Option<&NullBuffer>| nulls.is_none_or(|nulls| nulls.is_valid(row));
        match self {
            Self::F64(v, nulls) => some(*nulls).then(|| Value::F64(v[row])),
            Self::I64(v, nulls) => some(*nulls).then(|| Value::I64(v[row])),
            Self::U64(v, nulls) => some(*nulls).then(|| Value::U64(v[row])),
            Self::Bools(v) => Some(Value::Bool(v[row])),
            Self::BoolArray(v) => v.is_valid(row).then(|| Value::Bool(v.value(row))),
            Self::Tags(v) => Some(Value::Tag(v[row])),
            Self::Texts(v) => Some(Value::Utf8(v[row])),
            Self::TextArray(v) => v.is_valid(row).then(|| Value::Utf8(v.value(row))),
            Self::Bytes(v) => Some(Value::Binary(v[row])),
            Self::BytesArray(v) => v.is_valid(row).then(|| Value::Binary(v.value(row))),
            Self::TagArray(v, tags) => {
                let key = v.key(row).filter(|key| tags.is_valid(*key))?;
                Some(Value::Tag(tags.value(key)))
            }
        }
    }

    /// Bytes of texts and tags in these rows.
    fn data_len(&self, from: usize, to: usize) -> usize {
        match self {
            Self::F64(..) | Self::I64(..) | Self::U64(..) | Self::Bools(_) | Self::BoolArray(_) => 0,
            _ => (from..to).filter_map(|row| self.value(row)).map(|value| value.data_len()).sum(),
        }
    }

    /// Puts `count` values from `from` on into a column whose segment has `row` rows; gives the bytes of texts and tags.
    fn push(&self, builder: &mut ColumnBuilder, row: usize, from: usize, count: usize, cap: usize) -> usize {
        let slice = |nulls: &Option<&NullBuffer>| nulls.map(|nulls| nulls.slice(from, count));
        match self {
            Self::F64(v, nulls) => builder.push_f64s(row, &v[from..from + count], slice(nulls).as_ref()),
            Self::I64(v, nulls) => builder.push_i64s(row, &v[from..from + count], slice(nulls).as_ref()),
            Self::U64(v, nulls) => builder.push_u64s(row, &v[from..from + count], slice(nulls).as_ref()),
            _ => {
                builder.reserve_texts(self.data_len(from, from + count), cap);
                let mut raw = 0;
                for i in 0..count {
                    if let Some(value) = self.value(from + i) {
                        raw += builder.growth(value, cap).raw;
                        builder.push(row + i, value, cap);
                    }
                }
                return raw;
            }
        }
        0
    }
}

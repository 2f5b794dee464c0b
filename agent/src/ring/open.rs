//! The segment of a log that still grows.

use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, TimestampNanosecondArray};
use arrow_schema::ArrowError;
use pyralog_segment::{ColumnType, Schema};

use super::budget::Reservation;
use super::column::{ColumnBuilder, Width};

/// Column builders of consecutive records.
///
/// Invariants: `rows <= cap_rows`; no column is longer than `rows`; the heap of all builders is charged to `held`. Room for
/// rows grows for all columns at once, so that a record of numbers checks one bound.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) base: u64,
    pub(super) rows: usize,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    /// When its first record came, on the caller's monotonic clock.
    pub(super) since: Duration,
    pub(super) columns: Vec<ColumnBuilder>,
    pub(super) times: Vec<i64>,
    /// Bytes of texts and tags.
    pub(super) var_bytes: usize,
    pub(super) held: Reservation,
    width: Width,
    cap_rows: usize,
}

/// When a segment is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most rows.
    pub(super) rows: usize,
    /// Most bytes of raw data.
    pub(super) bytes: usize,
}

/// Fixed costs of a segment: its description, its place in the queues, allocator overhead.
pub(super) const SEGMENT_BYTES: usize = 320;

impl Open {
    pub(super) fn new(base: u64, types: impl Iterator<Item = ColumnType>, since: Duration, held: Reservation) -> Self {
        let mut width = Width::default();
        let columns = types.inspect(|ty| width = width.plus(Width::of(*ty))).map(ColumnBuilder::new).collect();
        Self {
            base,
            rows: 0,
            min_time: i64::MAX,
            max_time: i64::MIN,
            since,
            columns,
            times: Vec::new(),
            var_bytes: 0,
            held,
            width,
            cap_rows: 0,
        }
    }

    /// The offset after the last record.
    pub(super) fn end(&self) -> u64 {
        self.base + self.rows as u64
    }

    /// Bytes of data: what decoding the segment will give, roughly.
    pub(super) fn raw_bytes(&self) -> usize {
        self.bytes_for(self.rows) + self.var_bytes
    }

    pub(super) fn is_full(&self, limits: Limits) -> bool {
        self.rows >= limits.rows || self.raw_bytes() >= limits.bytes
    }

    /// Whether `rows` more rows with `var` bytes of texts and tags stay within the limits.
    pub(super) fn fits(&self, rows: usize, var: usize, limits: Limits) -> bool {
        self.rows + rows <= limits.rows && self.bytes_for(self.rows + rows) + self.var_bytes + var <= limits.bytes
    }

    /// Whether one more column still leaves the rows it has within the limits.
    pub(super) fn fits_column(&self, ty: ColumnType, limits: Limits) -> bool {
        let cap = self.bytes_for(self.cap_rows) + Width::of(ty).bytes(self.cap_rows);
        cap + self.var_bytes <= limits.bytes.max(self.bytes_for(MIN_ROWS))
    }

    /// Row capacity to grow to for `more` rows, with the bytes to charge before: `None` when they fit already.
    ///
    /// `usual` is what the log's last segment came to: a log that fills its segments gets its room in one piece.
    pub(super) fn row_growth(&self, more: usize, usual: usize, limits: Limits) -> Option<(usize, usize)> {
        let needed = self.rows + more;
        if needed <= self.cap_rows {
            return None;
        }
        let cap = (self.cap_rows * 2).max(MIN_ROWS).max(usual).min(limits.rows);
        let width = self.bytes_for(64).div_ceil(64).max(1);
        let cap = cap.min(limits.bytes / width + 1).max(needed);
        // Columns are moved one by one, so one old block lives beside the new ones.
        let moved = self.cap_rows * size_of::<i64>();
        Some((cap, self.bytes_for(cap) - self.bytes_for(self.cap_rows) + moved))
    }

    /// Allocates what [`Self::row_growth`] said.
    pub(super) fn grow_rows(&mut self, cap: usize) {
        self.times.reserve_exact(cap - self.times.len());
        self.columns.iter_mut().for_each(|column| column.grow_rows(cap));
        self.cap_rows = cap;
    }

    /// Bytes to charge before [`Self::add_column`].
    pub(super) fn column_growth(&self, ty: ColumnType) -> usize {
        Width::of(ty).bytes(self.cap_rows)
    }

    /// Widens the segment; earlier rows are null.
    pub(super) fn add_column(&mut self, ty: ColumnType) {
        let mut column = ColumnBuilder::new(ty);
        column.grow_rows(self.cap_rows);
        self.columns.push(column);
        self.width = self.width.plus(Width::of(ty));
    }

    /// Counts the rows whose times were just pushed.
    pub(super) fn finish_rows(&mut self) {
        let new = &self.times[self.rows..];
        // Sensors mostly report in order, and to see that is three times as fast as to look for the ends.
        let ends = match new {
            [first, .., last] if new.is_sorted() => Some((*first, *last)),
            _ => new.iter().map(|time| (*time, *time)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
        };
        if let Some((min, max)) = ends {
            self.min_time = self.min_time.min(min);
            self.max_time = self.max_time.max(max);
        }
        self.rows = self.times.len();
    }

    /// Bytes of heap in use, and so the least that `held` must hold.
    pub(super) fn heap_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(ColumnBuilder::heap_bytes).sum();
        SEGMENT_BYTES + self.times.capacity() * size_of::<i64>() + columns
    }

    /// The segment as an Arrow batch of this schema, whose columns are exactly the segment's.
    pub(super) fn into_batch(self, schema: &Schema) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows;
        let mut arrays = vec![times(self.times)];
        for column in self.columns {
            arrays.push(column.into_array(rows)?);
        }
        RecordBatch::try_new(schema.arrow(), arrays)
    }

    /// A copy of the rows `start..end`.
    pub(super) fn copy(&self, start: usize, end: usize, schema: &Schema) -> Result<RecordBatch, ArrowError> {
        let mut arrays = vec![times(self.times[start..end].to_vec())];
        for column in &self.columns {
            arrays.push(column.copy(start, end)?);
        }
        RecordBatch::try_new(schema.arrow(), arrays)
    }

    /// How many rows from `start` a copy of about `budget` bytes takes (at least one), and its bytes from above.
    pub(super) fn copy_span(&self, start: usize, end: usize, budget: usize) -> (usize, usize) {
        let bytes = |end: usize| {
            let columns: usize = self.columns.iter().map(|c| c.copy_bytes(start, end)).sum();
            (end - start) * size_of::<i64>() + columns + 256
        };
        let width = self.bytes_for(64).div_ceil(64).max(1);
        let mut end = end.min(start + (budget / width).max(1));
        while end > start + 1 && bytes(end) > budget {
            end = start + (end - start) / 2;
        }
        (end, bytes(end))
    }

    fn bytes_for(&self, rows: usize) -> usize {
        rows * size_of::<i64>() + self.width.bytes(rows)
    }
}

/// Rows that a new segment has room for at once.
const MIN_ROWS: usize = 8;

fn times(times: Vec<i64>) -> ArrayRef {
    std::sync::Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
}

//! The append path for decoded records.

use thiserror::Error;

use super::budget::Exhausted;
use super::config::{EvictionPolicy, Now};
use super::schema::{NoColumn, column_bytes};
use super::state::{NoLog, REJECTED, REJECTED_COLUMNS, State};
use crate::records::{RecordRef, Records, Value};
use pyralog_segment::ColumnType;

/// What became of an append. The ring has all of it: the sender may be told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Records in their logs.
    pub rows: u64,
    /// Records that no log could take; they are kept in `_rejected`.
    pub rejected: u64,
    /// Cells that their record's log had no column for; they are kept in `_rejected`, and their records are in `rows`.
    pub rejected_cells: u64,
}

/// Why an append did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AppendError {
    /// There is no room, and the policy or the requests in flight leave nothing to evict.
    #[error("the ring is full: retry when the hub has taken records, or raise max_memory ({} records were taken)", done.rows)]
    Full {
        /// What the ring took before it was full.
        done: Appended,
    },
    /// Columns of a batch differ in length, or have a type that no log has.
    #[error("column {column} of the batch has another length than its times, or a type that logs do not have")]
    Shape {
        /// Index of the column.
        column: usize,
    },
}

/// Stands for a cell that goes to no column.
const NOWHERE: u32 = u32::MAX;

impl State {
    pub(super) fn append(&mut self, records: &Records, now: Now) -> Result<Appended, AppendError> {
        let mut done = Appended::default();
        if self.config.eviction_policy == EvictionPolicy::Reject {
            // Whoever is refused sends all of it again, so refuse before the first record rather than in the middle.
            let data: usize = records.iter().map(row_bytes).sum();
            self.make_room((data * 2 + self.limits.bytes) as u64).map_err(|_| AppendError::Full { done })?;
        }
        for record in records.iter() {
            self.append_record(record, now, &mut done).map_err(|_| AppendError::Full { done })?;
        }
        Ok(done)
    }

    pub(super) fn append_record(
        &mut self,
        record: RecordRef<'_>,
        now: Now,
        done: &mut Appended,
    ) -> Result<(), Exhausted> {
        let at = match self.log_for(record.log()) {
            Ok(at) => at,
            Err(why) => {
                done.rejected += 1;
                self.reject_record(record, no_log(why), now);
                return Ok(());
            }
        };
        let mut cells = std::mem::take(&mut self.cells);
        let appended = self.append_cells(at, record, &mut cells, now, done);
        self.cells = cells;
        appended
    }

    fn append_cells(
        &mut self,
        at: usize,
        record: RecordRef<'_>,
        cells: &mut Vec<u32>,
        now: Now,
        done: &mut Appended,
    ) -> Result<(), Exhausted> {
        let (excess, data) = self.resolve_cells(at, record, cells);
        if data > self.limits.bytes {
            done.rejected += 1;
            self.reject_record(record, "the record is larger than a segment; send smaller values", now);
            return Ok(());
        }
        let growth = self.room_for_row(at, record, cells, data, now)?;
        self.push_row(at, record, cells, growth, now);
        done.rows += 1;
        if excess > 0 {
            done.rejected_cells += excess;
            let nowhere = |i: usize| cells.get(i) == Some(&NOWHERE);
            self.reject_cells(record, nowhere, now);
        }
        Ok(())
    }

    /// Fills `cells` with the column of each cell, adding columns as need be; gives the number of cells that have none, and
    /// the bytes of data.
    fn resolve_cells(&mut self, at: usize, record: RecordRef<'_>, cells: &mut Vec<u32>) -> (u64, usize) {
        cells.clear();
        self.stamp += 1;
        let (mut excess, mut data) = (0, 0);
        for (position, (name, value)) in record.values().enumerate() {
            data += value.data_len();
            let ty = value.column_type();
            let column = match self.logs[at].schema.resolve(position, name, ty) {
                Ok(column) => Some(column),
                Err(NoColumn::New { name_bytes }) => self.add_column(at, name, name_bytes, ty),
                Err(NoColumn::Name) => None,
            };
            let Some(column) = column else {
                excess += 1;
                cells.push(NOWHERE);
                continue;
            };
            let stamp = &mut self.logs[at].stamps[column as usize];
            if *stamp == self.stamp {
                // The name came before in this record: the later value wins.
                cells.iter_mut().filter(|c| **c == column).for_each(|c| *c = TWICE);
            }
            *stamp = self.stamp;
            cells.push(column);
        }
        (excess, data)
    }

    /// Adds a column to a log and its open segment; `None` when the log has as many as it may, or memory is short.
    pub(super) fn add_column(&mut self, at: usize, name: &str, name_bytes: usize, ty: ColumnType) -> Option<u32> {
        let log = &self.logs[at];
        let most = if &*log.name == REJECTED { REJECTED_COLUMNS } else { self.config.max_columns };
        if log.schema.columns().len() >= most {
            return None;
        }
        let fixed = column_bytes(name_bytes) as u64;
        self.charge_fixed(fixed).ok()?;
        if self.logs[at].open.as_ref().is_some_and(|open| !open.fits_column(ty, self.limits)) {
            self.seal(at);
            self.discard_empty(at);
        }
        if let Some(open) = &self.logs[at].open {
            let bytes = open.column_growth(ty) as u64;
            let Ok(held) = self.reserve(bytes) else {
                self.fixed_bytes -= fixed;
                return None;
            };
            self.open_bytes += bytes;
            if let Some(open) = &mut self.logs[at].open {
                open.held.merge(held);
                open.add_column(ty);
            }
        }
        let log = &mut self.logs[at];
        let held = log.fixed.bytes() + fixed;
        log.fixed.force_to(held);
        log.stamps.push(0);
        Some(log.schema.add(name, ty))
    }

    /// Makes sure that the row fits: seals a full segment, makes room, charges and allocates for rows. Gives what is charged
    /// for texts and tags.
    fn room_for_row(
        &mut self,
        at: usize,
        record: RecordRef<'_>,
        cells: &[u32],
        data: usize,
        now: Now,
    ) -> Result<Charged, Exhausted> {
        let limits = self.limits;
        if self.logs[at].open.as_ref().is_some_and(|open| open.rows > 0 && !open.fits(1, data, limits)) {
            self.seal(at);
        }
        for again in [true, false] {
            let usual = self.logs[at].usual_rows;
            let open = self.open(at, now.mono);
            let rows = open.row_growth(1, usual, limits);
            let (mut heap, mut raw) = (rows.map_or(0, |(_, bytes)| bytes), 0);
            for (column, (_, value)) in cells.iter().zip(record.values()) {
                if let Some(builder) = open.columns.get_mut(*column as usize) {
                    let growth = builder.growth(value, limits.bytes);
                    heap += growth.heap;
                    raw += growth.raw;
                }
            }
            if heap > 0 {
                if self.relieve(heap as u64) == Some(at) && again {
                    continue;
                }
                self.charge_open(at, heap as u64, rows.map(|(cap, _)| cap))?;
            }
            return Ok(Charged { settle: heap > 0, raw });
        }
        Ok(Charged { settle: true, raw: data })
    }

    /// Keeps open segments within their share: when `more` bytes would exceed it, seals the largest and says whose it was.
    pub(super) fn relieve(&mut self, more: u64) -> Option<usize> {
        if self.open_bytes + more <= self.config.open_share() {
            return None;
        }
        let open = self.logs.iter().map(|log| log.open.as_ref().filter(|open| open.rows > 0));
        let held = open.map(|open| open.map_or(0, |open| open.held.bytes()));
        let (at, bytes) = held.enumerate().max_by_key(|(_, bytes)| *bytes)?;
        if bytes == 0 {
            return None;
        }
        self.seal(at);
        Some(at)
    }

    /// Charges `bytes` to an open segment, and allocates the row capacity that is part of them.
    pub(super) fn charge_open(&mut self, at: usize, bytes: u64, rows: Option<usize>) -> Result<(), Exhausted> {
        let held = self.reserve(bytes)?;
        self.open_bytes += bytes;
        if let Some(open) = &mut self.logs[at].open {
            open.held.merge(held);
            if let Some(rows) = rows {
                open.grow_rows(rows);
            }
        }
        Ok(())
    }

    /// Gives back what was charged to an open segment beyond what it took.
    pub(super) fn settle_open(&mut self, at: usize) {
        if let Some(open) = &mut self.logs[at].open {
            let before = open.held.bytes();
            let heap = open.heap_bytes() as u64;
            debug_assert!(heap <= before, "{heap} bytes allocated, {before} charged");
            open.held.force_to(heap);
            self.open_bytes = self.open_bytes + heap - before;
        }
    }

    fn push_row(&mut self, at: usize, record: RecordRef<'_>, cells: &[u32], charged: Charged, now: Now) {
        let limits = self.limits;
        let log = &mut self.logs[at];
        let Some(open) = &mut log.open else { return };
        if open.rows == 0 {
            open.since = now.mono;
        }
        let row = open.rows;
        for (column, (_, value)) in cells.iter().zip(record.values()) {
            if let Some(builder) = open.columns.get_mut(*column as usize) {
                builder.push(row, value, limits.bytes);
            }
        }
        open.times.push(record.time().unwrap_or(now.unix_ns));
        open.var_bytes += charged.raw;
        open.finish_rows();
        log.head += 1;
        let full = open.is_full(limits);
        if charged.settle {
            self.settle_open(at);
        }
        if full {
            self.seal(at);
        }
    }

    /// Drops an open segment that has no records.
    fn discard_empty(&mut self, at: usize) {
        if let Some(open) = self.logs[at].open.take_if(|open| open.rows == 0) {
            self.open_bytes -= open.held.bytes();
        }
    }
}

/// What [`State::room_for_row`] made ready.
#[derive(Debug, Clone, Copy)]
struct Charged {
    settle: bool,
    raw: usize,
}

/// Stands for a cell whose name comes again in its record.
const TWICE: u32 = u32::MAX - 1;

fn row_bytes(record: RecordRef<'_>) -> usize {
    16 + record.values().map(|(_, value): (&str, Value<'_>)| 16 + value.data_len()).sum::<usize>()
}

pub(super) fn no_log(why: NoLog) -> &'static str {
    match why {
        NoLog::Name => "the log's name is empty or longer than 255 bytes; rename it",
        NoLog::TooMany => "there are max_logs logs already; use an existing one or raise max_logs",
        NoLog::Memory => "no memory for another log; use an existing one or raise max_memory",
    }
}

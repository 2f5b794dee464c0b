//! What the ring says about itself.

use std::sync::Arc;
use std::time::Duration;

use pyralog_segment::Schema;

use super::config::Now;
use super::log::{Account, HubCursor, Log};
use super::ring::Ring;
use super::state::State;

/// What the ring knows of one log.
#[derive(Debug, Clone)]
pub struct LogSummary {
    /// Name of the log.
    pub name: Arc<str>,
    /// Its schema as of now.
    pub schema: Arc<Schema>,
    /// Lowest offset in the ring.
    pub tail: u64,
    /// Next offset to be assigned.
    pub head: u64,
    /// What the hub last said.
    pub cursor: HubCursor,
    /// Where its records are.
    pub account: Account,
    /// Records in the ring.
    pub rows: u64,
    /// Segments in the ring, the open one not counted.
    pub segments: usize,
    /// Bytes that it takes of the budget.
    pub bytes: u64,
    /// Earliest and latest time in the ring, Unix nanoseconds; `None` without records.
    pub times: Option<(i64, i64)>,
}

/// What the ring knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingStatus {
    /// Bytes of the budget in use.
    pub used: u64,
    /// Its cap.
    pub cap: u64,
    /// Number of logs.
    pub logs: usize,
    /// Bytes in open segments.
    pub open_bytes: u64,
    /// Bytes in sealed and packed segments.
    pub segment_bytes: u64,
    /// Bytes of requests, results and batches in flight.
    pub guest_bytes: u64,
    /// Packed bytes that the hub does not have.
    pub pending_bytes: u64,
    /// Segments that wait to be packed.
    pub unpacked_segments: usize,
    /// Segments sealed since the start.
    pub sealed_segments: u64,
    /// Segments packed since the start.
    pub packed_segments: u64,
    /// Segments evicted since the start.
    pub evicted_segments: u64,
    /// Raw bytes of the segments packed since the start.
    pub raw_bytes_packed: u64,
    /// What they were packed to.
    pub packed_bytes: u64,
    /// Payloads, records and sets of cells rejected since the start.
    pub rejected: u64,
    /// Those of them that `_rejected` had no room for.
    pub rejected_unkept: u64,
    /// Sums over all logs.
    pub totals: Account,
}

impl Ring {
    /// A summary of each log.
    pub fn logs(&self) -> Vec<LogSummary> {
        let mut state = self.shared.state.lock();
        let budget = Arc::clone(&state.budget);
        state.logs.iter_mut().map(|log| log.summary(&budget)).collect()
    }

    /// A summary of one log.
    pub fn log(&self, name: &str) -> Option<LogSummary> {
        let mut state = self.shared.state.lock();
        let budget = Arc::clone(&state.budget);
        let at = state.find_log(name)?;
        Some(state.logs[at].summary(&budget))
    }

    /// A summary of the ring.
    pub fn status(&self) -> RingStatus {
        let state = self.shared.state.lock();
        let counters = state.totals;
        RingStatus {
            used: state.budget.used(),
            cap: state.budget.cap(),
            logs: state.logs.len(),
            open_bytes: state.open_bytes,
            segment_bytes: state.evictable,
            guest_bytes: self.shared.guests.used(),
            pending_bytes: state.pending_packed,
            unpacked_segments: state.unpacked.len(),
            sealed_segments: counters.sealed_segments,
            packed_segments: counters.packed_segments,
            evicted_segments: counters.evicted_segments,
            raw_bytes_packed: counters.raw_bytes_packed,
            packed_bytes: counters.packed_bytes,
            rejected: counters.rejected,
            rejected_unkept: counters.rejected_unkept,
            totals: state.logs.iter().map(Log::account).fold(Account::default(), sum),
        }
    }

    /// How long until the oldest record that the hub does not have is evicted, if data keeps coming as in the last minute.
    /// `None` when nothing is pending, or when nothing comes in.
    pub fn runway(&self, now: Now) -> Option<Duration> {
        let state = self.shared.state.lock();
        state.logs.iter().any(|log| log.account().pending > 0).then_some(())?;
        let raw = state.rate.per_second(now.mono, state.raw_bytes_in())?;
        let counters = state.totals;
        let ratio = match counters.raw_bytes_packed {
            0 => 1.0,
            packed => counters.packed_bytes as f64 / packed as f64,
        };
        let free = state.config.watermark().saturating_sub(state.budget.used());
        let seconds = (free + state.committed_bytes()) as f64 / (raw * ratio);
        // A division by zero gives infinity, and more than a century is the same to anyone.
        Duration::try_from_secs_f64(seconds).ok().filter(|runway| runway.as_secs() < 100 * 366 * 86_400)
    }
}

impl State {
    /// Raw bytes accepted since the start.
    pub(super) fn raw_bytes_in(&self) -> u64 {
        let open = self.logs.iter().filter_map(|log| log.open.as_ref());
        self.totals.raw_bytes_sealed + open.map(|open| open.raw_bytes() as u64).sum::<u64>()
    }

    /// Bytes of segments that the hub has.
    fn committed_bytes(&self) -> u64 {
        let of_log = |log: &Log| {
            let committed = log.segments.iter().take_while(|segment| log.has_committed(segment));
            committed.map(|segment| u64::from(segment.charge)).sum::<u64>()
        };
        self.logs.iter().map(of_log).sum()
    }
}

impl Log {
    fn summary(&mut self, budget: &Arc<super::budget::Budget>) -> LogSummary {
        let schema = Arc::clone(&self.schema.publish(budget).schema);
        let open = self.open.as_ref().filter(|open| open.rows > 0);
        let sealed = self.segments.iter().map(|s| (s.min_time, s.max_time));
        let spans = sealed.chain(open.map(|open| (open.min_time, open.max_time)));
        let charges: u64 = self.segments.iter().map(|s| u64::from(s.charge)).sum();
        LogSummary {
            name: Arc::clone(&self.name),
            schema,
            tail: self.tail(),
            head: self.head,
            cursor: self.cursor,
            account: self.account(),
            rows: self.segments.iter().map(|s| u64::from(s.rows)).sum::<u64>() + open.map_or(0, |o| o.rows as u64),
            segments: self.segments.len(),
            bytes: charges + self.open.as_ref().map_or(0, |open| open.held.bytes()) + self.fixed.bytes(),
            times: spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
        }
    }
}

fn sum(mut all: Account, one: Account) -> Account {
    all.accepted += one.accepted;
    all.committed += one.committed;
    all.pending += one.pending;
    all.receipted.iter_mut().zip(one.receipted).for_each(|(all, one)| *all += one);
    all
}

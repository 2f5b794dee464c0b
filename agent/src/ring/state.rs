//! Everything that the ring's lock guards.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use pyralog_segment::overhead_bytes;

use super::budget::Budget;
use super::config::RingConfig;
use super::log::Log;
use super::open::{Limits, Open, SEGMENT_BYTES};
use super::rate::Rate;
use super::segment::{Body, Sealed, Segment};

/// Logs and the queues over them.
///
/// Invariants: each segment is in exactly one of `committed` and `uncommitted`, under its `seq`; `evictable` is the sum of
/// their charges; `open_bytes` is what open segments hold. `check_invariants` asserts all of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: RingConfig,
    pub(super) limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) logs: Vec<Log>,
    /// Segments that the hub has, by seq: evicted first.
    pub(super) committed: BTreeSet<(u64, u32)>,
    /// Segments that it does not have.
    pub(super) uncommitted: BTreeSet<(u64, u32)>,
    /// Sealed segments that wait to be packed, in order of sealing; some may be gone already.
    pub(super) unpacked: VecDeque<(u64, u32)>,
    /// The one that the packer has at hand.
    pub(super) packing: Option<(u64, u32)>,
    pub(super) evictable: u64,
    pub(super) open_bytes: u64,
    pub(super) fixed_bytes: u64,
    /// Packed bytes that the hub does not have.
    pub(super) pending_packed: u64,
    pub(super) totals: Totals,
    pub(super) rate: Rate,
    /// Column of each cell of the record at hand; kept for its memory.
    pub(super) cells: Vec<u32>,
    pub(super) stamp: u64,
    by_name: HashTable<u32>,
    hasher: RandomState,
    last_log: usize,
    next_seq: u64,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) rejected: u64,
    pub(super) rejected_unkept: u64,
    pub(super) evicted_segments: u64,
    pub(super) sealed_segments: u64,
    pub(super) packed_segments: u64,
    /// Times that the packer was through with a segment, whatever came of it.
    pub(super) packings_ended: u64,
    pub(super) raw_bytes_packed: u64,
    pub(super) packed_bytes: u64,
    /// Raw bytes of segments sealed so far.
    pub(super) raw_bytes_sealed: u64,
}

/// Why a log could not be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLog {
    Name,
    TooMany,
    Memory,
}

/// Name of the log that keeps what could not be taken.
pub(super) const REJECTED: &str = "_rejected";

/// Its own columns, and some for records that a user sends to a log of that name.
pub(super) const REJECTED_COLUMNS: usize = 8;

/// Longest name of a log, in bytes.
const MAX_LOG_NAME: usize = 255;

/// What a log costs without its columns; twice, since the list of logs doubles as it grows.
const LOG_BYTES: u64 = 2 * size_of::<Log>() as u64 + 64;

impl State {
    pub(super) fn new(config: RingConfig, budget: Arc<Budget>) -> Self {
        Self {
            limits: config.limits(),
            config,
            budget,
            logs: Vec::new(),
            committed: BTreeSet::new(),
            uncommitted: BTreeSet::new(),
            unpacked: VecDeque::new(),
            packing: None,
            evictable: 0,
            open_bytes: 0,
            fixed_bytes: 0,
            pending_packed: 0,
            totals: Totals::default(),
            rate: Rate::default(),
            cells: Vec::new(),
            stamp: 0,
            by_name: HashTable::new(),
            hasher: RandomState::default(),
            last_log: 0,
            next_seq: 0,
        }
    }

    /// Index of a log that exists.
    pub(super) fn find_log(&self, name: &str) -> Option<usize> {
        if let Some(log) = self.logs.get(self.last_log)
            && &*log.name == name
        {
            return Some(self.last_log);
        }
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |at| &*self.logs[*at as usize].name == name).map(|at| *at as usize)
    }

    /// Index of a log, which is created if need be and possible.
    pub(super) fn log_for(&mut self, name: &str) -> Result<usize, NoLog> {
        if let Some(at) = self.find_log(name) {
            self.last_log = at;
            return Ok(at);
        }
        if name.is_empty() || name.len() > MAX_LOG_NAME {
            return Err(NoLog::Name);
        }
        let others = self.logs.len() - usize::from(self.find_log(REJECTED).is_some());
        if others >= self.config.max_logs && name != REJECTED {
            return Err(NoLog::TooMany);
        }
        let bytes = LOG_BYTES + 2 * name.len() as u64;
        self.charge_fixed(bytes)?;
        let fixed = self.budget.force(bytes);
        let at = self.logs.len();
        self.logs.push(Log::new(name, fixed));
        let Self { by_name, hasher, logs, .. } = self;
        let hash_of = |at: &u32| hasher.hash_one(&*logs[*at as usize].name);
        by_name.insert_unique(hash_of(&(at as u32)), at as u32, hash_of);
        Ok(at)
    }

    /// Makes room for `bytes` that can never be evicted, and counts them.
    pub(super) fn charge_fixed(&mut self, bytes: u64) -> Result<(), NoLog> {
        if self.fixed_bytes + bytes > self.config.fixed_share() || self.make_room(bytes).is_err() {
            return Err(NoLog::Memory);
        }
        self.fixed_bytes += bytes;
        Ok(())
    }

    /// The open segment of a log, begun if there is none. Its fixed cost is small and charged in any case.
    pub(super) fn open(&mut self, at: usize, mono: Duration) -> &mut Open {
        let log = &mut self.logs[at];
        let (budget, open_bytes) = (&self.budget, &mut self.open_bytes);
        log.open.get_or_insert_with(|| {
            *open_bytes += SEGMENT_BYTES as u64;
            let types = log.schema.columns().iter().map(|column| column.ty);
            Open::new(log.head, types, mono, budget.force(SEGMENT_BYTES as u64))
        })
    }

    /// Turns the open segment of a log into a sealed one; without records it does nothing.
    pub(super) fn seal(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let Some(mut open) = log.open.take_if(|open| open.rows > 0) else { return };
        self.open_bytes -= open.held.bytes();
        // Packing must not take more than was let in: of a few records, the packed bytes may be larger than the builders.
        let types = log.schema.columns().iter().take(open.columns.len()).map(|column| column.ty);
        let packed = SEGMENT_BYTES + overhead_bytes(self.config.encoding, types) + open.raw_bytes();
        let charge = open.held.bytes().max(packed as u64);
        open.held.force_to(charge);
        self.evictable += charge;
        self.totals.sealed_segments += 1;
        self.totals.raw_bytes_sealed += open.raw_bytes() as u64;
        log.usual_rows = open.rows;
        let schema = log.schema.publish(&self.budget);
        let seq = self.next_seq;
        self.next_seq += 1;
        let segment = Segment {
            base: open.base,
            rows: open.rows as u32,
            charge: charge as u32,
            raw_bytes: open.raw_bytes() as u32,
            min_time: open.min_time,
            max_time: open.max_time,
            seq,
            schema: Arc::clone(&schema),
            body: Body::Sealed(Arc::new(Sealed::new(open, schema))),
        };
        let queue = if log.has_committed(&segment) { &mut self.committed } else { &mut self.uncommitted };
        queue.insert((seq, at as u32));
        self.unpacked.push_back((seq, at as u32));
        log.segments.push_back(segment);
    }

    /// Seals what is older than `age`.
    pub(super) fn seal_older(&mut self, mono: Duration, age: Duration) {
        for at in 0..self.logs.len() {
            let since = self.logs[at].open.as_ref().filter(|open| open.rows > 0).map(|open| open.since);
            if since.is_some_and(|since| mono.saturating_sub(since) >= age) {
                self.seal(at);
            }
        }
    }

    /// Index, within its log, of the segment with this seq.
    pub(super) fn segment_index(&self, at: usize, seq: u64) -> Option<usize> {
        self.logs.get(at)?.segments.binary_search_by_key(&seq, |segment| segment.seq).ok()
    }
}

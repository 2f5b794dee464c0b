//! A ring of numbers: as plain as can be, with the behaviour a sender relies on.

use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::{LogHead, Reason, Receipt, SegmentMeta};
use pyralog_sync_protocol::{ChainHash, Cursor, Fingerprint, Item, LogName, Source};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Segment {
    meta: SegmentMeta,
    hash: ChainHash,
    body: Vec<u8>,
    discarded: bool,
}

/// One log of the ring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Log {
    head: u64,
    open: Vec<u64>,
    segments: VecDeque<Segment>,
    chain: ChainHash,
    /// Hash of the last evicted segment.
    evicted: ChainHash,
    /// Offsets that left the ring, as ranges.
    gone: Vec<(u64, u64)>,
    cursor: Cursor,
    /// A hub said that it has more than was ever accepted here.
    ahead: bool,
}

impl Log {
    fn sealed_to(&self) -> u64 {
        self.head - self.open.len() as u64
    }

    fn tail(&self) -> u64 {
        self.segments.front().map_or(self.sealed_to(), |segment| segment.meta.base)
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let base = self.sealed_to();
        let body: Vec<u8> = self.open.iter().flat_map(|value| value.to_le_bytes()).collect();
        let rows = self.open.len() as u32;
        let schema = Fingerprint::of(SCHEMA);
        let (min_time, max_time) = (base as i64, (base + u64::from(rows)) as i64);
        let meta = SegmentMeta { base, rows, min_time, max_time, encoding: 1, schema };
        self.chain = link(self.chain, &meta, &body);
        self.segments.push_back(Segment { meta, hash: self.chain, body, discarded: false });
        self.open.clear();
    }

    fn evict(&mut self) -> bool {
        let Some(segment) = self.segments.pop_front() else { return false };
        self.evicted = segment.hash;
        match self.gone.last_mut() {
            Some(last) if last.1 == segment.meta.base => last.1 = segment.meta.end(),
            _ => self.gone.push((segment.meta.base, segment.meta.end())),
        }
        true
    }

    /// Counted row by row: what is accepted, and what the ring holds or dropped that the hub does not have yet.
    fn books(&self) -> Books {
        let beyond = |from: u64, to: u64| to.saturating_sub(from.max(self.cursor.next));
        let lost = self.gone.iter().map(|(from, to)| beyond(*from, *to)).sum();
        let segments = self.segments.iter().map(|segment| beyond(segment.meta.base, segment.meta.end()));
        let pending = segments.sum::<u64>() + beyond(self.sealed_to(), self.head);
        Books { accepted: self.head, cursor: self.cursor, pending, lost, ahead: self.ahead }
    }
}

/// A log's account as the ring keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Books {
    /// Records that were appended.
    pub accepted: u64,
    /// Where the hub stood when the sender last said so.
    pub cursor: Cursor,
    /// Records in the ring beyond the cursor.
    pub pending: u64,
    /// Records dropped beyond the cursor: the next receipt.
    pub lost: u64,
    /// A hub claimed more than was accepted.
    pub ahead: bool,
}

impl Books {
    /// Whether the account comes out.
    pub fn balance(&self) -> bool {
        !self.ahead && self.accepted == self.cursor.committed() + self.cursor.lost() + self.pending + self.lost
    }
}

const SCHEMA: &[u8] = b"one number";

/// All logs, as a value that can be compared and hashed.
pub type Logs = BTreeMap<LogName, Log>;

/// A ring that seals a segment at so many rows, and holds so many segments of each log.
#[derive(Debug)]
pub struct Ring {
    logs: RefCell<Logs>,
    capacity: usize,
    rows: usize,
}

impl Ring {
    pub fn new(logs: Logs, capacity: usize, rows: usize) -> Self {
        Self { logs: RefCell::new(logs), capacity, rows }
    }

    pub fn into_logs(self) -> Logs {
        self.logs.into_inner()
    }

    pub fn append(&self, log: &LogName, value: impl Fn(u64) -> u64) {
        let mut logs = self.logs.borrow_mut();
        let log = logs.entry(log.clone()).or_default();
        log.open.push(value(log.head));
        log.head += 1;
        if log.open.len() >= self.rows {
            log.seal();
        }
        while log.segments.len() > self.capacity {
            log.evict();
        }
    }

    pub fn seal_all(&self) {
        self.logs.borrow_mut().values_mut().for_each(Log::seal);
    }

    pub fn head(&self, log: &LogName) -> u64 {
        self.logs.borrow().get(log).map_or(0, |log| log.head)
    }

    /// Drops the oldest segment of `log`; `false` when there is none.
    pub fn evict(&self, log: &LogName) -> bool {
        self.logs.borrow_mut().get_mut(log).is_some_and(Log::evict)
    }

    /// Turns over a bit of the newest segment of `log`, as failing RAM would; `false` when there is none.
    pub fn damage(&self, log: &LogName) -> bool {
        let mut logs = self.logs.borrow_mut();
        let newest = logs.get_mut(log).and_then(|log| log.segments.back_mut());
        newest.and_then(|segment| segment.body.first_mut()).is_some_and(|byte| {
            *byte ^= 0x80;
            true
        })
    }

    pub fn books(&self) -> Vec<(LogName, Books)> {
        self.logs.borrow().iter().map(|(name, log)| (name.clone(), log.books())).collect()
    }
}

impl Source for Ring {
    type Body = Vec<u8>;

    fn logs(&self) -> Vec<LogHead> {
        let logs = self.logs.borrow();
        logs.iter().map(|(name, log)| LogHead { log: name.clone(), tail: log.tail(), head: log.head }).collect()
    }

    fn item(&self, log: &LogName, offset: u64) -> Option<Item<Vec<u8>>> {
        let logs = self.logs.borrow();
        let log = logs.get(log)?;
        let loss = |to, reason, hash| {
            let (min_time, max_time) = (offset as i64, to as i64);
            Some(Item::Loss(Receipt { from: offset, to, reason, min_time, max_time, hash }))
        };
        if offset < log.tail() {
            return loss(log.tail(), Reason::Evicted, log.evicted);
        }
        let segment = log.segments.iter().find(|segment| segment.meta.end() > offset)?;
        if segment.discarded || segment.meta.base != offset {
            return loss(segment.meta.end(), Reason::Corrupt, segment.hash);
        }
        Some(Item::Segment { meta: segment.meta, hash: segment.hash, body: segment.body.clone() })
    }

    fn schema(&self, _: &LogName, fingerprint: Fingerprint) -> Option<Vec<u8>> {
        (fingerprint == Fingerprint::of(SCHEMA)).then(|| SCHEMA.to_vec())
    }

    fn acknowledged(&self, log: &LogName, cursor: Cursor) {
        if let Some(log) = self.logs.borrow_mut().get_mut(log) {
            log.ahead |= cursor.next > log.head;
            log.cursor = cursor;
        }
    }

    fn discard(&self, log: &LogName, base: u64) {
        let mut logs = self.logs.borrow_mut();
        let segments = logs.get_mut(log).into_iter().flat_map(|log| &mut log.segments);
        segments.filter(|segment| segment.meta.base == base).for_each(|segment| segment.discarded = true);
    }
}

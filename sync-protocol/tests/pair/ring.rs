//! A ring of numbers: as plain as can be, with the behaviour a sender relies on.

use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::{LogHead, Reason, Receipt, SegmentMeta};
use pyralog_sync_protocol::{ChainHash, Cursor, Fingerprint, Item, LogName, Source};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone)]
struct Segment {
    meta: SegmentMeta,
    hash: ChainHash,
    body: Vec<u8>,
    discarded: bool,
}

#[derive(Default)]
struct Log {
    head: u64,
    open: Vec<u64>,
    segments: VecDeque<Segment>,
    chain: ChainHash,
    /// Hash of the last evicted segment.
    evicted: ChainHash,
    cursor: Cursor,
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
}

const SCHEMA: &[u8] = b"one number";

#[derive(Default)]
pub struct Ring {
    logs: RefCell<BTreeMap<LogName, Log>>,
    capacity: usize,
}

impl Ring {
    /// A ring that holds `capacity` segments of each log.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    pub fn append(&self, log: &LogName, value: impl Fn(u64) -> u64) {
        let mut logs = self.logs.borrow_mut();
        let log = logs.entry(log.clone()).or_default();
        log.open.push(value(log.head));
        log.head += 1;
        if log.open.len() >= 5 {
            log.seal();
        }
        while log.segments.len() > self.capacity {
            log.evicted = log.segments.pop_front().unwrap().hash;
        }
    }

    pub fn seal_all(&self) {
        self.logs.borrow_mut().values_mut().for_each(Log::seal);
    }

    pub fn head(&self, log: &LogName) -> u64 {
        self.logs.borrow().get(log).map_or(0, |log| log.head)
    }

    pub fn cursor(&self, log: &LogName) -> Cursor {
        self.logs.borrow().get(log).map(|log| log.cursor).unwrap_or_default()
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
            assert!(cursor.next <= log.head, "a hub that is ahead of its agent");
            log.cursor = cursor;
        }
    }

    fn discard(&self, log: &LogName, base: u64) {
        let mut logs = self.logs.borrow_mut();
        let segments = logs.get_mut(log).into_iter().flat_map(|log| &mut log.segments);
        segments.filter(|segment| segment.meta.base == base).for_each(|segment| segment.discarded = true);
    }
}

//! What a ring is told at its start, and what follows from it.

use std::time::Duration;

use pyralog_segment::{Encoding, MAX_COLUMNS};

use super::open::Limits;

/// What to do when the memory is full of records that the hub does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvictionPolicy {
    /// Drop the oldest; the loss is receipted.
    #[default]
    Fifo,
    /// Refuse new records until the hub has taken some.
    Reject,
}

/// Configuration of a ring.
#[derive(Debug, Clone, PartialEq)]
pub struct RingConfig {
    /// Bytes that data may take in all: the cap of the budget that the ring is given. At least [`Self::MIN_MEMORY`].
    pub max_memory: u64,
    /// What to do when they are used up.
    pub eviction_policy: EvictionPolicy,
    /// Fraction of the memory at which eviction begins; the rest is for requests and for packing.
    pub eviction_watermark: f64,
    /// Records after which a segment is sealed.
    pub segment_rows: u32,
    /// Age at which a segment is sealed.
    pub segment_age: Duration,
    /// Bytes of raw data at which a segment is sealed; `None` for a sixteenth of the memory, 64 KiB to 1 MiB.
    pub max_segment_bytes: Option<u64>,
    /// How segments are packed.
    pub encoding: Encoding,
    /// Most logs, `_rejected` not counted.
    pub max_logs: usize,
    /// Most columns of a log.
    pub max_columns: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            max_memory: 64 << 20,
            eviction_policy: EvictionPolicy::Fifo,
            eviction_watermark: 0.9,
            segment_rows: 8192,
            segment_age: Duration::from_secs(600),
            max_segment_bytes: None,
            encoding: Encoding::Packed,
            max_logs: 1024,
            max_columns: MAX_COLUMNS,
        }
    }
}

impl RingConfig {
    /// The least memory with which a ring works.
    pub const MIN_MEMORY: u64 = 1 << 20;

    /// When a segment is full.
    pub(super) fn limits(&self) -> Limits {
        let bytes = self.max_segment_bytes.unwrap_or(self.max_memory / 16).clamp(64 << 10, 1 << 20);
        Limits { rows: self.segment_rows.clamp(1, 1 << 20) as usize, bytes: bytes as usize }
    }

    /// Bytes in use at which eviction begins.
    pub(super) fn watermark(&self) -> u64 {
        (self.max_memory as f64 * self.eviction_watermark.clamp(0.1, 1.0)) as u64
    }

    /// Bytes in use at which records are refused, or the first is evicted for them.
    ///
    /// Under `reject` only what the hub takes makes room again, so the batch that takes it there (an eighth of the memory at
    /// most) must fit beside a full ring; the other sixteenth is for bookkeeping that cannot wait, and for requests.
    pub(super) fn fill_limit(&self) -> u64 {
        match self.eviction_policy {
            EvictionPolicy::Fifo => self.watermark(),
            EvictionPolicy::Reject => self.watermark().min(self.max_memory / 16 * 13),
        }
    }

    /// Most bytes in open segments before the largest are sealed early: unpacked rows cost many times packed ones.
    pub(super) fn open_share(&self) -> u64 {
        self.max_memory / 4
    }

    /// Most bytes in descriptions of logs and columns, which can never be evicted.
    pub(super) fn fixed_share(&self) -> u64 {
        self.max_memory / 4
    }

    /// Most bytes in requests, results and batches in flight together.
    pub(super) fn guest_share(&self) -> u64 {
        self.max_memory / 8 * 3
    }
}

/// The time, as the caller sees it: the ring has no clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Unix nanoseconds: the time of records that bring none.
    pub unix_ns: i64,
    /// Time on a clock that never goes back, from any fixed start: for ages and rates.
    pub mono: Duration,
}

/// Gives the time of the system as [`Now`].
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// A clock whose monotonic time starts here.
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Now {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { unix_ns: i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX), mono: self.start.elapsed() }
    }
}

//! The ring itself: one lock around the state, and what is shared beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::append::{AppendError, Appended};
use super::batch::ColumnBatch;
use super::budget::{Budget, Exhausted, Reservation};
use super::config::{EvictionPolicy, Now, RingConfig};
use super::pack::Packer;
use super::read::{ReadRange, Reader};
use super::state::State;
use super::writer::{Writer, WriterError};
use crate::records::Records;
use pyralog_segment::ColumnType;

/// All logs of an agent under one memory budget. Clones are handles to the same ring.
///
/// Every method is safe from any thread. The lock is held for a record or a run of them at a time; packing, decoding and
/// hashing happen outside of it.
#[derive(Debug, Clone)]
pub struct Ring {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budget: Arc<Budget>,
    pub(super) guests: Arc<Budget>,
    /// Parts of what guests may take, by use.
    shares: Shares,
    pub(super) state: Mutex<State>,
    /// Held by the one packer at work. Taken before `state`, never after.
    pub(super) packer: Mutex<Packer>,
    pub(super) events: Events,
}

/// What happens in the ring that its tasks wait for.
#[derive(Debug)]
pub struct Events {
    sealed: Notify,
    pending: Notify,
    pub(super) threshold: AtomicU64,
}

impl Events {
    /// Completes when a segment waits to be packed. For one waiter: the packer task.
    pub async fn sealed(&self) {
        self.sealed.notified().await;
    }

    /// Completes when the packed bytes that the hub does not have pass the threshold. For one waiter: the sync driver.
    pub async fn pending(&self) {
        self.pending.notified().await;
    }

    /// Sets the threshold of [`Self::pending`], in bytes.
    pub fn set_pending_threshold(&self, bytes: u64) {
        self.threshold.store(bytes, Ordering::Relaxed);
    }

    /// Wakes the sync driver if `pending` packed bytes are reason enough.
    pub(super) fn note_pending(&self, pending: u64) {
        if pending >= self.threshold.load(Ordering::Relaxed) {
            self.pending.notify_one();
        }
    }
}

/// What memory is taken for. Each use has a part of what guests may take, so that none can starve the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Connections by MQTT, and what they hold of packets and sessions.
    Mqtt,
    /// Connections by HTTP.
    Http,
    /// Requests and results of more than a few KiB.
    Large,
    /// The batch in flight to the hub.
    Batch,
    /// Small requests: what others leave is enough for some, always. And what is too large for any part.
    Small,
}

impl Use {
    /// What a request for `bytes` is.
    pub fn of_request(bytes: u64) -> Self {
        if bytes <= SMALL { Self::Small } else { Self::Large }
    }
}

/// Requests that get their memory also while large ones have taken all of their part.
const SMALL: u64 = 32 << 10;

#[derive(Debug)]
struct Shares {
    mqtt: Arc<Budget>,
    http: Arc<Budget>,
    large: Arc<Budget>,
}

impl Shares {
    /// What a batch needs by default is left to it; of sixteen parts of the rest, one is left for small requests alone. In a
    /// small memory a segment, which a read decodes whole, is a larger part of it.
    fn new(guests: &Arc<Budget>) -> Self {
        let batch = (guests.cap() / 3).min(1 << 20);
        let parts = |count| guests.child((guests.cap() - batch) / 16 * count);
        let large = if guests.cap() <= 6 << 20 { 9 } else { 7 };
        Self { mqtt: parts(12 - large), http: parts(3), large: parts(large) }
    }

    fn of<'a>(&'a self, whose: Use, guests: &'a Arc<Budget>) -> &'a Arc<Budget> {
        match whose {
            Use::Mqtt => &self.mqtt,
            Use::Http => &self.http,
            Use::Large => &self.large,
            Use::Small | Use::Batch => guests,
        }
    }
}

impl Ring {
    /// An empty ring within `budget`, whose cap stands for the configuration's `max_memory`.
    pub fn new(mut config: RingConfig, budget: Arc<Budget>) -> Self {
        config.max_memory = budget.cap();
        let events =
            Events { sealed: Notify::new(), pending: Notify::new(), threshold: AtomicU64::new(config.max_memory / 16) };
        let guests = budget.child(config.guest_share());
        let shared = Shared {
            shares: Shares::new(&guests),
            guests,
            packer: Mutex::new(Packer::new(&budget)),
            state: Mutex::new(State::new(config, Arc::clone(&budget))),
            budget,
            events,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Appends records in order. On an error the records that the error counts are in the ring, and those after are not.
    pub fn append(&self, records: &Records, now: Now) -> Result<Appended, AppendError> {
        self.change(|state| state.append(records, now))
    }

    /// Appends a run of records given by columns: the fast door.
    pub fn append_columns(&self, log: &str, batch: &ColumnBatch<'_>, now: Now) -> Result<Appended, AppendError> {
        self.change(|state| state.append_columns(log, batch, now))
    }

    /// A handle to append records of one log and fixed columns from within the process.
    pub fn writer(&self, log: &str, columns: &[(&str, ColumnType)]) -> Result<Writer, WriterError> {
        Writer::new(self.clone(), log, columns)
    }

    /// Keeps what could not be decoded as a row of the log `_rejected`, and counts it. A payload longer than a quarter of a
    /// segment is cut.
    pub fn reject(&self, topic: &str, reason: &str, payload: &[u8], now: Now) {
        self.change(|state| state.reject(topic, reason, payload, now));
    }

    /// Takes `bytes` of the budget for a request, a result or a batch in flight; records are evicted if need be. All such
    /// guests together get three eighths of the memory, and large ones leave room for small ones.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Exhausted> {
        // What is too large for its part has to find its room in the whole.
        self.reserve_for(if bytes > self.largest() { Use::Small } else { Use::of_request(bytes) }, bytes)
    }

    /// The part of all large requests together: what one of them should stay well under.
    pub fn largest(&self) -> u64 {
        self.shared.shares.large.cap()
    }

    /// As [`Self::reserve`], within the part that this use may take.
    pub fn reserve_for(&self, whose: Use, bytes: u64) -> Result<Reservation, Exhausted> {
        let share = self.shared.shares.of(whose, &self.shared.guests);
        match share.reserve(bytes) {
            Err(full) if share.available() < bytes || self.shared.guests.available() < bytes => return Err(full),
            Err(_) => {}
            Ok(held) => return Ok(held),
        }
        let mut state = self.shared.state.lock();
        match (state.make_room_for_guest(bytes), whose) {
            (Ok(()), _) => share.reserve(bytes),
            // What `reject` keeps, only a batch can free: packing may have made it larger than what its records were let in for.
            (Err(_), Use::Batch) if state.config.eviction_policy == EvictionPolicy::Reject => Ok(share.force(bytes)),
            (Err(full), _) => Err(full),
        }
    }

    /// Seals what has reached `segment_age`, and samples the rate for the runway. To be called about every second.
    pub fn seal_due(&self, now: Now) {
        self.change(|state| {
            let age = state.config.segment_age;
            state.seal_older(now.mono, age);
            let bytes = state.raw_bytes_in();
            state.rate.sample(now.mono, bytes);
        });
    }

    /// Seals every open segment that has records: before a sync that is really about to go out, and at shutdown.
    pub fn seal_all(&self, now: Now) {
        self.change(|state| state.seal_older(now.mono, Duration::ZERO));
    }

    /// Opens a reader of a log; `None` if there is no such log. It sees the records that the log has now.
    pub fn read(&self, log: &str, range: ReadRange) -> Option<Reader> {
        Reader::new(self.clone(), log, range)
    }

    /// What to wait for.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// The budget of the ring.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    /// Holds the lock, as a fault would.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.shared.state.lock()
    }

    /// Runs `f` under the lock, and wakes the packer if that sealed a segment.
    #[inline]
    pub(super) fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.state.lock();
        let before = state.totals.sealed_segments;
        let out = f(&mut state);
        let sealed = state.totals.sealed_segments != before;
        drop(state);
        if sealed {
            self.shared.events.sealed.notify_one();
        }
        out
    }
}

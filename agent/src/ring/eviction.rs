//! Who leaves when memory runs short.

use super::budget::{Exhausted, Reservation};
use super::config::EvictionPolicy;
use super::loss::LossReason;
use super::segment::{Body, Segment};
use super::state::State;

impl State {
    /// Evicts until `bytes` more stay under the limit to which the ring may be filled. Under `fifo`, what cannot be evicted any more (open segments,
    /// requests) may use the room up to the cap.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<(), Exhausted> {
        let done = self.evict_down(bytes, self.config.fill_limit());
        match self.config.eviction_policy {
            EvictionPolicy::Fifo if done.is_err() => self.evict_down(bytes, self.budget.cap()),
            _ => done,
        }
    }

    /// Evicts until `bytes` more stay under the cap: for memory that is soon given back, such as requests and results.
    pub(super) fn make_room_for_guest(&mut self, bytes: u64) -> Result<(), Exhausted> {
        self.evict_down(bytes, self.budget.cap())
    }

    /// Takes `bytes` after making room for them.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<Reservation, Exhausted> {
        self.make_room(bytes)?;
        self.budget.reserve(bytes)
    }

    /// Drops one segment: the oldest that the hub has, else (under `fifo`) the oldest of all. False when there is none.
    pub(super) fn evict_one(&mut self) -> bool {
        let victim = match self.config.eviction_policy {
            EvictionPolicy::Fifo => self.committed.first().or(self.uncommitted.first()),
            EvictionPolicy::Reject => self.committed.first(),
        };
        let Some((seq, at)) = victim.copied() else { return false };
        let dropped = self.segment_index(at as usize, seq).and_then(|index| {
            let dropped = self.drop_segment(at as usize, index, LossReason::Evicted);
            debug_assert!(dropped.is_some(), "the tail of a log can always be dropped");
            dropped
        });
        // Should the queue ever name a segment that is gone, forgetting the entry keeps the loop going.
        self.committed.remove(&(seq, at));
        self.uncommitted.remove(&(seq, at));
        self.totals.evicted_segments += u64::from(dropped.is_some());
        true
    }

    /// Takes a segment out of its log and of every count.
    pub(super) fn drop_segment(&mut self, at: usize, index: usize, reason: LossReason) -> Option<Segment> {
        let log = &mut self.logs[at];
        let segment = log.drop_segment(index, reason)?;
        self.evictable -= u64::from(segment.charge);
        self.committed.remove(&(segment.seq, at as u32));
        if self.uncommitted.remove(&(segment.seq, at as u32))
            && let Body::Packed { bytes, .. } = &segment.body
        {
            self.pending_packed -= bytes.len() as u64;
        }
        // Without a packer at work, what was evicted would stay in its queue for ever.
        while let Some((seq, at)) = self.unpacked.front()
            && self.segment_index(*at as usize, *seq).is_none()
        {
            self.unpacked.pop_front();
        }
        Some(segment)
    }

    fn evict_down(&mut self, bytes: u64, limit: u64) -> Result<(), Exhausted> {
        let limit = limit.min(self.budget.cap());
        let exhausted = |used| Exhausted { wanted: bytes, used, cap: limit };
        let mut used = self.budget.used();
        if used + bytes > limit && used.saturating_sub(self.evictable) + bytes > limit {
            // Not even an empty ring could make the room: drop nothing in vain.
            return Err(exhausted(used));
        }
        while used + bytes > limit {
            if !self.evict_one() {
                return Err(exhausted(used));
            }
            used = self.budget.used();
        }
        Ok(())
    }
}

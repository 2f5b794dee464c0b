//! One log: its open segment, its sealed and packed ones, and its account.

use std::collections::VecDeque;
use std::sync::Arc;

use super::budget::Reservation;
use super::loss::{Loss, LossReason, Losses};
use super::open::Open;
use super::schema::LogSchema;
use super::segment::{Body, Segment};

/// Where the hub stands in a log, as it last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubCursor {
    /// The next offset that the hub expects.
    pub next_offset: u64,
    /// Records below it that the hub has as receipts, by [`LossReason`].
    pub receipted: [u64; 4],
}

/// The account of a log: `accepted = committed + pending + receipted` at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Records accepted: the next offset.
    pub accepted: u64,
    /// Records durable at the hub.
    pub committed: u64,
    /// Records in the ring that the hub does not have yet.
    pub pending: u64,
    /// Records lost, by [`LossReason`]: what the hub has receipts for, and what it will get receipts for.
    pub receipted: [u64; 4],
}

/// One log of the ring.
///
/// Invariants: segments ascend without overlap; the open segment begins at the end of the last one, or beyond it if that was
/// dropped; each offset in `[cursor, head)` lies in a segment, in the open one or in `losses`; `chain` is the hash after the
/// last packed segment.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) name: Arc<str>,
    pub(super) schema: LogSchema,
    pub(super) open: Option<Open>,
    pub(super) segments: VecDeque<Segment>,
    pub(super) head: u64,
    pub(super) cursor: HubCursor,
    pub(super) losses: Losses,
    pub(super) chain: [u8; 16],
    /// Times of all records that left the ring.
    pub(super) gone_times: (i64, i64),
    /// Budget of its description and columns.
    pub(super) fixed: Reservation,
    /// Rows of the last full segment, as a hint for the room that the next one needs.
    pub(super) usual_rows: usize,
    /// The record that last touched each column, to find a name that comes twice.
    pub(super) stamps: Vec<u64>,
}

impl Log {
    pub(super) fn new(name: &str, fixed: Reservation) -> Self {
        Self {
            name: name.into(),
            schema: LogSchema::default(),
            open: None,
            segments: VecDeque::new(),
            head: 0,
            cursor: HubCursor::default(),
            losses: Losses::default(),
            chain: [0; 16],
            gone_times: (i64::MAX, i64::MIN),
            fixed,
            usual_rows: 0,
            stamps: Vec::new(),
        }
    }

    /// The lowest offset in the ring; the head when the ring has nothing of this log.
    pub(super) fn tail(&self) -> u64 {
        match (self.segments.front(), &self.open) {
            (Some(segment), _) => segment.base,
            (None, Some(open)) => open.base,
            (None, None) => self.head,
        }
    }

    /// The account as of now.
    pub(super) fn account(&self) -> Account {
        let (tail, next) = (self.tail(), self.cursor.next_offset);
        let below: u64 = self.losses.counts(next, tail).iter().sum();
        let mut receipted = self.losses.counts(next, u64::MAX);
        let above = receipted.iter().sum::<u64>() - below;
        // After the hub went back (a new store), records it once had and the ring dropped have no entry in the list.
        receipted[LossReason::Evicted as usize] += tail.saturating_sub(next) - below;
        receipted.iter_mut().zip(self.cursor.receipted).for_each(|(all, hub)| *all += hub);
        let committed = next.saturating_sub(self.cursor.receipted.iter().sum());
        Account { accepted: self.head, committed, pending: self.head - tail.max(next) - above, receipted }
    }

    /// Index of the segment that holds `offset`, or of the first one after it.
    pub(super) fn position(&self, offset: u64) -> usize {
        self.segments.partition_point(|segment| segment.end() <= offset)
    }

    /// Whether the hub has all of the segment.
    pub(super) fn has_committed(&self, segment: &Segment) -> bool {
        segment.end() <= self.cursor.next_offset
    }

    /// Takes the segment at `index` out, and accounts for what the hub did not have of it as lost. `None`, and nothing
    /// changes, if there is none or the list of losses cannot take another range.
    pub(super) fn drop_segment(&mut self, index: usize, reason: LossReason) -> Option<Segment> {
        let segment = self.segments.get(index)?;
        let hash = match &segment.body {
            Body::Packed { hash, .. } => *hash,
            // Packing goes in order, so nothing behind this segment is packed either.
            Body::Sealed(_) => self.chain,
        };
        let loss = Loss {
            from: segment.base.max(self.cursor.next_offset),
            to: segment.end(),
            reason,
            min_time: segment.min_time,
            max_time: segment.max_time,
            hash,
        };
        if loss.from < loss.to && !self.losses.add(loss) {
            return None;
        }
        self.gone_times.0 = self.gone_times.0.min(segment.min_time);
        self.gone_times.1 = self.gone_times.1.max(segment.max_time);
        let segment = self.segments.remove(index);
        self.forget_losses();
        segment
    }

    /// Takes the hub's word for where it stands.
    pub(super) fn set_cursor(&mut self, cursor: HubCursor) {
        self.cursor = cursor;
        self.forget_losses();
    }

    /// Forgets losses that the hub has as receipts. Those within the ring stay, should the hub ever go back behind them.
    fn forget_losses(&mut self) {
        self.losses.forget_below(self.cursor.next_offset.min(self.tail()));
    }

    /// The loss that a receipt for `from` must tell of, if the record at `from` is lost.
    pub(super) fn loss(&self, from: u64) -> Option<Loss> {
        let listed = self.losses.after(from);
        if let Some(loss) = listed.filter(|loss| loss.from <= from) {
            return Some(Loss { from, ..*loss });
        }
        let tail = self.tail();
        if from >= tail {
            return None;
        }
        let (min_time, max_time) = self.gone_times;
        Some(Loss { from, to: tail, reason: LossReason::Evicted, min_time, max_time, hash: self.tail_hash() })
    }

    /// The hash after the last packed segment below the tail, wherever that was dropped from.
    fn tail_hash(&self) -> [u8; 16] {
        match self.segments.front().map(|segment| &segment.body) {
            Some(Body::Packed { before, .. }) => *before,
            // Packing goes in order: nothing in the ring is packed.
            Some(Body::Sealed(_)) | None => self.chain,
        }
    }
}

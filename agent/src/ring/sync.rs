//! What the sync driver needs: where logs stand, packed segments, losses, and the hub's answers.

use std::sync::Arc;

use thiserror::Error;

use super::log::HubCursor;
use super::loss::{Loss, LossReason, Losses};
use super::ring::Ring;
use super::segment::{Body, PackedSegment};
use super::state::State;

/// Where a log stands, for a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncLog {
    /// Name of the log.
    pub name: Arc<str>,
    /// Lowest offset in the ring.
    pub tail: u64,
    /// Next offset to be assigned.
    pub head: u64,
    /// Offset up to which segments are packed or dropped: what could be shipped now ends here.
    pub packed: u64,
    /// What the hub last said.
    pub cursor: HubCursor,
}

/// A cursor that cannot be true of this ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CursorError {
    /// There is no such log.
    #[error("the hub named a log that this agent does not have; check that no other agent uses its id")]
    UnknownLog,
    /// The hub claims records that were never accepted, or more receipts than records.
    #[error(
        "the hub claims records up to {next_offset}, this agent has accepted {head}; check that no other agent uses its id"
    )]
    Impossible {
        /// What the hub said.
        next_offset: u64,
        /// The log's head.
        head: u64,
    },
}

impl Ring {
    /// Where every log stands.
    pub fn sync_logs(&self) -> Vec<SyncLog> {
        let state = self.shared.state.lock();
        let logs = state.logs.iter().map(|log| {
            let unpacked = log.segments.iter().find(|s| matches!(s.body, Body::Sealed(_))).map(|s| s.base);
            let packed = unpacked.or(log.open.as_ref().map(|open| open.base)).unwrap_or(log.head);
            SyncLog { name: Arc::clone(&log.name), tail: log.tail(), head: log.head, packed, cursor: log.cursor }
        });
        logs.collect()
    }

    /// The packed segment that begins at `offset`; `None` if none begins there, or it is not packed yet.
    pub fn segment_at(&self, log: &str, offset: u64) -> Option<PackedSegment> {
        let state = self.shared.state.lock();
        let log = &state.logs[state.find_log(log)?];
        let segment = log.segments.get(log.position(offset))?;
        segment.packed().filter(|packed| packed.base == offset)
    }

    /// The rest of the packed segment that holds `offset` behind its first record. Segments are never cut: a hub that stands
    /// there can only be given a receipt for the rest.
    pub fn rest_at(&self, log: &str, offset: u64) -> Option<Loss> {
        let state = self.shared.state.lock();
        let log = &state.logs[state.find_log(log)?];
        let segment = log.segments.get(log.position(offset)).filter(|segment| segment.base < offset)?;
        let Body::Packed { hash, .. } = segment.body else { return None };
        let (min_time, max_time) = (segment.min_time, segment.max_time);
        Some(Loss { from: offset, to: segment.end(), reason: LossReason::Corrupt, min_time, max_time, hash })
    }

    /// The loss that a receipt must tell of if the record at offset `from` will never arrive; `None` if it is in the ring or
    /// still to come. Several losses of different reasons follow one another: ask again from the end of this one.
    pub fn loss(&self, log: &str, from: u64) -> Option<Loss> {
        let state = self.shared.state.lock();
        state.logs[state.find_log(log)?].loss(from)
    }

    /// Takes the hub's answer for a log. What lies below counts as committed: kept for reads, evicted first. An answer that is
    /// behind what the hub said before is late, and changes nothing.
    pub fn apply_cursor(&self, log: &str, next_offset: u64, receipted: [u64; 4]) -> Result<(), CursorError> {
        self.shared.state.lock().move_cursor(log, HubCursor { next_offset, receipted }, false).map(|_| ())
    }

    /// Takes the hub's word at the start of a session, even if it falls behind what a hub said before: its store may be
    /// another one. What the ring still has is pending again; what it dropped meanwhile is lost. Gives how many offsets it fell behind.
    pub fn reset_cursor(&self, log: &str, next_offset: u64, receipted: [u64; 4]) -> Result<u64, CursorError> {
        self.shared.state.lock().move_cursor(log, HubCursor { next_offset, receipted }, true)
    }

    /// Drops the packed segment that begins at `base`, which the hub can never take, as a loss by reason `corrupt`. False if
    /// there is none, or if the hub refused so many in one log that no more can be told apart.
    pub fn mark_corrupt(&self, log: &str, base: u64) -> bool {
        let dropped = self.shared.state.lock().mark_corrupt(log, base);
        dropped.is_some()
    }
}

impl State {
    fn move_cursor(&mut self, log: &str, cursor: HubCursor, back: bool) -> Result<u64, CursorError> {
        let at = self.find_log(log).ok_or(CursorError::UnknownLog)?;
        let log = &mut self.logs[at];
        let (old, new) = (log.cursor.next_offset, cursor.next_offset);
        let receipted = cursor.receipted.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if new > log.head || receipted.is_none_or(|sum| sum > new) {
            return Err(CursorError::Impossible { next_offset: new, head: log.head });
        }
        if new < old && !back {
            return Ok(0);
        }
        log.set_cursor(cursor);
        let (low, high) = (old.min(new), old.max(new));
        for segment in log.segments.range(log.position(low)..) {
            if segment.end() > high {
                break;
            }
            let key = (segment.seq, at as u32);
            let packed = match &segment.body {
                Body::Packed { bytes, .. } => bytes.len() as u64,
                Body::Sealed(_) => 0,
            };
            if new > old {
                self.uncommitted.remove(&key);
                self.committed.insert(key);
                self.pending_packed -= packed;
            } else {
                self.committed.remove(&key);
                self.uncommitted.insert(key);
                self.pending_packed += packed;
            }
        }
        Ok(old.saturating_sub(new))
    }

    fn mark_corrupt(&mut self, log: &str, base: u64) -> Option<super::segment::Segment> {
        let at = self.find_log(log)?;
        let log = &mut self.logs[at];
        if log.losses.len() >= Losses::CAP_OF_HOLES {
            log.losses.forget_below(log.cursor.next_offset);
        }
        let index = log.position(base);
        let segment = log.segments.get(index)?;
        let packed = matches!(segment.body, Body::Packed { .. });
        if segment.base != base || !packed || log.losses.len() >= Losses::CAP_OF_HOLES {
            return None;
        }
        self.drop_segment(at, index, LossReason::Corrupt)
    }
}

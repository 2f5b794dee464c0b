//! What a log lost before the hub had it, as few ranges of offsets.

/// Why records will never arrive at the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// Evicted to make room under the memory cap.
    Evicted = 0,
    /// Dropped for its age.
    Expired = 1,
    /// Lost with the agent's memory; only the hub says this.
    Lost = 2,
    /// Refused by the hub as corrupt, or not encodable.
    Corrupt = 3,
}

impl LossReason {
    /// Every reason, in the order in which counts by reason are kept.
    pub const ALL: [Self; 4] = [Self::Evicted, Self::Expired, Self::Lost, Self::Corrupt];

    /// The name in status documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Corrupt => "corrupt",
        }
    }
}

/// A range of offsets that was lost for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// First lost offset.
    pub from: u64,
    /// The offset after the last lost one.
    pub to: u64,
    /// Why.
    pub reason: LossReason,
    /// Earliest time among the lost records, Unix nanoseconds.
    pub min_time: i64,
    /// Latest time among the lost records, Unix nanoseconds.
    pub max_time: i64,
    /// Value of the log's hash chain after the last packed segment at or before the range.
    pub hash: [u8; 16],
}

/// The losses of one log that the hub has not committed yet, and those within the ring.
///
/// Invariants: ranges are not empty, ascend and do not overlap; neighbours that touch have different reasons, unless more
/// than [`Self::CAP`] ranges made it give up telling reasons apart. Counts are exact in any case.
#[derive(Debug, Default)]
pub(super) struct Losses {
    ranges: Vec<Loss>,
}

impl Losses {
    /// Most ranges kept for one log.
    pub(super) const CAP: usize = 64;

    /// Most ranges after which a hole in the middle of the ring may still be added: the ring's tail, which can never be
    /// refused, needs at most two ranges that touch no other.
    pub(super) const CAP_OF_HOLES: usize = Self::CAP - 2;

    /// Number of ranges.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Adds a range that overlaps none; false when the list is full and the range touches no other.
    pub(super) fn add(&mut self, loss: Loss) -> bool {
        let at = self.ranges.partition_point(|r| r.to <= loss.from);
        let touches = |r: &Loss| r.to == loss.from || r.from == loss.to;
        let full = self.ranges.len() >= Self::CAP;
        if full && !self.ranges.iter().any(touches) && !self.squeeze() {
            return false;
        }
        let at = if full { self.ranges.partition_point(|r| r.to <= loss.from) } else { at };
        self.ranges.insert(at, loss);
        self.join(at);
        self.join(at.saturating_sub(1));
        if self.ranges.len() > Self::CAP {
            self.squeeze();
        }
        true
    }

    /// Forgets what lies below `offset`.
    pub(super) fn forget_below(&mut self, offset: u64) {
        self.ranges.retain_mut(|r| {
            r.from = r.from.max(offset);
            r.from < r.to
        });
    }

    /// The first range that ends after `offset`.
    pub(super) fn after(&self, offset: u64) -> Option<&Loss> {
        self.ranges.get(self.ranges.partition_point(|r| r.to <= offset))
    }

    /// Lost records in `from..to` by reason.
    pub(super) fn counts(&self, from: u64, to: u64) -> [u64; 4] {
        let mut counts = [0; 4];
        for range in &self.ranges {
            counts[range.reason as usize] += range.to.min(to).saturating_sub(range.from.max(from));
        }
        counts
    }

    /// All ranges, ascending.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.ranges.iter()
    }

    /// Joins the range at `at` with the next one if they touch and share the reason.
    fn join(&mut self, at: usize) {
        if let Some([a, b]) = self.ranges.get(at..at + 2)
            && a.to == b.from
            && a.reason == b.reason
        {
            self.merge(at);
        }
    }

    /// Joins the first two ranges that touch, whatever their reasons.
    fn squeeze(&mut self) -> bool {
        let touching = self.ranges.windows(2).position(|pair| pair[0].to == pair[1].from);
        touching.map(|at| self.merge(at)).is_some()
    }

    fn merge(&mut self, at: usize) {
        let next = self.ranges.remove(at + 1);
        let range = &mut self.ranges[at];
        range.to = next.to;
        range.min_time = range.min_time.min(next.min_time);
        range.max_time = range.max_time.max(next.max_time);
        range.hash = next.hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(from: u64, to: u64, reason: LossReason) -> Loss {
        Loss { from, to, reason, min_time: from as i64, max_time: to as i64, hash: [to as u8; 16] }
    }

    #[test]
    fn touching_ranges_of_one_reason_become_one() {
        let mut losses = Losses::default();
        assert!(losses.add(loss(0, 5, LossReason::Evicted)));
        assert!(losses.add(loss(8, 9, LossReason::Evicted)));
        assert!(losses.add(loss(5, 8, LossReason::Evicted)));
        assert!(losses.add(loss(9, 12, LossReason::Corrupt)));
        let all: Vec<_> = losses.iter().copied().collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0],
            Loss { from: 0, to: 9, reason: LossReason::Evicted, min_time: 0, max_time: 9, hash: [9; 16] }
        );
        assert_eq!(losses.counts(0, u64::MAX), [9, 0, 0, 3]);
        losses.forget_below(7);
        assert_eq!(losses.after(0).unwrap().from, 7);
        assert_eq!(losses.after(9).unwrap().from, 9);
        assert_eq!(losses.counts(0, u64::MAX), [2, 0, 0, 3]);
    }

    #[test]
    fn the_list_never_outgrows_its_cap_and_never_miscounts() {
        let mut losses = Losses::default();
        for i in 0..200 {
            assert!(losses.add(loss(i, i + 1, LossReason::ALL[i as usize % 4])));
            assert!(losses.ranges.len() <= Losses::CAP);
        }
        assert_eq!(losses.counts(0, u64::MAX).iter().sum::<u64>(), 200);

        let mut holes = Losses::default();
        let added = (0..100).filter(|i| holes.add(loss(i * 10, i * 10 + 1, LossReason::Corrupt))).count();
        assert_eq!(added, Losses::CAP, "holes that touch nothing are refused beyond the cap");
    }
}

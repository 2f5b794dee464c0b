//! What was sent to one log of one agent, and what was heard of it.

use std::ops::Range;

/// What is known of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was sent, and no answer came, or one that was not a yes: it may be stored, once.
    Unknown,
    /// It was acknowledged.
    Acked,
}

/// The records of one log over all lives of its agent, by their sequence numbers.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    fates: Vec<Fate>,
    /// The life and the first sequence number of each, in order.
    lives: Vec<(u64, u64)>,
    /// Which were sent fat.
    fat: Vec<Range<u64>>,
}

impl Ledger {
    /// Takes the next `count` numbers for records that are about to be sent to this life of the agent.
    pub fn send(&mut self, life: u64, count: usize, fat: bool) -> Range<u64> {
        let from = self.fates.len() as u64;
        if self.lives.last().is_none_or(|(last, _)| *last != life) {
            self.lives.push((life, from));
        }
        self.fates.resize(self.fates.len() + count, Fate::Unknown);
        let range = from..self.fates.len() as u64;
        if fat {
            self.fat.push(range.clone());
        }
        range
    }

    /// Whether the record was sent fat.
    pub fn is_fat(&self, seq: u64) -> bool {
        let next = self.fat.partition_point(|range| range.start <= seq);
        next.checked_sub(1).and_then(|at| self.fat.get(at)).is_some_and(|range| range.contains(&seq))
    }

    /// Notes that these were acknowledged.
    pub fn acknowledge(&mut self, range: Range<u64>) {
        for seq in range {
            if let Some(fate) = self.fates.get_mut(seq as usize) {
                *fate = Fate::Acked;
            }
        }
    }

    /// The numbers that were sent to a life.
    pub fn of_life(&self, life: u64) -> Range<u64> {
        let at = self.lives.iter().position(|(number, _)| *number == life);
        let Some(at) = at else { return 0..0 };
        let from = self.lives.get(at).map_or(0, |(_, from)| *from);
        from..self.lives.get(at + 1).map_or(self.fates.len() as u64, |(_, next)| *next)
    }

    /// How many of these were acknowledged, and of how many the fate is unknown.
    pub fn count(&self, range: Range<u64>) -> (u64, u64) {
        let fates = self.fates.get(range.start as usize..range.end as usize).unwrap_or_default();
        let acked = fates.iter().filter(|fate| **fate == Fate::Acked).count() as u64;
        (acked, fates.len() as u64 - acked)
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.fates.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_belong_to_the_life_that_they_were_sent_to() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.send(3, 4, false), 0..4);
        ledger.acknowledge(1..3);
        assert_eq!(ledger.send(3, 2, true), 4..6);
        assert_eq!(ledger.send(7, 1, false), 6..7);
        assert_eq!((ledger.of_life(3), ledger.of_life(7), ledger.of_life(5)), (0..6, 6..7, 0..0));
        assert_eq!([3, 4, 5, 6].map(|seq| ledger.is_fat(seq)), [false, true, true, false]);
        assert_eq!((ledger.count(0..6), ledger.sent()), ((2, 4), 7));
    }
}

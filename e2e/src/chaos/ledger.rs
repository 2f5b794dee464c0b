//! What was sent to one log of one agent, and what was heard of it.
//!
//! A record may be sent more than once, since whoever hears no answer sends again. Each *sending* has a number of its own, which the
//! record carries: two copies of a record are told apart, and each is held against its own acknowledgement.

use std::ops::Range;

/// One request, or one run of publishes: successive records, sent in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The life of the agent that it was sent to.
    pub life: u64,
    /// The numbers of its sendings.
    pub sendings: Range<u64>,
    /// The record of the first sending; the others follow.
    pub record: u64,
    /// Whether the records are fat.
    pub fat: bool,
    /// How many were acknowledged, from the first on. The fate of the others is unknown: each may be stored, once.
    pub acked: u64,
    /// How many were acknowledged in all attempts before.
    acked_before: u64,
}

impl Attempt {
    /// The first sending that was not acknowledged.
    pub fn unknown_from(&self) -> u64 {
        self.sendings.start + self.acked
    }

    /// Which record a sending carries.
    pub fn record_of(&self, sending: u64) -> u64 {
        self.record + (sending - self.sendings.start)
    }
}

/// The attempts of one log over all lives of its agent. One comes after the other: nothing is sent before the last one was
/// acknowledged or given up.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    attempts: Vec<Attempt>,
    /// How often each record was sent.
    times: Vec<u8>,
}

impl Ledger {
    /// Records so far; the number of the next new one.
    pub fn records(&self) -> u64 {
        self.times.len() as u64
    }

    /// Sendings so far.
    pub fn sent(&self) -> u64 {
        self.attempts.last().map_or(0, |last| last.sendings.end)
    }

    /// Notes that these records are about to be sent to this life of the agent; gives the number of the first sending.
    pub fn begin(&mut self, life: u64, records: Range<u64>, fat: bool) -> u64 {
        let from = self.sent();
        let acked_before = self.acked_until(from);
        if records.end > self.records() {
            self.times.resize(records.end as usize, 0);
        }
        for times in self.times.iter_mut().take(records.end as usize).skip(records.start as usize) {
            *times = times.saturating_add(1);
        }
        let sendings = from..from + (records.end - records.start);
        self.attempts.push(Attempt { life, sendings, record: records.start, fat, acked: 0, acked_before });
        from
    }

    /// Notes that so many records of the last attempt were acknowledged.
    pub fn acknowledge(&mut self, count: u64) {
        if let Some(last) = self.attempts.last_mut() {
            last.acked = count.min(last.sendings.end - last.sendings.start);
        }
    }

    /// The attempt that this sending belongs to.
    pub fn attempt(&self, sending: u64) -> Option<&Attempt> {
        let next = self.attempts.partition_point(|attempt| attempt.sendings.start <= sending);
        self.attempts.get(next.checked_sub(1)?).filter(|attempt| attempt.sendings.contains(&sending))
    }

    /// How often a record was sent.
    pub fn times(&self, record: u64) -> u64 {
        self.times.get(record as usize).copied().unwrap_or_default().into()
    }

    /// The sendings to a life.
    pub fn of_life(&self, life: u64) -> Range<u64> {
        let first_of = |life| {
            let at = self.attempts.partition_point(|attempt| attempt.life < life);
            self.attempts.get(at).map_or(self.sent(), |attempt| attempt.sendings.start)
        };
        first_of(life)..first_of(life + 1)
    }

    /// How many of these sendings were acknowledged, and of how many the fate is unknown.
    pub fn count(&self, sendings: Range<u64>) -> (u64, u64) {
        if sendings.is_empty() {
            return (0, 0);
        }
        let acked = self.acked_until(sendings.end) - self.acked_until(sendings.start);
        (acked, sendings.end - sendings.start - acked)
    }

    /// How many sendings before this one were acknowledged.
    fn acked_until(&self, sending: u64) -> u64 {
        let next = self.attempts.partition_point(|attempt| attempt.sendings.start < sending);
        let Some(attempt) = next.checked_sub(1).and_then(|at| self.attempts.get(at)) else { return 0 };
        attempt.acked_before + attempt.acked.min(sending - attempt.sendings.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sendings_belong_to_their_life_and_know_their_record() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.begin(3, 0..4, false), 0);
        ledger.acknowledge(2);
        assert_eq!(ledger.begin(3, 2..4, true), 4);
        assert_eq!(ledger.begin(7, 2..4, true), 6);
        ledger.acknowledge(2);
        assert_eq!(ledger.begin(7, 4..5, false), 8);
        assert_eq!((ledger.of_life(3), ledger.of_life(7), ledger.of_life(5)), (0..6, 6..9, 6..6));
        let records = [0, 3, 5, 7, 8].map(|sending| {
            let attempt = ledger.attempt(sending).unwrap();
            (attempt.record_of(sending), attempt.fat, sending < attempt.unknown_from())
        });
        assert_eq!(
            records,
            [(0, false, true), (3, false, false), (3, true, false), (3, true, true), (4, false, false)]
        );
        assert!(ledger.attempt(9).is_none());
        assert_eq!((ledger.records(), ledger.sent()), (5, 9));
        assert_eq!([0, 2, 4].map(|record| ledger.times(record)), [1, 3, 1]);
        assert_eq!([0..6, 1..7, 6..9, 4..4].map(|range| ledger.count(range)), [(2, 4), (2, 4), (2, 1), (0, 0)]);
    }
}

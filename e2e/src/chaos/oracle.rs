//! Holds what the hub has against what was sent: every acknowledged sending is there once, bit for bit, or under a receipt, or went
//! with a life of the agent that was killed before the hub heard of it. A sending of unknown fate is there once, or not at all; so
//! a record is never there more often than it was sent.
//!
//! Acknowledged sendings are stored in the order in which they were sent, since each was acknowledged before the next attempt began.
//! One of unknown fate may be stored late, after others that were sent later: the agent may still have had it in a connection that
//! its client had given up. But never before what had been acknowledged when it was sent.

use std::collections::{BTreeMap, HashMap};

use super::ledger::{Attempt, Ledger};
use super::record;
use super::writers::Notes;
use crate::account::EpochAccount;
use crate::dataset::Cell;
use crate::hub::Hub;
use crate::table::Table;
use crate::{Error, Result};

/// What was found of one log, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that were sent, once or more.
    pub records: u64,
    /// Sendings: records as often as they were sent.
    pub sent: u64,
    /// Sendings that an agent acknowledged.
    pub acked: u64,
    /// Sendings at the hub.
    pub committed: u64,
    /// Of them, those of unknown fate.
    pub unknown_committed: u64,
    /// Of those, the ones that were stored after others that were sent later.
    pub late: u64,
    /// Records at the hub more than once, as they were sent more than once.
    pub repeated: u64,
    /// Sendings under receipts, by reason.
    pub receipted: BTreeMap<String, u64>,
    /// Acknowledged sendings that were lost with a life, after the last head that the hub heard of.
    pub lost_with_life: u64,
    /// Epochs.
    pub epochs: u64,
}

impl Totals {
    /// Sendings of unknown fate: no acknowledgement of them came.
    pub fn unknown(&self) -> u64 {
        self.sent - self.acked
    }

    /// Adds those of another log.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.repeated += other.repeated;
        self.late += other.late;
        self.sent += other.sent;
        self.acked += other.acked;
        self.committed += other.committed;
        self.unknown_committed += other.unknown_committed;
        self.lost_with_life += other.lost_with_life;
        self.epochs += other.epochs;
        for (reason, count) in other.receipted {
            *self.receipted.entry(reason).or_default() += count;
        }
    }
}

/// The lives of one agent.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    /// The incarnation of each, in order; empty where it was not learned.
    pub incarnations: Vec<String>,
    /// What the agent knew to be committed when it was last asked: by life and log.
    pub committed: HashMap<(u64, &'static str), u64>,
    /// Whether the newest is running and has nothing pending.
    pub drained: bool,
}

/// Remembers what it has seen, so that nothing is read twice, and what has ended stays as it was.
#[derive(Debug, Default)]
pub struct Oracle {
    epochs: HashMap<(String, &'static str, u64), Progress>,
    /// By agent and log: how often each record that was sent more than once is stored.
    copies: HashMap<(String, &'static str), HashMap<u64, u64>>,
}

#[derive(Debug, Default, Clone)]
struct Progress {
    account: Option<EpochAccount>,
    /// The offset to read on from.
    next: u64,
    stored: u64,
    unknown_stored: u64,
    late: u64,
    /// Acknowledged sendings before this one are accounted for.
    sending: u64,
    /// Receipted offsets that no acknowledged sending has been found for yet.
    missing: u64,
    /// Receipted offsets that only sendings of unknown fate can have had.
    unknown_missing: u64,
    /// Of the attempts that had sendings of unknown fate stored: the one after the last. By the first sending.
    unknown_seen: HashMap<u64, u64>,
    lost_with_life: u64,
}

impl Oracle {
    /// Checks one log of one agent as far as it has not been checked. Nothing may be sent meanwhile.
    ///
    /// # Errors
    /// The first broken promise.
    pub async fn check(
        &mut self,
        hub: &Hub,
        agent: &str,
        log: &'static str,
        lives: &Lives,
        notes: &Notes,
    ) -> Result<Totals> {
        let accounts = match hub.account(agent, log).await {
            Err(error) if error.to_string().starts_with("404") => Vec::new(),
            accounts => accounts?,
        };
        let ledger = &notes.ledger().clone();
        let newest = lives.incarnations.len() as u64;
        let (mut totals, mut heard) = (Totals::default(), Vec::new());
        for account in accounts {
            let life = lives.incarnations.iter().position(|of| *of == account.incarnation);
            let life = life.ok_or_else(|| format!("nobody opened this epoch: {account:?}"))? as u64 + 1;
            let progress = self.epochs.entry((agent.to_owned(), log, account.epoch)).or_default();
            let ended = life < newest;
            let copies = self.copies.entry((agent.to_owned(), log)).or_default();
            let check = Check { account: &account, ledger, life, drained: lives.drained, ended };
            check
                .run(progress, copies, hub, agent, log)
                .await
                .map_err(|error| format!("agent {agent}, log {log}, epoch {} (life {life}): {error}", account.epoch))?;
            let known = lives.committed.get(&(life, log)).copied().unwrap_or_default();
            if account.committed < known {
                return Err(format!("the agent was told of {known} committed records, the hub has {account:?}").into());
            }
            totals.epochs += 1;
            totals.committed += progress.stored;
            totals.unknown_committed += progress.unknown_stored;
            totals.late += progress.late;
            totals.lost_with_life += progress.lost_with_life;
            for receipt in &account.receipts {
                let count = receipt.range.end - receipt.range.start;
                *totals.receipted.entry(receipt.reason.clone()).or_default() += count;
            }
            heard.push(life);
        }
        for life in (1..=newest).filter(|life| !heard.contains(life)) {
            let (acked, _) = ledger.count(ledger.of_life(life));
            if life == newest && lives.drained && acked > 0 {
                return Err(format!(
                    "agent {agent}, log {log}: {acked} sendings to its life, and the hub has no epoch"
                )
                .into());
            }
            totals.lost_with_life += if life < newest { acked } else { 0 };
        }
        let copies = self.copies.get(&(agent.to_owned(), log));
        totals.repeated = copies.map_or(0, |copies| copies.values().filter(|copies| **copies > 1).count() as u64);
        totals.records = ledger.records();
        totals.sent = ledger.sent();
        totals.acked = ledger.count(0..ledger.sent()).0;
        Ok(totals)
    }
}

/// The check of one epoch of one log.
struct Check<'a> {
    account: &'a EpochAccount,
    ledger: &'a Ledger,
    life: u64,
    drained: bool,
    /// Whether a later life has come.
    ended: bool,
}

impl Check<'_> {
    async fn run(
        &self,
        progress: &mut Progress,
        copies: &mut HashMap<u64, u64>,
        hub: &Hub,
        agent: &str,
        log: &str,
    ) -> Result<()> {
        if self.ended && self.drained && !self.account.closed {
            return Err(format!("a later life has synced, and this epoch is open: {:?}", self.account).into());
        }
        if let Some(before) = progress.account.as_ref().filter(|before| before.closed) {
            return if before == self.account {
                Ok(())
            } else {
                Err(format!("it had ended as {before:?} and is now {:?}", self.account).into())
            };
        }
        let query = format!("epoch={}&from_offset={}", self.account.epoch, progress.next);
        let table = hub.select(agent, log, &query).await?;
        if progress.account.is_none() {
            progress.sending = self.ledger.of_life(self.life).start;
        }
        self.records(progress, copies, &table)?;
        if progress.stored != self.account.committed {
            return Err(format!("{} records are read, and the account is {:?}", progress.stored, self.account).into());
        }
        self.end(progress)?;
        progress.account = Some(self.account.clone());
        Ok(())
    }

    /// Each record is as it was sent, and in a place that its sending can have had.
    fn records(&self, progress: &mut Progress, copies: &mut HashMap<u64, u64>, table: &Table) -> Result<()> {
        let life = self.ledger.of_life(self.life);
        let numbers = table.columns.get(record::SENDING);
        for (at, offset) in table.offsets.iter().copied().enumerate() {
            // What is committed between the two answers is looked at next time.
            if offset >= self.account.next_offset {
                break;
            }
            let Some(Some(Cell::F64(sending))) = numbers.and_then(|numbers| numbers.get(at)) else {
                return Err(format!("the record at offset {offset} has no number").into());
            };
            let sending = *sending as u64;
            let attempt = self.ledger.attempt(sending).filter(|_| life.contains(&sending)).ok_or_else(|| {
                format!("offset {offset}: sending {sending} was not sent to this life, which had {life:?}")
            })?;
            let record = attempt.record_of(sending);
            let expected = record::records(record..record + 1, sending, attempt.fat);
            table.row_equals(at, &expected, 0).map_err(|error| format!("record {record}: {error}"))?;
            self.gap(progress, offset)?;
            let placed = if sending < attempt.unknown_from() {
                self.acknowledged(progress, attempt, sending)
            } else {
                self.unknown(progress, attempt, sending)
            };
            placed.map_err(|error| format!("offset {offset}: {error}"))?;
            (progress.next, progress.stored) = (offset + 1, progress.stored + 1);
            self.copy(copies, record)?;
        }
        Ok(())
    }

    /// What is not stored before `offset` is receipted.
    fn gap(&self, progress: &mut Progress, offset: u64) -> Result<()> {
        let between = progress.next..offset;
        let Some(missing) = offset.checked_sub(progress.next) else {
            return Err(format!("offset {offset} comes after offset {}", progress.next.saturating_sub(1)).into());
        };
        let receipted = self.account.receipted_within(between.clone());
        if receipted != missing {
            return Err(format!("offsets {between:?} are not stored, and {receipted} of them receipted").into());
        }
        progress.missing += missing;
        Ok(())
    }

    /// The acknowledged follow one another, with receipts for those that are missing between them.
    fn acknowledged(&self, progress: &mut Progress, attempt: &Attempt, sending: u64) -> Result<()> {
        if sending < progress.sending {
            return Err(format!("sending {sending} comes after {} (twice, or out of order)", progress.sending).into());
        }
        match self.receipted_until(progress, sending) {
            0 => {}
            lost => return Err(self.lost(progress, sending, lost)),
        }
        progress.sending = sending + 1;
        // Whatever else is missing before it was of unknown fate, and sent before this one was acknowledged.
        progress.unknown_missing += std::mem::take(&mut progress.missing);
        self.not_more_than_sent(progress, attempt.sendings.end)
    }

    /// One of unknown fate follows what was acknowledged before it was sent, and those before it in its own attempt.
    fn unknown(&self, progress: &mut Progress, attempt: &Attempt, sending: u64) -> Result<()> {
        let seen = progress.unknown_seen.entry(attempt.sendings.start).or_default();
        if sending < *seen {
            return Err(format!("sending {sending} comes after {seen} (twice, or out of order)").into());
        }
        *seen = sending + 1;
        let before = attempt.unknown_from();
        match self.receipted_until(progress, before) {
            0 => {}
            lost => return Err(self.lost(progress, before, lost)),
        }
        progress.late += u64::from(sending < progress.sending);
        progress.sending = progress.sending.max(before);
        progress.unknown_stored += 1;
        Ok(())
    }

    /// Lets acknowledged sendings before this one take offsets that are missing; gives how many find none.
    fn receipted_until(&self, progress: &mut Progress, sending: u64) -> u64 {
        let (acked, _) = self.ledger.count(progress.sending..sending.max(progress.sending));
        let found = acked.min(progress.missing);
        progress.missing -= found;
        acked - found
    }

    fn lost(&self, progress: &Progress, sending: u64, lost: u64) -> Error {
        let numbers = progress.sending..sending;
        let (acked, unknown) = self.ledger.count(numbers.clone());
        format!("LOST: {lost} of the sendings {numbers:?}, of which {acked} were acknowledged and {unknown} not").into()
    }

    /// There are no more offsets without an acknowledged sending than there were others, up to this one.
    fn not_more_than_sent(&self, progress: &Progress, until: u64) -> Result<()> {
        let (_, unknown) = self.ledger.count(self.ledger.of_life(self.life).start..until);
        let Progress { unknown_stored, unknown_missing, .. } = progress;
        if unknown_stored + unknown_missing > unknown {
            return Err(format!(
                "besides what was acknowledged {unknown_stored} are stored and {unknown_missing} receipted, where                  {unknown} were sent"
            )
            .into());
        }
        Ok(())
    }

    /// However often a record was sent to whichever life: it is not stored more often.
    fn copy(&self, copies: &mut HashMap<u64, u64>, record: u64) -> Result<()> {
        let times = self.ledger.times(record);
        if times > 1 {
            let copies = copies.entry(record).or_default();
            *copies += 1;
            if *copies > times {
                return Err(format!("record {record} is stored {copies} times and was sent {times} times").into());
            }
        }
        Ok(())
    }

    /// What comes after the last record.
    fn end(&self, progress: &mut Progress) -> Result<()> {
        let mut at_end = progress.clone();
        self.gap(&mut at_end, self.account.next_offset)?;
        if !self.ended && !self.drained {
            return Ok(());
        }
        let last = self.ledger.of_life(self.life).end;
        match self.receipted_until(&mut at_end, last) {
            0 => {}
            lost if self.ended => progress.lost_with_life = lost,
            lost => return Err(self.lost(progress, last, lost)),
        }
        at_end.unknown_missing += at_end.missing;
        self.not_more_than_sent(&at_end, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Receipt;
    use crate::dataset::Dataset;

    /// To life 1: twenty acknowledged records, and two of unknown fate at the end.
    fn plain() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin(1, 0..22, false);
        ledger.acknowledge(20);
        ledger
    }

    /// Five acknowledged; five of which two were acknowledged before the connection broke; the other three again, in vain, and once
    /// more, acknowledged; five more.
    fn again() -> Ledger {
        let mut ledger = Ledger::default();
        for (records, acked) in [(0..5, 5), (5..10, 2), (7..10, 0), (7..10, 3), (10..15, 5)] {
            ledger.begin(1, records, false);
            ledger.acknowledge(acked);
        }
        assert_eq!(ledger.sent(), 21);
        ledger
    }

    /// What a hub would return of these sendings, at these offsets.
    fn table(ledger: &Ledger, sendings: &[(u64, u64)]) -> Table {
        let mut table = Table::default();
        let data = |sending| {
            let record = ledger.attempt(sending).map_or(sending, |attempt| attempt.record_of(sending));
            record::records(record..record + 1, sending, false)
        };
        let sent: Vec<Dataset> = sendings.iter().map(|(_, sending)| data(*sending)).collect();
        table.offsets = sendings.iter().map(|(offset, _)| *offset).collect();
        table.times = sent.iter().map(|data| data.rows[0].time).collect();
        for (column, (name, _)) in record::records(0..1, 0, false).columns.iter().enumerate() {
            table.columns.insert(name.clone(), sent.iter().map(|data| data.rows[0].cells[column].clone()).collect());
        }
        table
    }

    fn account(next_offset: u64, receipted: Option<std::ops::Range<u64>>) -> EpochAccount {
        let receipts: Vec<_> =
            receipted.into_iter().map(|range| Receipt { range, reason: "evicted".into(), times: None }).collect();
        let lost: u64 = receipts.iter().map(|receipt| receipt.range.end - receipt.range.start).sum();
        let (epoch, incarnation, closed, head_seen) = (1, String::new(), false, next_offset);
        EpochAccount { epoch, incarnation, closed, next_offset, head_seen, committed: next_offset - lost, receipts }
    }

    /// Checks what a hub says against what was sent.
    fn verdict(ledger: &Ledger, account: &EpochAccount, table: &Table, ended: bool) -> Result<Progress, String> {
        let check = Check { account, ledger, life: 1, drained: true, ended };
        let (mut progress, mut copies) = (Progress::default(), HashMap::new());
        check.records(&mut progress, &mut copies, table).map_err(|error| error.to_string())?;
        check.end(&mut progress).map_err(|error| error.to_string())?;
        Ok(progress)
    }

    /// The verdict on a hub that stores these sendings, one after the other.
    fn verdict_on(ledger: &Ledger, sendings: impl IntoIterator<Item = u64>) -> Result<Progress, String> {
        let sendings: Vec<_> = (0..).zip(sendings).collect();
        verdict(ledger, &account(sendings.len() as u64, None), &table(ledger, &sendings), false)
    }

    fn in_order(range: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        range.map(|seq| (seq, seq)).collect()
    }

    #[test]
    fn whatever_the_fate_of_the_unknown_an_honest_hub_passes() {
        let ledger = plain();
        let all = verdict_on(&ledger, 0..20).unwrap();
        assert_eq!((all.stored, all.unknown_stored), (20, 0));
        let more = verdict_on(&ledger, 0..22).unwrap();
        assert_eq!((more.stored, more.unknown_stored), (22, 2));
        let mut evicted = in_order(0..20);
        evicted.drain(3..9);
        assert!(verdict(&ledger, &account(20, Some(3..9)), &table(&ledger, &evicted), false).is_ok());
        assert!(verdict(&ledger, &account(22, Some(20..22)), &table(&ledger, &in_order(0..20)), false).is_ok());
        let killed = verdict(&ledger, &account(12, Some(10..12)), &table(&ledger, &in_order(0..10)), true).unwrap();
        assert_eq!(killed.lost_with_life, 8);
    }

    #[test]
    fn every_way_to_break_the_promise_is_found() {
        let ledger = plain();
        let mut hole = in_order(0..20);
        hole.remove(7);
        let shifted: Vec<_> = (0..19).map(|at| (at, if at < 7 { at } else { at + 1 })).collect();
        let twice: Vec<_> = (0..21).map(|at| (at, if at < 7 { at } else { at - 1 })).collect();
        let mut swapped = in_order(0..20);
        (swapped[4].1, swapped[5].1) = (5, 4);
        let mut unknown_twice = in_order(0..22);
        unknown_twice.push((22, 21));
        let cases = [
            ("of them receipted", account(20, None), hole),
            ("LOST: 1", account(19, None), shifted),
            ("twice", account(21, None), twice),
            ("LOST: 1", account(20, None), swapped),
            ("LOST: 8", account(12, Some(10..12)), in_order(0..10)),
            ("was not sent", account(24, None), in_order(0..24)),
            ("2 were sent", account(40, Some(20..40)), in_order(0..20)),
            ("twice", account(23, None), unknown_twice),
            ("2 were sent", account(23, Some(22..23)), in_order(0..22)),
        ];
        for (words, account, records) in cases {
            let error = verdict(&ledger, &account, &table(&ledger, &records), false).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        let mut wrong = table(&ledger, &in_order(0..20));
        wrong.columns.get_mut("v").unwrap()[3] = Some(Cell::F64(0.5));
        assert!(verdict(&ledger, &account(20, None), &wrong, false).unwrap_err().contains("column v"));
        let mut another = table(&ledger, &in_order(0..20));
        another.columns.get_mut("seq").unwrap()[3] = Some(Cell::F64(4.0));
        assert!(verdict(&ledger, &account(20, None), &another, false).unwrap_err().contains("column seq"));
    }

    #[test]
    fn what_was_sent_again_is_there_as_often_as_its_sendings_came_through_and_in_any_order_that_they_can_have() {
        let ledger = again();
        let acked: Vec<u64> = (0..7).chain(13..21).collect();
        let with = |at: usize, sendings: &[u64]| {
            let mut all = acked.clone();
            all.splice(at..at, sendings.iter().copied());
            verdict_on(&ledger, all)
        };
        assert_eq!(with(0, &[]).unwrap().unknown_stored, 0);
        assert_eq!(with(7, &[7, 8, 9, 10, 11, 12]).unwrap().unknown_stored, 6);
        // The first again overtakes the second; one comes after all; some in the middle of another attempt.
        assert!(with(7, &[10, 7, 8, 11]).is_ok() && with(15, &[7, 10]).is_ok() && with(12, &[9, 12]).is_ok());
        assert_eq!(with(9, &[8]).unwrap().late, 1);
        // Twice; out of their order; before what was acknowledged when they were sent, or in their own attempt.
        for (at, sendings, words) in [
            (7, &[7, 8, 7][..], "twice"),
            (7, &[11, 10], "out of order"),
            (5, &[10], "LOST: 2"),
            (6, &[7], "LOST: 1"),
            (15, &[20], "twice"),
        ] {
            let error = with(at, sendings).unwrap_err();
            assert!(error.contains(words), "{at}, {sendings:?}: {error}");
        }
    }

    #[test]
    fn a_copy_of_unknown_fate_stands_for_no_acknowledged_one() {
        let ledger = again();
        // Record 7 is there, as it was sent first; the sending that was acknowledged is not.
        let error = verdict_on(&ledger, (0..8).chain(14..21)).unwrap_err();
        assert!(error.contains("LOST: 1"), "{error}");
        // With a receipt in its place all is well; with one before it was sent it is not.
        let stored: Vec<_> = (0..8).chain(14..21).collect();
        let evicted = |hole: u64| {
            let moved: Vec<_> = (0..).filter(|offset| *offset != hole).zip(stored.iter().copied()).collect();
            verdict(&ledger, &account(16, Some(hole..hole + 1)), &table(&ledger, &moved), false)
        };
        assert!(evicted(8).is_ok() && evicted(7).is_ok());
        assert!(evicted(3).unwrap_err().contains("0 were sent"), "{:?}", evicted(3));
        assert!(evicted(9).unwrap_err().contains("LOST: 1"));
    }

    #[test]
    fn a_record_stored_more_often_than_it_was_sent_is_found_across_lives() {
        let ledger = again();
        let check = Check { account: &account(0, None), ledger: &ledger, life: 1, drained: true, ended: false };
        let mut copies = HashMap::new();
        assert!((0..3).all(|_| check.copy(&mut copies, 7).is_ok()));
        assert!(check.copy(&mut copies, 7).unwrap_err().to_string().contains("stored 4 times"));
    }
}

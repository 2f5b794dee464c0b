//! Holds what the hub has against what was sent: every acknowledged record is there once, bit for bit, or under a receipt, or went
//! with a life of the agent that was killed before the hub heard of it.

use std::collections::{BTreeMap, HashMap};

use super::ledger::Ledger;
use super::record;
use super::writers::Notes;
use crate::Result;
use crate::account::EpochAccount;
use crate::dataset::Cell;
use crate::hub::Hub;
use crate::table::Table;

/// What was found of one log, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that were sent.
    pub sent: u64,
    /// Records that an agent acknowledged.
    pub acked: u64,
    /// Records at the hub.
    pub committed: u64,
    /// Of them, those of unknown fate.
    pub unknown_committed: u64,
    /// Records under receipts, by reason.
    pub receipted: BTreeMap<String, u64>,
    /// Acknowledged records that were lost with a life, after the last head that the hub heard of.
    pub lost_with_life: u64,
    /// Epochs.
    pub epochs: u64,
}

impl Totals {
    /// Adds those of another log.
    pub fn add(&mut self, other: Self) {
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
}

#[derive(Debug, Default, Clone)]
struct Progress {
    account: Option<EpochAccount>,
    /// Where to read on.
    next: u64,
    stored: u64,
    unknown_stored: u64,
    /// The number after that of the last record seen.
    seq: u64,
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
            let check = Check { account: &account, ledger, life, drained: lives.drained, ended };
            check
                .run(progress, hub, agent, log)
                .await
                .map_err(|error| format!("agent {agent}, log {log}, epoch {} (life {life}): {error}", account.epoch))?;
            let known = lives.committed.get(&(life, log)).copied().unwrap_or_default();
            if account.committed < known {
                return Err(format!("the agent was told of {known} committed records, the hub has {account:?}").into());
            }
            totals.epochs += 1;
            totals.committed += progress.stored;
            totals.unknown_committed += progress.unknown_stored;
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
                return Err(
                    format!("agent {agent}, log {log}: {acked} records of its life, and the hub has no epoch").into()
                );
            }
            totals.lost_with_life += if life < newest { acked } else { 0 };
        }
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
    async fn run(&self, progress: &mut Progress, hub: &Hub, agent: &str, log: &str) -> Result<()> {
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
            progress.seq = self.ledger.of_life(self.life).start;
        }
        self.records(progress, &table)?;
        if progress.stored != self.account.committed {
            return Err(format!("{} records are read, and the account is {:?}", progress.stored, self.account).into());
        }
        self.end(progress)?;
        progress.account = Some(self.account.clone());
        Ok(())
    }

    /// Each record follows the one before in offset and number, with receipts for what is missing between them.
    fn records(&self, progress: &mut Progress, table: &Table) -> Result<()> {
        let life = self.ledger.of_life(self.life);
        let numbers = table.columns.get(record::SEQ);
        for (at, offset) in table.offsets.iter().copied().enumerate() {
            // What is committed between the two answers is looked at next time.
            if offset >= self.account.next_offset {
                break;
            }
            let Some(Some(Cell::F64(seq))) = numbers.and_then(|numbers| numbers.get(at)) else {
                return Err(format!("the record at offset {offset} has no number").into());
            };
            let seq = *seq as u64;
            if !life.contains(&seq) {
                return Err(
                    format!("offset {offset}: record {seq} was not sent to this life, which had {life:?}").into()
                );
            }
            if seq < progress.seq || offset < progress.next {
                return Err(format!(
                    "offset {offset}: record {seq} comes after {} (twice, or out of order)",
                    progress.seq
                )
                .into());
            }
            self.gap(progress, offset, seq, false)?;
            let fat = self.ledger.is_fat(seq);
            let expected = record::records(seq..seq + 1, fat);
            table.row_equals(at, &expected, 0).map_err(|error| format!("record {seq}: {error}"))?;
            progress.unknown_stored += self.ledger.count(seq..seq + 1).1;
            (progress.next, progress.seq, progress.stored) = (offset + 1, seq + 1, progress.stored + 1);
        }
        Ok(())
    }

    /// What is missing before `offset` and `seq`: offsets are receipted, and as many as numbers can have been accepted.
    fn gap(&self, progress: &mut Progress, offset: u64, seq: u64, with_life: bool) -> Result<()> {
        let missing = offset - progress.next;
        let receipted = self.account.receipted_within(progress.next..offset);
        if receipted != missing {
            let between = progress.next..offset;
            return Err(format!("offsets {between:?} are not stored, and {receipted} of them receipted").into());
        }
        let (acked, unknown) = self.ledger.count(progress.seq..seq);
        if missing > acked + unknown {
            return Err(format!("{missing} offsets are receipted where {} records were sent", acked + unknown).into());
        }
        match acked.saturating_sub(missing) {
            0 => Ok(()),
            lost if with_life => {
                progress.lost_with_life = lost;
                Ok(())
            }
            lost => {
                let numbers = progress.seq..seq;
                Err(format!(
                    "LOST: {lost} of the records {numbers:?}, {acked} of them acknowledged, {missing} receipted"
                )
                .into())
            }
        }
    }

    /// What comes after the last record.
    fn end(&self, progress: &mut Progress) -> Result<()> {
        let receipted = self.account.receipted_within(progress.next..self.account.next_offset);
        if receipted != self.account.next_offset - progress.next {
            return Err(format!("after offset {} not all is receipted: {:?}", progress.next, self.account).into());
        }
        if !self.ended && !self.drained {
            return Ok(());
        }
        let mut at_end = progress.clone();
        let last = self.ledger.of_life(self.life).end;
        self.gap(&mut at_end, self.account.next_offset, last, self.ended)?;
        progress.lost_with_life = at_end.lost_with_life;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Receipt;
    use crate::dataset::Dataset;

    const ACKED: u64 = 20;

    /// Twenty acknowledged records of life 1, and two of unknown fate.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.send(1, 22, false);
        ledger.acknowledge(0..ACKED);
        ledger
    }

    /// What a hub would return of these records, at these offsets.
    fn table(records: &[(u64, u64)]) -> Table {
        let mut table = Table::default();
        let sent: Vec<Dataset> = records.iter().map(|(_, seq)| record::records(*seq..*seq + 1, false)).collect();
        table.offsets = records.iter().map(|(offset, _)| *offset).collect();
        table.times = sent.iter().map(|data| data.rows[0].time).collect();
        for (column, (name, _)) in record::records(0..1, false).columns.iter().enumerate() {
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

    /// Checks what a hub says against the twenty.
    fn verdict(account: &EpochAccount, table: &Table, ended: bool) -> Result<Progress, String> {
        let ledger = ledger();
        let check = Check { account, ledger: &ledger, life: 1, drained: true, ended };
        let mut progress = Progress::default();
        check.records(&mut progress, table).map_err(|error| error.to_string())?;
        check.end(&mut progress).map_err(|error| error.to_string())?;
        Ok(progress)
    }

    fn in_order(range: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        range.map(|seq| (seq, seq)).collect()
    }

    #[test]
    fn whatever_the_fate_of_the_unknown_an_honest_hub_passes() {
        let all = verdict(&account(20, None), &table(&in_order(0..20)), false).unwrap();
        assert_eq!((all.stored, all.unknown_stored), (20, 0));
        let more = verdict(&account(22, None), &table(&in_order(0..22)), false).unwrap();
        assert_eq!((more.stored, more.unknown_stored), (22, 2));
        let mut evicted = in_order(0..20);
        evicted.drain(3..9);
        assert!(verdict(&account(20, Some(3..9)), &table(&evicted), false).is_ok());
        let killed = verdict(&account(12, Some(10..12)), &table(&in_order(0..10)), true).unwrap();
        assert_eq!(killed.lost_with_life, 8);
    }

    #[test]
    fn every_way_to_break_the_promise_is_found() {
        let mut hole = in_order(0..20);
        hole.remove(7);
        let shifted: Vec<_> = (0..19).map(|at| (at, if at < 7 { at } else { at + 1 })).collect();
        let twice: Vec<_> = (0..21).map(|at| (at, if at < 7 { at } else { at - 1 })).collect();
        let mut swapped = in_order(0..20);
        (swapped[4].1, swapped[5].1) = (5, 4);
        let cases = [
            ("of them receipted", account(20, None), hole),
            ("LOST: 1", account(19, None), shifted),
            ("twice", account(21, None), twice),
            ("LOST: 1", account(20, None), swapped),
            ("LOST: 8", account(12, Some(10..12)), in_order(0..10)),
            ("was not sent", account(24, None), in_order(0..24)),
            ("records were sent", account(40, Some(20..40)), in_order(0..20)),
        ];
        for (words, account, records) in cases {
            let error = verdict(&account, &table(&records), false).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        let mut wrong = table(&in_order(0..20));
        wrong.columns.get_mut("v").unwrap()[3] = Some(Cell::F64(0.5));
        assert!(verdict(&account(20, None), &wrong, false).unwrap_err().contains("column v"));
    }
}

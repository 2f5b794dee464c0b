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

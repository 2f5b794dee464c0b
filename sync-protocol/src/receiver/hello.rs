//! How a hub takes a hello: find or open the agent's epoch, end the epochs before it, tell where each log stands.
//!
//! The order matters. An epoch is *created* first, which fences the older ones at every hub that looks at the newest epoch; then
//! the older epochs are *closed*: first the register of logs, then the chain of each log, by a `lost` receipt from its cursor to
//! the last head that was heard, which stops a hub that had looked before; only then is the hello answered. The heads are read after
//! the register is closed, and a hello looks at the register of its own epoch after it has left its heads: so one of the two sees
//! the other, and heads that an answered hello told of are never missed. If a hub dies in between, the next hello
//! goes on: the epochs below the newest are closed from the lowest upwards, so a mark on one tells that all below it are.

use super::{Answer, Refused, Step, Terms, read_register, tip_of};
use crate::cursor::Cursor;
use crate::entry::{Entry, Tip};
use crate::epoch::{EpochRecord, HeadsRecord, RegisterRecord};
use crate::frame::{Hello, HelloAck, Reason, Receipt, RefusalKind, Reply};
use crate::ids::{Epoch, LogName};
use crate::limits::{MAX_CHAIN_RETRIES, MAX_PAST_INCARNATIONS};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// Takes one hello of one agent. Drive it as the crate's first page shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HelloReceiver {
    hello: Hello,
    terms: Terms,
    /// The hub's clock, Unix nanoseconds.
    now: i64,
    /// The agent's epoch, once it is found or created; 0 before.
    epoch: Epoch,
    /// The older epoch that is being closed, and its logs still to close, with the highest heads heard in hellos.
    closing: Epoch,
    open_logs: BTreeMap<LogName, u64>,
    cursors: Vec<(LogName, Cursor)>,
    retries: u32,
    step: Step,
}

impl HelloReceiver {
    /// Reads the hello; a damaged one gets its refusal as the first step.
    pub fn new(bytes: &[u8], terms: Terms, now: i64) -> Self {
        let (hello, step) = match Hello::decode(bytes) {
            Ok(hello) => (hello, Step::ReadEpoch),
            Err(error) => {
                let incarnation = crate::Incarnation([0; 16]);
                let hello = Hello { incarnation, epoch: None, after: Epoch(0), logs: Vec::new() };
                (hello, Refused::new(RefusalKind::Malformed, format!("{error}")).reply(Vec::new()))
            }
        };
        let (open_logs, cursors) = (BTreeMap::new(), Vec::new());
        Self { hello, terms, now, epoch: Epoch(0), closing: Epoch(0), open_logs, cursors, retries: 0, step }
    }

    /// What the driver should do next; the same until [`handle`](Self::handle) is called.
    pub fn poll(&self) -> &Step {
        &self.step
    }

    /// Takes what came of the step that [`poll`](Self::poll) gave.
    pub fn handle(&mut self, answer: Answer) {
        self.step = self.advance(answer).unwrap_or_else(|refused| refused.reply(Vec::new()));
    }

    fn advance(&mut self, answer: Answer) -> Result<Step, Refused> {
        match (&self.step, answer) {
            (Step::ReadEpoch, Answer::Epoch(newest)) => self.find_epoch(newest),
            (Step::CreateEpoch { epoch, .. }, Answer::Created(true)) => {
                self.epoch = *epoch;
                Ok(self.find_unclosed(Epoch(self.epoch.0 - 1)))
            }
            // Somebody else opened it, perhaps for this very incarnation through another hub: look again.
            (Step::CreateEpoch { .. }, Answer::Created(false)) => {
                self.count_retry("others are opening epochs for this agent: try again")?;
                Ok(Step::ReadEpoch)
            }
            (Step::IsClosed { epoch }, Answer::Exists(false)) => Ok(self.find_unclosed(Epoch(epoch.0 - 1))),
            (Step::IsClosed { epoch }, Answer::Exists(true)) => Ok(self.close_next(Epoch(epoch.0 + 1))),
            (Step::ReadHeads { .. }, Answer::Record(record)) => {
                let record = record.as_deref().map(HeadsRecord::decode).transpose();
                let heads = record.map_err(|error| Refused::damaged("a heads record", &error))?.unwrap_or_default();
                self.open_logs.extend(heads.heads);
                Ok(self.next_open_log())
            }
            (Step::ReadRegister { epoch }, Answer::Register(records)) if *epoch == self.closing => {
                self.close_register(&records)
            }
            (Step::ReadRegister { .. }, Answer::Register(records)) => self.check_open(&records),
            (Step::PutRegister { epoch, .. }, Answer::Created(_)) => {
                let next = Step::ReadRegister { epoch: *epoch };
                self.count_retry("another hub is still adding logs to this agent's last epoch: try again")?;
                Ok(next)
            }
            (Step::ReadLast { epoch, log }, Answer::Record(last)) if *epoch == self.closing => {
                let tip = tip_of(last.as_deref())?;
                let log = log.clone();
                Ok(self.close_log(log, tip))
            }
            (Step::Commit { log, .. }, Answer::Created(true)) => {
                let log = log.clone();
                self.open_logs.remove(&log);
                Ok(self.next_open_log())
            }
            (Step::Commit { epoch, log, .. }, Answer::Created(false)) => {
                let next = Step::ReadLast { epoch: *epoch, log: log.clone() };
                self.count_retry("another hub is still writing to this agent's last epoch: try again")?;
                Ok(next)
            }
            (Step::MarkClosed { epoch }, Answer::Done) => Ok(self.close_next(Epoch(epoch.0 + 1))),
            (Step::PutHeads { epoch, .. }, Answer::Done) => Ok(Step::ReadRegister { epoch: *epoch }),
            (Step::ReadLast { log, .. }, Answer::Record(last)) => {
                let cursor = tip_of(last.as_deref())?.cursor;
                let log = log.clone();
                self.cursors.push((log, cursor));
                Ok(self.next_cursor())
            }
            _ => Err(Refused::misused()),
        }
    }

    fn find_epoch(&mut self, newest: Option<(Epoch, Vec<u8>)>) -> Result<Step, Refused> {
        let incarnation = self.hello.incarnation;
        let (newest, record) = match newest {
            None => (Epoch(0), EpochRecord { incarnation, opened_at: self.now, past: Vec::new() }),
            Some((newest, record)) => {
                let record = EpochRecord::decode(&record).map_err(|e| Refused::damaged("the epoch record", &e))?;
                if record.incarnation == incarnation {
                    self.epoch = newest;
                    return Ok(self.find_unclosed(Epoch(newest.0.saturating_sub(1))));
                }
                self.check_past(newest, &record)?;
                (newest, record.successor(incarnation, self.now))
            }
        };
        if self.hello.after != newest {
            let detail =
                format!("epoch {newest} is the newest of this agent: say hello again to open the one after it");
            return Err(Refused::new(RefusalKind::Newest { newest }, detail));
        }
        Ok(Step::CreateEpoch { epoch: Epoch(newest.0.saturating_add(1)), record: record.encode() })
    }

    /// Refuses an incarnation that had an epoch before the newest.
    fn check_past(&self, newest: Epoch, record: &EpochRecord) -> Result<(), Refused> {
        // A record that remembers all of the past knows every incarnation of this store. One that has begun to forget
        // takes the agent's word for having had an older epoch.
        let forgets = record.past.len() >= MAX_PAST_INCARNATIONS;
        let outdated = forgets && self.hello.epoch.is_some_and(|epoch| epoch < newest);
        if record.past.contains(&self.hello.incarnation) || outdated {
            let detail = format!("epoch {newest} belongs to a newer process with this agent's id: stop one of the two");
            return Err(Refused::new(RefusalKind::Fenced { newest }, detail));
        }
        Ok(())
    }

    /// Walks down from `epoch` to one that is marked as closed, or to the ground.
    fn find_unclosed(&mut self, epoch: Epoch) -> Step {
        match epoch.0 {
            0 => self.close_next(Epoch(1)),
            _ => Step::IsClosed { epoch },
        }
    }

    /// Begins to close `epoch`, or goes on if that is the agent's own.
    fn close_next(&mut self, epoch: Epoch) -> Step {
        if epoch < self.epoch {
            self.closing = epoch;
            self.open_logs.clear();
            return Step::ReadRegister { epoch };
        }
        self.closing = Epoch(0);
        let heads = self.hello.logs.iter().map(|log| (log.log.clone(), log.head)).collect();
        let record = HeadsRecord { heads };
        match record.sum() {
            0 => self.next_cursor(),
            sum => Step::PutHeads { epoch: self.epoch, sum, record: record.encode() },
        }
    }

    /// Refuses a hello whose epoch ended while it was taken: whoever ended it may not have seen the heads that it told of.
    fn check_open(&mut self, records: &[Vec<u8>]) -> Result<Step, Refused> {
        let (_, closed) = read_register(records)?;
        if closed {
            let newest = Epoch(self.epoch.0.saturating_add(1));
            let detail = "this epoch has ended: a newer process has this agent's id, stop one of the two";
            return Err(Refused::new(RefusalKind::Fenced { newest }, detail));
        }
        Ok(self.next_cursor())
    }

    /// Closes the register of the closing epoch; once it is closed, its logs are all that will ever have a chain, and every
    /// hello that will be answered has left its heads.
    fn close_register(&mut self, records: &[Vec<u8>]) -> Result<Step, Refused> {
        let (epoch, (logs, closed)) = (self.closing, read_register(records)?);
        if !closed {
            let position = u32::try_from(records.len()).unwrap_or(u32::MAX);
            return Ok(Step::PutRegister { epoch, position, record: RegisterRecord::Closed.encode() });
        }
        for log in logs {
            self.open_logs.entry(log).or_default();
        }
        Ok(Step::ReadHeads { epoch })
    }

    fn next_open_log(&mut self) -> Step {
        self.retries = 0;
        match self.open_logs.keys().next() {
            Some(log) => Step::ReadLast { epoch: self.closing, log: log.clone() },
            None => Step::MarkClosed { epoch: self.closing },
        }
    }

    /// Ends the chain of a log of the closing epoch, if that has not been done.
    fn close_log(&mut self, log: LogName, tip: Tip) -> Step {
        if tip.closed {
            self.open_logs.remove(&log);
            return self.next_open_log();
        }
        let base = tip.cursor.next;
        let heard = self.open_logs.get(&log).copied().unwrap_or_default();
        let head_seen = tip.head_seen.max(heard).max(base);
        let (min_time, max_time, hash) = (0, 0, tip.hash);
        let receipt = Receipt { from: base, to: head_seen, reason: Reason::Lost, min_time, max_time, hash };
        let mut frame = Vec::new();
        receipt.put(&mut frame);
        let mut cursor = tip.cursor;
        cursor.next = head_seen;
        let lost = &mut cursor.receipted[Reason::Lost as usize];
        *lost = lost.saturating_add(head_seen - base);
        let tip = Tip { cursor, hash, head_seen, closed: true };
        let entry = Entry { base, tip, received_at: self.now, frame: &frame }.encode();
        Step::Commit { epoch: self.closing, log, base, entry }
    }

    /// Asks for the next log's cursor, or answers.
    fn next_cursor(&mut self) -> Step {
        match self.hello.logs.get(self.cursors.len()) {
            Some(log) => Step::ReadLast { epoch: self.epoch, log: log.log.clone() },
            None => Step::Reply(Reply::Hello(HelloAck {
                epoch: self.epoch,
                max_batch: self.terms.max_batch,
                pause: self.terms.pause,
                hub_time: self.now,
                cursors: core::mem::take(&mut self.cursors),
            })),
        }
    }

    fn count_retry(&mut self, detail: &str) -> Result<(), Refused> {
        self.retries += 1;
        if self.retries > MAX_CHAIN_RETRIES {
            return Err(Refused::new(RefusalKind::Busy { retry_after: self.terms.retry_after }, detail));
        }
        Ok(())
    }
}

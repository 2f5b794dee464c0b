//! How a hub takes a batch: check the epoch, store the schemas, then commit piece by piece where each log ends.

use super::parse::{ParsedBatch, Piece, PieceContent, Section, parse};
use super::{Answer, Refused, Step, Terms, read_register, tip_of};
use crate::chain::link;
use crate::cursor::Cursor;
use crate::entry::{Entry, Tip};
use crate::epoch::{EpochRecord, RegisterRecord};
use crate::frame::{BatchAck, Receipt, RefusalKind, Reply};
use crate::ids::{Epoch, Fingerprint, LogName};
use crate::limits::{MAX_BATCH, MAX_CHAIN_RETRIES, MAX_LOGS};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

/// Takes one batch of one agent. Drive it as the crate's first page shows.
///
/// Invariants: `tip` is the tip of section `section` as last read or written; sections before it are settled, and their cursors
/// are in `cursors`; an entry is only offered at `tip.cursor.next`, so a chain that the store holds stays gap-free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchReceiver<B> {
    bytes: B,
    terms: Terms,
    /// The hub's clock, Unix nanoseconds.
    now: i64,
    batch: ParsedBatch,
    /// Fingerprints that segments name and that the batch does not bring.
    unchecked: Vec<Fingerprint>,
    stored_schemas: usize,
    section: usize,
    piece: usize,
    tip: Tip,
    offered: Tip,
    retries: u32,
    cursors: Vec<(LogName, Cursor)>,
    step: Step,
}

impl<B: AsRef<[u8]>> BatchReceiver<B> {
    /// Reads the whole batch; one that is damaged anywhere gets its refusal as the first step.
    pub fn new(bytes: B, terms: Terms, now: i64) -> Self {
        let limit = terms.max_batch.min(MAX_BATCH as u32);
        let len = bytes.as_ref().len();
        let parsed = if len > limit as usize {
            let detail = format!("a batch of {len} bytes is over this hub's limit of {limit}");
            Err(Refused::new(RefusalKind::TooLarge { limit }, detail))
        } else {
            parse(bytes.as_ref()).map_err(|error| Refused::new(RefusalKind::Malformed, format!("{error}")))
        };
        let empty = crate::frame::BatchHead { incarnation: crate::Incarnation([0; 16]), epoch: Epoch(0) };
        let (batch, step) = match parsed {
            Ok(batch) => (batch, Step::ReadEpoch),
            Err(refused) => {
                let batch = ParsedBatch { head: empty, schemas: Vec::new(), sections: Vec::new() };
                (batch, refused.reply(Vec::new()))
            }
        };
        let unchecked = missing_schemas(&batch);
        let (tip, offered) = (Tip::default(), Tip::default());
        Self {
            bytes,
            terms,
            now,
            batch,
            unchecked,
            stored_schemas: 0,
            section: 0,
            piece: 0,
            tip,
            offered,
            retries: 0,
            cursors: Vec::new(),
            step,
        }
    }

    /// What the driver should do next; the same until [`handle`](Self::handle) is called.
    pub fn poll(&self) -> &Step {
        &self.step
    }

    /// Takes what came of the step that [`poll`](Self::poll) gave.
    pub fn handle(&mut self, answer: Answer) {
        self.step = match self.advance(answer) {
            Ok(step) => step,
            Err(refused) => {
                let mut cursors = self.cursors.clone();
                if let Some(section) = self.batch.sections.get(self.section)
                    && self.tip != Tip::default()
                {
                    cursors.push((section.log.log.clone(), self.tip.cursor));
                }
                refused.reply(cursors)
            }
        };
    }

    fn advance(&mut self, answer: Answer) -> Result<Step, Refused> {
        match (&self.step, answer) {
            (Step::ReadEpoch, Answer::Epoch(newest)) => {
                self.check_epoch(newest)?;
                self.next_schema()
            }
            (Step::PutSchema { .. }, Answer::Done) => {
                self.stored_schemas += 1;
                self.next_schema()
            }
            (Step::HasSchema { .. }, Answer::Exists(true)) => {
                self.unchecked.pop();
                self.next_schema()
            }
            (Step::HasSchema { fingerprint }, Answer::Exists(false)) => {
                let kind = RefusalKind::NeedSchema { fingerprint: *fingerprint };
                Err(Refused::new(kind, "a segment's schema is not stored yet: send it along"))
            }
            (Step::ReadLast { epoch, .. }, Answer::Record(None)) => Ok(Step::ReadRegister { epoch: *epoch }),
            (Step::ReadLast { .. }, Answer::Record(last)) => {
                self.tip = tip_of(last.as_deref())?;
                self.next_piece()
            }
            (Step::ReadRegister { .. }, Answer::Register(records)) => self.register(&records),
            (Step::IsClosed { .. }, Answer::Exists(true)) => self.put_register(0),
            (Step::IsClosed { .. }, Answer::Exists(false)) => Err(unknown_session()),
            (Step::PutRegister { .. }, Answer::Created(true)) => self.next_piece(),
            (Step::PutRegister { epoch, .. }, Answer::Created(false)) => {
                let next = Step::ReadRegister { epoch: *epoch };
                self.count_retry()?;
                Ok(next)
            }
            (Step::Commit { .. }, Answer::Created(true)) => {
                self.tip = self.offered;
                self.piece += 1;
                self.next_piece()
            }
            // Somebody else committed here first: what they wrote decides where this log goes on.
            (Step::Commit { .. }, Answer::Created(false)) => {
                self.count_retry()?;
                self.read_section()
            }
            _ => Err(Refused::misused()),
        }
    }

    fn check_epoch(&self, newest: Option<(Epoch, Vec<u8>)>) -> Result<(), Refused> {
        let (newest, record) = newest.ok_or_else(unknown_session)?;
        let record = EpochRecord::decode(&record).map_err(|error| Refused::damaged("the epoch record", &error))?;
        let head = self.batch.head;
        if head.epoch == newest && head.incarnation == record.incarnation {
            return Ok(());
        }
        // Known to have come before: fenced. Never heard of here (another store, or one restored from a backup): hello decides.
        if record.past.contains(&head.incarnation) {
            let detail =
                format!("epoch {newest} of this agent is newer than epoch {}: another process uses its id", head.epoch);
            return Err(Refused::new(RefusalKind::Fenced { newest }, detail));
        }
        Err(unknown_session())
    }

    fn next_schema(&mut self) -> Result<Step, Refused> {
        if let Some((fingerprint, range)) = self.batch.schemas.get(self.stored_schemas) {
            let schema = self.bytes.as_ref()[range.clone()].to_vec();
            return Ok(Step::PutSchema { fingerprint: *fingerprint, schema });
        }
        match self.unchecked.last() {
            Some(fingerprint) => Ok(Step::HasSchema { fingerprint: *fingerprint }),
            None => self.read_section(),
        }
    }

    fn read_section(&mut self) -> Result<Step, Refused> {
        match self.batch.sections.get(self.section) {
            Some(section) => {
                let log = section.log.log.clone();
                Ok(Step::ReadLast { epoch: self.batch.head.epoch, log })
            }
            None => {
                let cursors = core::mem::take(&mut self.cursors);
                Ok(Step::Reply(Reply::Batch(BatchAck { pause: self.terms.pause, cursors })))
            }
        }
    }

    fn count_retry(&mut self) -> Result<(), Refused> {
        self.retries += 1;
        if self.retries > MAX_CHAIN_RETRIES {
            let kind = RefusalKind::Busy { retry_after: self.terms.retry_after };
            return Err(Refused::new(kind, "other hubs are writing to the same log: try again"));
        }
        Ok(())
    }

    /// Sees to it that the register names the section's log before the log's chain begins.
    fn register(&mut self, records: &[Vec<u8>]) -> Result<Step, Refused> {
        let Some(section) = self.batch.sections.get(self.section) else { return Err(Refused::misused()) };
        let log = section.log.log.clone();
        let (logs, closed) = read_register(records)?;
        if closed {
            return Err(self.ended());
        }
        if logs.contains(&log) || section.pieces.is_empty() {
            return self.next_piece();
        }
        if logs.len() >= MAX_LOGS {
            let kind = RefusalKind::Busy { retry_after: self.terms.retry_after };
            return Err(Refused::new(kind, format!("this epoch already has {MAX_LOGS} logs: merge some")));
        }
        // A hello is answered when the epochs before are closed. A store restored from a backup of amid that has the epoch and
        // knows its agent, but nobody would ever end the one before: the next hello does.
        let before = Epoch(self.batch.head.epoch.0.saturating_sub(1));
        if records.is_empty() && before > Epoch(0) {
            return Ok(Step::IsClosed { epoch: before });
        }
        self.put_register(records.len())
    }

    /// Enters the section's log into the register, if nobody has taken the position.
    fn put_register(&self, position: usize) -> Result<Step, Refused> {
        let section = self.batch.sections.get(self.section).ok_or_else(Refused::misused)?;
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let record = RegisterRecord::Log(section.log.log.clone()).encode();
        Ok(Step::PutRegister { epoch: self.batch.head.epoch, position, record })
    }

    /// The refusal of a batch whose epoch ended while it was taken.
    fn ended(&self) -> Refused {
        let newest = Epoch(self.batch.head.epoch.0.saturating_add(1));
        Refused::new(RefusalKind::Fenced { newest }, "this epoch has ended: another process uses this agent's id")
    }

    /// Offers the first piece that goes beyond the tip, or settles the section.
    fn next_piece(&mut self) -> Result<Step, Refused> {
        let Some(section) = self.batch.sections.get(self.section) else { return Err(Refused::misused()) };
        if self.tip.closed {
            return Err(self.ended());
        }
        while let Some(piece) = section.pieces.get(self.piece) {
            if piece.to() > self.tip.cursor.next {
                let (entry, tip) = self.entry(section, piece)?;
                let (epoch, log, base) = (self.batch.head.epoch, section.log.log.clone(), self.tip.cursor.next);
                self.offered = tip;
                return Ok(Step::Commit { epoch, log, base, entry });
            }
            // All of it was committed or receipted before: a resent piece changes nothing.
            self.piece += 1;
        }
        self.cursors.push((section.log.log.clone(), self.tip.cursor));
        (self.section, self.piece, self.tip, self.retries) = (self.section + 1, 0, Tip::default(), 0);
        self.read_section()
    }

    /// The entry that puts `piece` at the tip, and the tip after it.
    fn entry(&self, section: &Section, piece: &Piece) -> Result<(Vec<u8>, Tip), Refused> {
        let base = self.tip.cursor.next;
        let log = &section.log.log;
        let expected = |why: &str| {
            let kind = RefusalKind::Expected { log: log.clone(), offset: base };
            Refused::new(kind, format!("log {log}: {why} {}, the hub expects {base}", piece.from()))
        };
        let mut cursor = self.tip.cursor;
        cursor.next = piece.to();
        if piece.from() > base {
            return Err(expected("a frame begins at"));
        }
        let hash = match &piece.content {
            PieceContent::Segment { meta, hash, body } => {
                // A segment is never cut; a sender goes on after it with a receipt for what is left.
                if meta.base < base {
                    return Err(expected("a segment overlaps the committed end; it begins at"));
                }
                let body = self.bytes.as_ref().get(body.clone()).unwrap_or_default();
                if link(self.tip.hash, meta, body) != *hash {
                    let kind = RefusalKind::Corrupt { log: log.clone(), base };
                    return Err(Refused::new(
                        kind,
                        format!("log {log}: the hash of the segment at {base} does not follow"),
                    ));
                }
                *hash
            }
            PieceContent::Receipt(Receipt { reason, to, hash, .. }) => {
                let count = &mut cursor.receipted[*reason as usize];
                *count = count.saturating_add(to - base);
                *hash
            }
        };
        let tip = Tip { cursor, hash, head_seen: self.tip.head_seen.max(section.log.head), closed: false };
        let frame = self.bytes.as_ref().get(piece.raw.clone()).unwrap_or_default();
        Ok((Entry { base, tip, received_at: self.now, frame }.encode(), tip))
    }
}

fn unknown_session() -> Refused {
    Refused::new(RefusalKind::UnknownSession, "this hub's store does not know the session: say hello")
}

/// The fingerprints that a batch's segments name and that it does not bring along.
fn missing_schemas(batch: &ParsedBatch) -> Vec<Fingerprint> {
    let brought: BTreeSet<_> = batch.schemas.iter().map(|(fingerprint, _)| *fingerprint).collect();
    let pieces = batch.sections.iter().flat_map(|section| &section.pieces);
    let named: BTreeSet<_> = pieces
        .filter_map(|piece| match &piece.content {
            PieceContent::Segment { meta, .. } => Some(meta.schema),
            PieceContent::Receipt(_) => None,
        })
        .collect();
    named.difference(&brought).copied().collect()
}

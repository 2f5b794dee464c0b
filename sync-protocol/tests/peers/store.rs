//! A store in memory with the semantics that hubs rely on: creates that succeed once, and nothing that changes after.

use super::truth;
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::epoch::{EpochRecord, RegisterRecord};
use pyralog_sync_protocol::{Answer, Epoch, Fingerprint, Incarnation, LogName, Step};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// An offset is neither committed nor receipted, and one above it is.
    Gap,
    /// An offset is there twice.
    Overlap,
    /// An entry follows the one that ended its epoch.
    AfterTheEnd,
    /// A hash does not follow, an envelope disagrees with its frame, or a schema is missing.
    Chain,
    /// A record is not the one that the epoch's incarnation accepted at that offset.
    Foreign,
    /// A cursor's counts are not those of the entries up to it.
    Count,
}

/// What is committed and what is receipted, per chain.
pub type Counts = BTreeMap<(Epoch, LogName), (u64, u64)>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Store {
    pub epochs: BTreeMap<Epoch, Vec<u8>>,
    pub closed: BTreeSet<Epoch>,
    heads: BTreeMap<(Epoch, u64), Vec<u8>>,
    register: BTreeMap<(Epoch, u32), Vec<u8>>,
    schemas: BTreeMap<Fingerprint, Vec<u8>>,
    pub entries: BTreeMap<(Epoch, LogName), BTreeMap<u64, Vec<u8>>>,
}

impl Store {
    /// Takes a step as one atomic operation; a reply is not the store's matter.
    pub fn take(&mut self, step: &Step) -> Answer {
        if let Some(answer) = self.read(step) {
            return answer;
        }
        match step {
            Step::CreateEpoch { epoch, record } => Answer::Created(create(&mut self.epochs, *epoch, record)),
            Step::MarkClosed { epoch } => {
                self.closed.insert(*epoch);
                Answer::Done
            }
            Step::PutHeads { epoch, sum, record } => {
                create(&mut self.heads, (*epoch, *sum), record);
                Answer::Done
            }
            Step::PutRegister { epoch, position, record } => {
                Answer::Created(create(&mut self.register, (*epoch, *position), record))
            }
            Step::PutSchema { fingerprint, schema } => {
                create(&mut self.schemas, *fingerprint, schema);
                Answer::Done
            }
            Step::Commit { epoch, log, base, entry } => {
                let chain = self.entries.entry((*epoch, log.clone())).or_default();
                Answer::Created(create(chain, *base, entry))
            }
            other => panic!("{other:?} is not for the store"),
        }
    }

    /// Takes a step that only reads; `None` for any other.
    pub fn read(&self, step: &Step) -> Option<Answer> {
        Some(match step {
            Step::ReadEpoch => Answer::Epoch(self.epochs.last_key_value().map(|(e, r)| (*e, r.clone()))),
            Step::IsClosed { epoch } => Answer::Exists(self.closed.contains(epoch)),
            Step::ReadHeads { epoch } => {
                let records = self.heads.range((*epoch, 0)..=(*epoch, u64::MAX));
                Answer::Record(records.last().map(|(_, record)| record.clone()))
            }
            Step::ReadRegister { epoch } => {
                let records = self.register.range((*epoch, 0)..=(*epoch, u32::MAX));
                Answer::Register(records.map(|(_, record)| record.clone()).collect())
            }
            Step::ReadLast { epoch, log } => {
                let chain = self.entries.get(&(*epoch, log.clone()));
                Answer::Record(chain.and_then(|chain| chain.values().next_back().cloned()))
            }
            Step::HasSchema { fingerprint } => Answer::Exists(self.schemas.contains_key(fingerprint)),
            _ => return None,
        })
    }

    pub fn tip(&self, epoch: Epoch, log: &LogName) -> Tip {
        let chain = self.entries.get(&(epoch, log.clone()));
        let last = chain.and_then(|chain| chain.values().next_back());
        last.map(|bytes| Entry::decode(bytes).unwrap().tip).unwrap_or_default()
    }

    pub fn incarnation(&self, epoch: Epoch) -> Option<Incarnation> {
        self.epochs.get(&epoch).map(|record| EpochRecord::decode(record).unwrap().incarnation)
    }

    /// Whether the end of `epoch` is complete: its register and each of its chains are closed.
    pub fn has_ended(&self, epoch: Epoch) -> bool {
        let last = self.register.range((epoch, 0)..=(epoch, u32::MAX)).next_back();
        let closed = last.is_some_and(|(_, record)| RegisterRecord::decode(record) == Ok(RegisterRecord::Closed));
        closed && self.entries.keys().filter(|(of, _)| *of == epoch).all(|(_, log)| self.tip(epoch, log).closed)
    }

    /// Walks every chain: no gap, no overlap, every hash follows, every segment's schema is there, and each record is the one
    /// that was accepted at that offset. Counts what is committed and receipted per chain.
    pub fn check(&self) -> Result<Counts, Fault> {
        self.check_with(|incarnation, log, base, body| {
            let records = body.chunks_exact(8).map(|record| u64::from_le_bytes(record.try_into().unwrap()));
            records.zip(base..).all(|(record, offset)| record == truth(incarnation, log, offset))
        })
    }

    /// The same, with other eyes for the bytes of a segment: incarnation, log, base and body.
    pub fn check_with(&self, is_true: impl Fn(Incarnation, &LogName, u64, &[u8]) -> bool) -> Result<Counts, Fault> {
        let mut counts = Counts::new();
        for ((epoch, log), chain) in &self.entries {
            let (mut tip, mut committed) = (Tip::default(), 0);
            for (base, bytes) in chain {
                tip = self.check_entry(*base, bytes, &tip)?;
                let incarnation = self.incarnation(*epoch).ok_or(Fault::Foreign)?;
                if let Ok(Content::Segment(segment)) = Entry::decode(bytes).unwrap().content() {
                    if !is_true(incarnation, log, *base, segment.body) {
                        return Err(Fault::Foreign);
                    }
                    committed += u64::from(segment.meta.rows);
                }
            }
            if tip.cursor.committed() != committed {
                return Err(Fault::Count);
            }
            counts.insert((*epoch, log.clone()), (committed, tip.cursor.lost()));
        }
        Ok(counts)
    }

    fn check_entry(&self, base: u64, bytes: &[u8], before: &Tip) -> Result<Tip, Fault> {
        let entry = Entry::decode(bytes).unwrap();
        let expected = before.cursor.next;
        let mut receipted = before.cursor.receipted;
        match (before.closed, base.cmp(&expected)) {
            (true, _) => return Err(Fault::AfterTheEnd),
            (_, Ordering::Greater) => return Err(Fault::Gap),
            (_, Ordering::Less) => return Err(Fault::Overlap),
            (_, Ordering::Equal) => {}
        }
        match entry.content().map_err(|_| Fault::Chain)? {
            Content::Segment(segment) => {
                if segment.hash != link(before.hash, &segment.meta, segment.body)
                    || !self.schemas.contains_key(&segment.meta.schema)
                {
                    return Err(Fault::Chain);
                }
            }
            Content::Receipt(receipt) => receipted[receipt.reason as usize] += receipt.to - receipt.from,
        }
        if entry.tip.cursor.receipted != receipted || entry.base != base {
            return Err(Fault::Count);
        }
        Ok(entry.tip)
    }
}

fn create<K: Ord>(map: &mut BTreeMap<K, Vec<u8>>, key: K, value: &[u8]) -> bool {
    let mut created = false;
    map.entry(key).or_insert_with(|| {
        created = true;
        value.to_vec()
    });
    created
}

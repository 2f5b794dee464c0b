//! A store in memory with the semantics that hubs rely on: creates that succeed once, and nothing that changes after.

use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::epoch::EpochRecord;
use pyralog_sync_protocol::{Answer, Epoch, Fingerprint, Incarnation, LogName, Step};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Store {
    pub epochs: BTreeMap<Epoch, Vec<u8>>,
    closed: BTreeSet<Epoch>,
    heads: BTreeMap<(Epoch, u64), Vec<u8>>,
    register: BTreeMap<(Epoch, u32), Vec<u8>>,
    schemas: BTreeMap<Fingerprint, Vec<u8>>,
    pub entries: BTreeMap<(Epoch, LogName), BTreeMap<u64, Vec<u8>>>,
    pub commits: u64,
}

impl Store {
    /// Takes a step as one atomic operation; a reply is not the store's matter.
    pub fn take(&mut self, step: &Step) -> Answer {
        match step {
            Step::ReadEpoch => Answer::Epoch(self.epochs.last_key_value().map(|(e, r)| (*e, r.clone()))),
            Step::CreateEpoch { epoch, record } => Answer::Created(create(&mut self.epochs, *epoch, record)),
            Step::IsClosed { epoch } => Answer::Exists(self.closed.contains(epoch)),
            Step::MarkClosed { epoch } => {
                self.closed.insert(*epoch);
                Answer::Done
            }
            Step::ReadHeads { epoch } => {
                let records = self.heads.range((*epoch, 0)..=(*epoch, u64::MAX));
                Answer::Record(records.last().map(|(_, record)| record.clone()))
            }
            Step::PutHeads { epoch, sum, record } => {
                create(&mut self.heads, (*epoch, *sum), record);
                Answer::Done
            }
            Step::ReadRegister { epoch } => {
                let records = self.register.range((*epoch, 0)..=(*epoch, u32::MAX));
                Answer::Register(records.map(|(_, record)| record.clone()).collect())
            }
            Step::PutRegister { epoch, position, record } => {
                Answer::Created(create(&mut self.register, (*epoch, *position), record))
            }
            Step::ReadLast { epoch, log } => {
                let chain = self.entries.get(&(*epoch, log.clone()));
                Answer::Record(chain.and_then(|chain| chain.values().next_back().cloned()))
            }
            Step::HasSchema { fingerprint } => Answer::Exists(self.schemas.contains_key(fingerprint)),
            Step::PutSchema { fingerprint, schema } => {
                create(&mut self.schemas, *fingerprint, schema);
                Answer::Done
            }
            Step::Commit { epoch, log, base, entry } => {
                let chain = self.entries.entry((*epoch, log.clone())).or_default();
                let created = create(chain, *base, entry);
                self.commits += u64::from(created);
                Answer::Created(created)
            }
            Step::Reply(_) => panic!("a reply is not for the store"),
        }
    }

    pub fn tip(&self, epoch: Epoch, log: &LogName) -> Tip {
        let chain = self.entries.get(&(epoch, log.clone()));
        let last = chain.and_then(|chain| chain.values().next_back());
        last.map(|bytes| Entry::decode(bytes).unwrap().tip).unwrap_or_default()
    }

    pub fn incarnation(&self, epoch: Epoch) -> Incarnation {
        EpochRecord::decode(&self.epochs[&epoch]).unwrap().incarnation
    }

    /// Walks every chain: no gap, no overlap, every hash follows, every segment's schema is there, and each record is the one
    /// that `truth` says was accepted at that offset. Counts what is committed and receipted per chain.
    pub fn check(&self, truth: impl Fn(Incarnation, &LogName, u64) -> u64) -> BTreeMap<(Epoch, LogName), (u64, u64)> {
        let mut counts = BTreeMap::new();
        for ((epoch, log), chain) in &self.entries {
            let incarnation = self.incarnation(*epoch);
            let (mut tip, mut committed) = (Tip::default(), 0);
            for (base, bytes) in chain {
                let entry = Entry::decode(bytes).unwrap();
                assert!(!tip.closed, "an entry after the end of epoch {epoch} of {log}");
                assert_eq!((*base, entry.base), (tip.cursor.next, tip.cursor.next), "a gap or an overlap in {log}");
                if let Content::Segment(segment) = entry.content().unwrap() {
                    assert_eq!(segment.hash, pyralog_sync_protocol::chain::link(tip.hash, &segment.meta, segment.body));
                    assert!(self.schemas.contains_key(&segment.meta.schema));
                    for (record, offset) in segment.body.chunks_exact(8).zip(segment.meta.base..) {
                        let value = u64::from_le_bytes(record.try_into().unwrap());
                        assert_eq!(value, truth(incarnation, log, offset), "{log} offset {offset} of epoch {epoch}");
                        committed += 1;
                    }
                }
                tip = entry.tip;
            }
            assert_eq!(tip.cursor.committed(), committed);
            counts.insert((*epoch, log.clone()), (committed, tip.cursor.lost()));
        }
        counts
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

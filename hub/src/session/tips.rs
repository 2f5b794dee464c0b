//! What a hub remembers of the store to save reading it: the last entry of chains, the newest epoch of agents, and which
//! schemas are noted. Bounded, and never relied on.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::Equivalent;
use pyralog_sync_protocol::entry::Entry;

use crate::recent::Recent;
use crate::store::Chain;

/// Items that each memory of small things keeps at most; some 200 bytes each.
const CAPACITY: usize = 32_768;

/// Registers kept at most; each may hold thousands of names.
const REGISTERS: usize = 128;

/// The records of a register, in order.
type Register = Vec<Vec<u8>>;

/// The memories.
#[derive(Default)]
pub(super) struct Tips {
    tips: Mutex<Recent<ChainKey, Box<[u8]>, CAPACITY>>,
    epochs: Mutex<Recent<Box<str>, u32, CAPACITY>>,
    noted: Mutex<Recent<NotedKey, (), CAPACITY>>,
    schemas: Mutex<Recent<SchemaKey, (), CAPACITY>>,
    registers: Mutex<Recent<Box<str>, (u32, Register), REGISTERS>>,
}

impl Tips {
    /// The chain's last entry, without the frame inside.
    pub(super) fn tip(&self, chain: Chain<'_>) -> Option<Vec<u8>> {
        open(&self.tips).get(&chain).map(|tip| tip.to_vec())
    }

    /// Remembers the chain's last entry; of the entry only the envelope is kept.
    pub(super) fn set_tip(&self, chain: Chain<'_>, entry: &[u8]) {
        if let Ok(entry) = Entry::decode(entry) {
            let tip = Entry { frame: &[], ..entry }.encode();
            open(&self.tips).put(ChainKey::from(chain), tip.into());
        }
    }

    pub(super) fn forget_tip(&self, chain: Chain<'_>) {
        open(&self.tips).remove(&chain);
    }

    /// Forgets everything: the store is not the one that was remembered.
    pub(super) fn clear(&self) {
        *open(&self.tips) = Recent::default();
        *open(&self.epochs) = Recent::default();
        *open(&self.noted) = Recent::default();
        *open(&self.schemas) = Recent::default();
        *open(&self.registers) = Recent::default();
    }

    /// The newest epoch that was seen; 0 when none was.
    pub(super) fn epoch(&self, agent: &str) -> u32 {
        open(&self.epochs).get(agent).copied().unwrap_or_default()
    }

    pub(super) fn set_epoch(&self, agent: &str, epoch: u32) {
        open(&self.epochs).put(agent.into(), epoch);
    }

    /// What was read of an epoch's register, from its first record on.
    pub(super) fn register(&self, agent: &str, epoch: u32) -> Register {
        let mut registers = open(&self.registers);
        registers.get(agent).filter(|(of, _)| *of == epoch).map(|(_, records)| records.clone()).unwrap_or_default()
    }

    pub(super) fn set_register(&self, agent: &str, epoch: u32, records: Register) {
        open(&self.registers).put(agent.into(), (epoch, records));
    }

    /// Adds the record that was created at `position`, if all before it are known.
    pub(super) fn append_register(&self, agent: &str, epoch: u32, position: u32, record: &[u8]) {
        let mut registers = open(&self.registers);
        let known = registers.get_mut(agent).filter(|(of, _)| *of == epoch);
        match known {
            Some((_, records)) if records.len() == position as usize => records.push(record.to_vec()),
            None if position == 0 => registers.put(agent.into(), (epoch, vec![record.to_vec()])),
            _ => {}
        }
    }

    /// Whether the schema is known to be in the store.
    pub(super) fn is_stored(&self, agent: &str, schema: [u8; 8]) -> bool {
        open(&self.schemas).get(&(agent, schema)).is_some()
    }

    pub(super) fn set_stored(&self, agent: &str, schema: [u8; 8]) {
        open(&self.schemas).put(SchemaKey(agent.into(), schema), ());
    }

    pub(super) fn is_noted(&self, chain: Chain<'_>, schema: [u8; 8]) -> bool {
        open(&self.noted).get(&(chain, schema)).is_some()
    }

    pub(super) fn set_noted(&self, chain: Chain<'_>, schema: [u8; 8]) {
        open(&self.noted).put(NotedKey(chain.into(), schema), ());
    }
}

#[derive(PartialEq, Eq)]
struct ChainKey {
    agent: Box<str>,
    epoch: u32,
    log: Box<str>,
}

impl From<Chain<'_>> for ChainKey {
    fn from(chain: Chain<'_>) -> Self {
        Self { agent: chain.agent.into(), epoch: chain.epoch, log: chain.log.into() }
    }
}

// Both forms of a key must hash alike.
impl Hash for ChainKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Chain { agent: &self.agent, epoch: self.epoch, log: &self.log }.hash(state);
    }
}

impl Equivalent<ChainKey> for Chain<'_> {
    fn equivalent(&self, key: &ChainKey) -> bool {
        self.agent == &*key.agent && self.epoch == key.epoch && self.log == &*key.log
    }
}

#[derive(PartialEq, Eq, Hash)]
struct NotedKey(ChainKey, [u8; 8]);

impl Equivalent<NotedKey> for (Chain<'_>, [u8; 8]) {
    fn equivalent(&self, key: &NotedKey) -> bool {
        self.0.equivalent(&key.0) && self.1 == key.1
    }
}

#[derive(PartialEq, Eq, Hash)]
struct SchemaKey(Box<str>, [u8; 8]);

impl Equivalent<SchemaKey> for (&str, [u8; 8]) {
    fn equivalent(&self, key: &SchemaKey) -> bool {
        self.0 == &*key.0 && self.1 == key.1
    }
}

fn open<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_found_by_its_parts() {
        let tips = Tips::default();
        let chain = Chain { agent: "a", epoch: 1, log: "x" };
        let tip = Default::default();
        let entry = Entry { base: 0, tip, received_at: 0, frame: b"frame" }.encode();
        tips.set_tip(chain, &entry);
        let kept = tips.tip(chain).unwrap();
        assert!(Entry::decode(&kept).unwrap().frame.is_empty());
        assert_eq!(tips.tip(Chain { epoch: 2, ..chain }), None);
        tips.forget_tip(chain);
        assert_eq!(tips.tip(chain), None);
        tips.set_noted(chain, [1; 8]);
        assert!(tips.is_noted(chain, [1; 8]) && !tips.is_noted(Chain { log: "y", ..chain }, [1; 8]));
    }
}

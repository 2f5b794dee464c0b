//! Walks a store offline: are offsets dense, does every hash follow from the one before, is every object whole?
//!
//! What cannot be seen from the store alone: that the last entries of an agent's newest epoch were removed. Their removal
//! from an older epoch shows, since every older epoch ends with a closing entry.

use std::collections::BTreeSet;

use bytes::Bytes;
use hashbrown::HashMap;
use pyralog_segment::{DecodeLimits, Encoding, Schema, decode};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::epoch::{EpochRecord, RegisterRecord};
use pyralog_sync_protocol::frame::SegmentFrame;

use crate::store::{Chain, MAX_PAGE, Store, StoreError};

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// This agent alone.
    pub agent: Option<String>,
    /// This log alone.
    pub log: Option<String>,
    /// Whether to decode every segment too, which takes longer and finds nothing that hashes do not, unless the agent
    /// itself sent something wrong.
    pub decode: bool,
}

/// One chain, or an agent's epochs, as found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// The agent.
    pub agent: String,
    /// The log; empty for what concerns the agent's epochs.
    pub log: String,
    /// The epoch.
    pub epoch: u32,
    /// Entries that are in order.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Records receipted by them.
    pub receipted: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The first fault.
    pub fault: Option<Fault>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the object, or of where it should be.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

/// Verifies what `scope` names, and hands each finding to `report`. The result counts faults.
pub async fn verify(store: &dyn Store, scope: &Scope, mut report: impl FnMut(&Finding)) -> Result<u64, StoreError> {
    let mut faults = 0;
    let mut after: Option<String> = None;
    loop {
        let agents = match &scope.agent {
            Some(agent) if after.is_none() => vec![agent.clone()],
            Some(_) => Vec::new(),
            None => store.agents(after.as_deref(), MAX_PAGE).await?,
        };
        let Some(last) = agents.last().cloned() else { return Ok(faults) };
        for agent in agents {
            let mut walk = Walk { store, agent: &agent, decode: scope.decode, schemas: HashMap::new() };
            for finding in walk.epochs().await? {
                faults += u64::from(finding.fault.is_some());
                report(&finding);
            }
            for chain in walk.chains(scope.log.as_deref()).await? {
                let finding = walk.chain(chain.0, &chain.1).await?;
                faults += u64::from(finding.fault.is_some());
                report(&finding);
            }
        }
        after = Some(last);
    }
}

struct Walk<'a> {
    store: &'a dyn Store,
    agent: &'a str,
    decode: bool,
    /// Schemas looked at before; `None` for a missing or damaged one.
    schemas: HashMap<[u8; 8], Option<Schema>>,
}

impl Walk<'_> {
    /// The agent's epoch records; only faults are found.
    async fn epochs(&self) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let (mut expected, mut past) = (1, None);
        for epoch in self.store.epochs(self.agent).await? {
            let record = self.store.epoch(self.agent, epoch).await?.unwrap_or_default();
            let reason = match EpochRecord::decode(&record) {
                _ if epoch != expected => Some(format!("epoch {expected} is missing")),
                Err(error) => Some(error.to_string()),
                Ok(record) if past.is_some() && record.past.first().copied() != past => {
                    Some("it does not name the incarnation of the epoch before".into())
                }
                Ok(record) => {
                    past = Some(record.incarnation);
                    None
                }
            };
            expected = epoch.saturating_add(1);
            if let Some(reason) = reason {
                let name = format!("the record of epoch {epoch}");
                let fault = Some(Fault { name, reason });
                findings.push(Finding { agent: self.agent.into(), epoch, fault, ..Finding::default() });
                past = None;
            }
        }
        Ok(findings)
    }

    /// Every chain that is there or should be.
    async fn chains(&self, only: Option<&str>) -> Result<BTreeSet<(u32, String)>, StoreError> {
        let mut chains = BTreeSet::new();
        for log in self.store.logs(self.agent, None, MAX_PAGE).await? {
            for epoch in self.store.log_epochs(self.agent, &log).await? {
                chains.insert((epoch, log.clone()));
            }
        }
        for epoch in self.store.epochs(self.agent).await? {
            // All logs in the register of an epoch that has ended have a chain.
            if self.store.is_closed(self.agent, epoch).await? {
                for record in self.store.register(self.agent, epoch, 0).await? {
                    if let Ok(RegisterRecord::Log(log)) = RegisterRecord::decode(&record) {
                        chains.insert((epoch, log.as_str().to_owned()));
                    }
                }
            }
        }
        chains.retain(|(_, log)| only.is_none_or(|only| log == only));
        Ok(chains)
    }

    async fn chain(&mut self, epoch: u32, log: &str) -> Result<Finding, StoreError> {
        let chain = Chain { agent: self.agent, epoch, log };
        let mut finding = Finding { agent: self.agent.into(), log: log.into(), epoch, ..Finding::default() };
        let mut tip = Tip::default();
        let mut from = Some(0);
        while let Some(next) = from {
            let bases = self.store.bases(chain, next, MAX_PAGE).await?;
            from = bases.last().and_then(|last| last.checked_add(1));
            for base in bases {
                let (name, checked) = match base == tip.cursor.next {
                    true => (base, self.entry(chain, base, tip, &mut finding).await?),
                    false if base < tip.cursor.next => (base, Err("it overlaps the entry before it".into())),
                    false => (tip.cursor.next, Err(format!("it is missing; the next one begins at {base}"))),
                };
                match checked {
                    Ok(after) => tip = after,
                    Err(reason) => {
                        finding.fault = Some(Fault { name: self.store.entry_name(chain, name), reason });
                        return Ok(finding);
                    }
                }
            }
        }
        if !tip.closed && self.store.is_closed(self.agent, epoch).await? {
            let reason = "it is missing: the epoch has ended, and the log has no closing entry".into();
            finding.fault = Some(Fault { name: self.store.entry_name(chain, tip.cursor.next), reason });
        }
        Ok(finding)
    }

    /// Checks the entry at `base` after `tip`; gives the tip after it, or what is wrong.
    async fn entry(
        &mut self,
        chain: Chain<'_>,
        base: u64,
        tip: Tip,
        finding: &mut Finding,
    ) -> Result<Result<Tip, String>, StoreError> {
        let Some(bytes) = self.store.entry(chain, base).await? else { return Ok(Err("it vanished".into())) };
        let (entry, content) = match check_entry(&bytes, base, tip) {
            Ok(checked) => checked,
            Err(reason) => return Ok(Err(reason)),
        };
        match content {
            Content::Segment(segment) => {
                if let Err(reason) = self.segment(&segment).await? {
                    return Ok(Err(reason));
                }
                finding.records += u64::from(segment.meta.rows);
            }
            Content::Receipt(receipt) => finding.receipted += receipt.to - base,
        }
        finding.entries += 1;
        finding.bytes += bytes.len() as u64;
        Ok(Ok(entry.tip))
    }

    async fn segment(&mut self, segment: &SegmentFrame<'_>) -> Result<Result<(), String>, StoreError> {
        let fingerprint = segment.meta.schema;
        if !self.schemas.contains_key(&fingerprint.0) {
            let schema = self.store.schema(self.agent, fingerprint.0).await?.unwrap_or_default();
            let schema = Schema::from_bytes(&schema).ok().filter(|schema| schema.fingerprint() == fingerprint.0);
            self.schemas.insert(fingerprint.0, schema);
        }
        let Some(schema) = self.schemas.get(&fingerprint.0).and_then(Option::as_ref) else {
            return Ok(Err(format!("its schema {fingerprint} is missing or damaged")));
        };
        if !self.decode {
            return Ok(Ok(()));
        }
        let Some(encoding) = Encoding::from_code(segment.meta.encoding) else {
            return Ok(Err(format!("its encoding {} is unknown here", segment.meta.encoding)));
        };
        let decoded = decode(segment.body, schema, segment.meta.rows as usize, encoding, &DecodeLimits::default());
        Ok(decoded.map(|_| ()).map_err(|error| error.to_string()))
    }
}

fn check_entry(bytes: &Bytes, base: u64, before: Tip) -> Result<(Entry<'_>, Content<'_>), String> {
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    if entry.base != base {
        return Err(format!("it holds the entry of offset {}", entry.base));
    }
    if before.closed {
        return Err("it follows the closing entry of its epoch".into());
    }
    let content = entry.content().map_err(|error| error.to_string())?;
    let mut cursor = before.cursor;
    cursor.next = entry.tip.cursor.next;
    let hash = match &content {
        Content::Segment(segment) => {
            let hash = link(before.hash, &segment.meta, segment.body);
            if hash != segment.hash {
                return Err("its hash does not follow from the entry before it".into());
            }
            hash
        }
        Content::Receipt(receipt) => {
            let count = &mut cursor.receipted[receipt.reason as usize];
            *count = count.saturating_add(receipt.to.saturating_sub(base));
            receipt.hash
        }
    };
    if hash != entry.tip.hash || cursor != entry.tip.cursor || entry.tip.head_seen < before.head_seen {
        return Err("its totals do not follow from the entry before it".into());
    }
    Ok((entry, content))
}

//! One chain: offsets dense, each hash following from the one before, each schema there and noted.

use std::collections::BTreeSet;

use bytes::Bytes;
use pyralog_segment::{DecodeLimits, Encoding, decode};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::frame::SegmentFrame;
use pyralog_sync_protocol::trim::TrimMark;

use super::agent::AgentWalk;
use super::{Fault, Finding, remedy};
use crate::retention::mark;
use crate::store::{Chain, MAX_PAGE, Place};

/// What can be done about the last entry of a chain that may still grow.
const LAST: &str = "restore it from a backup; or move it away and restart the hub: the agent sends again what it still has, and a \
                    receipt names the rest";

/// How often a chain is looked at again since retention was at work.
const ATTEMPTS: usize = 4;

impl AgentWalk<'_> {
    /// Checks a chain that is there, or should be.
    pub(super) async fn chain(&mut self, epoch: u32, log: &str) {
        let agent = self.agent;
        let chain = Chain { agent, epoch, log };
        let mut noted = BTreeSet::new();
        for number in self.objects(Place::Notes(chain)).await {
            noted.insert(number);
            self.empty(epoch, log, Place::Notes(chain), number).await;
        }
        let mut finding = Finding::default();
        let mut of_entries = None;
        for _ in 0..ATTEMPTS {
            let before = self.objects(Place::Trimmed(chain)).await;
            finding = Finding { agent: agent.into(), log: log.into(), epoch, ..Finding::default() };
            of_entries = self.entries(chain, &before, &noted, &mut finding).await.err();
            // What seems to be missing may be what retention deleted meanwhile.
            if of_entries.is_none() || self.objects(Place::Trimmed(chain)).await == before {
                break;
            }
        }
        finding.fault = of_entries.or_else(|| {
            let number = noted.into_iter().find(|number| !self.schemas.contains_key(&number.to_be_bytes()))?;
            let name = self.store.object_name(Place::Notes(chain), number);
            let reason = format!("it is missing or damaged, and {name} speaks of it");
            Some(Fault::of(self.store, Place::Schemas(agent), number, reason))
        });
        self.found(&finding);
    }

    async fn entries(
        &self,
        chain: Chain<'_>,
        marks: &[u64],
        noted: &BTreeSet<u64>,
        finding: &mut Finding,
    ) -> Result<(), Fault> {
        let place = Place::Entries(chain);
        let fault = |base, reason: String| Fault::of(self.store, place, base, reason);
        let ended = self.closed.contains(&chain.epoch);
        let mut tip = self.deleted(chain, marks, finding).await?;
        let mut from = Some(tip.cursor.next);
        if tip.cursor.next > 0 {
            self.registered(chain)?;
        }
        while let Some(next) = from {
            let bases = self.store.bases(chain, next, MAX_PAGE).await.map_err(Fault::unlisted)?;
            from = bases.last().and_then(|last| last.checked_add(1));
            let full = bases.len() == MAX_PAGE;
            for (index, base) in bases.iter().copied().enumerate() {
                if base > tip.cursor.next {
                    return Err(fault(tip.cursor.next, format!("it is missing; the next one begins at {base}")));
                }
                let checked = match base < tip.cursor.next {
                    true => Err(fault(base, "it overlaps the entry before it".into())),
                    false => self.entry(chain, base, tip, noted, finding).await,
                };
                let is_last = index + 1 == bases.len() && !full && !ended;
                let after = checked.map_err(|fault| match is_last && fault.remedy == remedy(place) {
                    true => Fault { remedy: LAST, ..fault },
                    false => fault,
                })?;
                if base == 0 && !after.closed {
                    self.registered(chain)?;
                }
                tip = after;
            }
        }
        if ended && !tip.closed {
            let reason = "it is missing: the epoch has ended, and the log has no closing entry".into();
            return Err(fault(tip.cursor.next, reason));
        }
        Ok(())
    }

    /// Checks what is left of what retention deleted; gives the tip behind it.
    async fn deleted(&self, chain: Chain<'_>, marks: &[u64], finding: &mut Finding) -> Result<Tip, Fault> {
        let place = Place::Trimmed(chain);
        let mut newest = None;
        for number in marks.iter().copied() {
            let of = |reason: String| Fault::of(self.store, place, number, reason);
            let found = match self.store.object(place, number).await {
                Ok(Some(bytes)) => TrimMark::decode(&bytes).map_err(|error| of(error.to_string()))?,
                // A newer one has replaced it.
                Ok(None) if marks.last() != Some(&number) => continue,
                Ok(None) => return Err(of("it is a folder, or was just removed".into())),
                Err(error) => return Err(Fault::unread(self.store, place, number, error)),
            };
            if found.below() != number {
                return Err(of(format!("it holds the mark of offset {}", found.below())));
            }
            newest = Some(found);
        }
        let Some(mark) = newest else { return Ok(Tip::default()) };
        let left = mark::below(self.store, chain, &mark).await.map_err(Fault::unlisted)?;
        if let Some((base, reason)) = left.damaged.into_iter().next() {
            return Err(Fault::of(self.store, Place::Entries(chain), base, reason));
        }
        if left.missing.lost() > 0 {
            let (lost, next) = (left.missing.lost(), left.missing.next);
            let reason =
                format!("it speaks of {lost} records receipted below offset {next}, and those receipts are missing");
            return Err(Fault {
                remedy: remedy(Place::Entries(chain)),
                ..Fault::of(self.store, place, mark.below(), reason)
            });
        }
        finding.entries += left.receipts.len() as u64;
        finding.receipted += mark.tip.cursor.lost();
        finding.bytes += left.bytes;
        finding.deleted = mark.records();
        Ok(mark.tip)
    }

    /// A log is in the register before its chain begins, unless the chain was begun by closing it.
    fn registered(&self, chain: Chain<'_>) -> Result<(), Fault> {
        let register = self.registers.get(&chain.epoch);
        match register.and_then(|register| register.len.filter(|_| !register.logs.contains(chain.log))) {
            None => Ok(()),
            Some(position) => {
                let place = Place::Register(chain.agent, chain.epoch);
                let reason = format!("it is missing: log {} has entries, and the register does not name it", chain.log);
                Err(Fault::of(self.store, place, position, reason))
            }
        }
    }

    /// Checks the entry at `base` after `tip`; gives the tip after it.
    async fn entry(
        &self,
        chain: Chain<'_>,
        base: u64,
        tip: Tip,
        noted: &BTreeSet<u64>,
        finding: &mut Finding,
    ) -> Result<Tip, Fault> {
        let place = Place::Entries(chain);
        let fault = |reason: String| Fault::of(self.store, place, base, reason);
        let bytes = match self.store.object(place, base).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(fault("it is a folder, or was just removed".into())),
            Err(error) => return Err(Fault::unread(self.store, place, base, error)),
        };
        let (entry, content) = check_entry(&bytes, base, tip).map_err(fault)?;
        match content {
            Content::Segment(segment) => {
                self.segment(chain, base, &segment, noted)?;
                finding.records += u64::from(segment.meta.rows);
            }
            Content::Receipt(receipt) => finding.receipted += receipt.to - base,
        }
        finding.entries += 1;
        finding.bytes += bytes.len() as u64;
        Ok(entry.tip)
    }

    fn segment(
        &self,
        chain: Chain<'_>,
        base: u64,
        segment: &SegmentFrame<'_>,
        noted: &BTreeSet<u64>,
    ) -> Result<(), Fault> {
        let fingerprint = u64::from_be_bytes(segment.meta.schema.0);
        let missing = |place| {
            let name = self.store.entry_name(chain, base);
            let reason = format!("it is missing or damaged, and {name} needs it");
            Err(Fault::of(self.store, place, fingerprint, reason))
        };
        let Some(schema) = self.schemas.get(&segment.meta.schema.0) else {
            return missing(Place::Schemas(chain.agent));
        };
        if !noted.contains(&fingerprint) {
            return missing(Place::Notes(chain));
        }
        if !self.scope.decode {
            return Ok(());
        }
        let fault = |reason: String| Fault::of(self.store, Place::Entries(chain), base, reason);
        let encoding = Encoding::from_code(segment.meta.encoding)
            .ok_or_else(|| fault(format!("its encoding {} is unknown here", segment.meta.encoding)))?;
        let decoded = decode(segment.body, schema, segment.meta.rows as usize, encoding, &DecodeLimits::default());
        decoded.map(|_| ()).map_err(|error| fault(error.to_string()))
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

//! One log, brought within its limits.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::entry::{Content, Entry};
use pyralog_sync_protocol::trim::TrimMark;

use super::{Limits, mark};
use crate::store::{Chain, MAX_PAGE, Place, Store, StoreError};

/// Entries that one mark passes at most: what a hub that dies leaves to be looked through.
const STRIDE: usize = 1_024;

/// Things that are damaged, of those named at once.
const MAX_STUCK: usize = 64;

/// Entries read at once.
const AT_ONCE: usize = 8;

/// 2020-01-01, Unix nanoseconds. A clock that says less was never set, and tells no age.
const CREDIBLE: i64 = 1_577_836_800_000_000_000;

/// What is to be done to one log of one agent.
#[derive(Clone, Copy)]
pub struct Trim<'a> {
    /// Where it is kept.
    pub store: &'a dyn Store,
    /// The agent.
    pub agent: &'a str,
    /// The log.
    pub log: &'a str,
    /// What may stay.
    pub limits: Limits,
    /// The hub's clock, Unix nanoseconds.
    pub now: i64,
    /// Whether to say only what would be deleted.
    pub dry_run: bool,
}

/// How much work may still be done: entries that are read, listings, deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(pub usize);

impl Budget {
    pub(super) fn spend(&mut self, work: usize) {
        self.0 = self.0.saturating_sub(work);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Segments.
    pub entries: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What keeps it from deleting more than that: something damaged or missing, by name and reason.
    pub stuck: Vec<(String, String)>,
    /// Whether it stopped because the budget was spent.
    pub unfinished: bool,
}

impl Trimmed {
    /// Adds what was done to another log.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.records += other.records;
        self.bytes += other.bytes;
        let room = MAX_STUCK.saturating_sub(self.stuck.len());
        self.stuck.extend(other.stuck.into_iter().take(room));
        self.unfinished |= other.unfinished;
    }
}

/// How far a walk came, and what of it is to be deleted.
struct Cut {
    mark: TrimMark,
    victims: Vec<u64>,
    /// Whether there may be more to delete behind it.
    more: bool,
}

impl Trim<'_> {
    /// Deletes what is beyond the limits, oldest first, as far as the budget goes.
    ///
    /// # Errors
    /// When the store fails. Trying again later finishes what was begun.
    pub async fn run(&self, budget: &mut Budget) -> Result<Trimmed, StoreError> {
        let mut done = Trimmed::default();
        if self.limits.keep_all() {
            return Ok(done);
        }
        let epochs = self.store.log_epochs(self.agent, self.log).await?;
        budget.spend(1);
        let (mut marks, mut kept) = (Vec::with_capacity(epochs.len()), 0u64);
        for epoch in epochs {
            let chain = Chain { agent: self.agent, epoch, log: self.log };
            match mark::newest(self.store, chain).await {
                Ok(mark) => {
                    let mark = mark.unwrap_or_else(TrimMark::nothing);
                    if self.limits.max_bytes.is_some() {
                        kept = kept.saturating_add(self.size(chain, mark.below()).await?);
                    }
                    marks.push((chain, mark));
                }
                Err(StoreError::Damaged { name, reason }) => done.stuck.push((name, reason)),
                Err(error) => return Err(error),
            }
            budget.spend(1);
        }
        let mut excess = self.limits.max_bytes.map_or(0, |most| kept.saturating_sub(most));
        for (chain, mark) in marks {
            if budget.is_spent() {
                done.unfinished = true;
                break;
            }
            self.chain(chain, mark, &mut excess, budget, &mut done).await?;
        }
        Ok(done)
    }

    /// Bytes of a chain's entries from `from` on.
    async fn size(&self, chain: Chain<'_>, from: u64) -> Result<u64, StoreError> {
        let (mut sum, mut from) = (0u64, Some(from));
        while let Some(next) = from {
            let sizes = self.store.entry_sizes(chain, next, MAX_PAGE).await?;
            from = sizes.last().filter(|_| sizes.len() == MAX_PAGE).and_then(|(last, _)| last.checked_add(1));
            sum = sizes.iter().fold(sum, |sum, (_, size)| sum.saturating_add(*size));
        }
        Ok(sum)
    }

    async fn chain(
        &self,
        chain: Chain<'_>,
        mut mark: TrimMark,
        excess: &mut u64,
        budget: &mut Budget,
        done: &mut Trimmed,
    ) -> Result<(), StoreError> {
        self.sweep(chain, &mark, budget).await?;
        // The chain's end as it is now: it only grows, so all before stays before.
        let Some(last) = self.store.base_at(chain, u64::MAX).await? else { return Ok(()) };
        loop {
            if budget.is_spent() {
                done.unfinished = true;
                return Ok(());
            }
            let Some(cut) = self.walk(chain, mark, last, excess, budget, done).await? else { return Ok(()) };
            if !self.dry_run {
                self.make(chain, &cut).await?;
                budget.spend(cut.victims.len());
            }
            done.entries += cut.mark.entries.saturating_sub(mark.entries);
            done.bytes += cut.mark.bytes.saturating_sub(mark.bytes);
            done.records += cut.mark.records().saturating_sub(mark.records());
            if !cut.more {
                return Ok(());
            }
            mark = cut.mark;
        }
    }

    /// Makes the mark, and then deletes.
    async fn make(&self, chain: Chain<'_>, cut: &Cut) -> Result<(), StoreError> {
        let below = cut.mark.below();
        self.store.put_trimmed(chain, below, cut.mark.encode().into()).await?;
        // Whatever the put met: nothing is deleted that no sound mark speaks of.
        let newest = mark::newest(self.store, chain).await?;
        if newest.is_none_or(|newest| newest.below() < below) {
            let name = self.store.object_name(Place::Trimmed(chain), below);
            return Err(StoreError::Damaged { name, reason: "it was created, and is not there".into() });
        }
        self.store.remove_entries(chain, &cut.victims).await
    }

    /// Deletes the segments that a hub left which made a mark and died, or whose deletes failed.
    async fn sweep(&self, chain: Chain<'_>, mark: &TrimMark, budget: &mut Budget) -> Result<(), StoreError> {
        let mut from = Some(mark.swept);
        while let Some(next) = from.filter(|next| *next < mark.below() && !self.dry_run && !budget.is_spent()) {
            let mut bases = self.store.bases(chain, next, STRIDE).await?;
            from = bases.last().and_then(|last| last.checked_add(1));
            bases.retain(|base| *base < mark.below());
            let mut victims = Vec::new();
            let mut entries = self.entries(chain, &bases);
            while let Some((base, entry)) = entries.next().await {
                budget.spend(1);
                let sound = match entry {
                    // What is damaged may have been a receipt.
                    Err(StoreError::Damaged { .. }) => None,
                    other => other?,
                };
                let entry = sound.as_deref().and_then(|bytes| Entry::decode(bytes).ok());
                if entry.is_some_and(|entry| entry.base == base && matches!(entry.content(), Ok(Content::Segment(_)))) {
                    victims.push(base);
                }
            }
            self.store.remove_entries(chain, &victims).await?;
        }
        Ok(())
    }

    /// The entries of these bases, in their order; some are read ahead.
    fn entries<'a>(
        &'a self,
        chain: Chain<'a>,
        bases: &[u64],
    ) -> impl futures_util::Stream<Item = (u64, Result<Option<Bytes>, StoreError>)> + Unpin + use<'a> {
        let read = move |base| Box::pin(async move { (base, self.store.entry(chain, base).await) });
        stream::iter(bases.to_vec()).map(read).buffered(AT_ONCE)
    }

    /// Walks on from `mark` through entries before `last`, up to the first that is within the limits.
    async fn walk(
        &self,
        chain: Chain<'_>,
        mark: TrimMark,
        last: u64,
        excess: &mut u64,
        budget: &mut Budget,
        done: &mut Trimmed,
    ) -> Result<Option<Cut>, StoreError> {
        let mut bases = self.store.bases(chain, mark.below(), STRIDE).await?;
        let full = bases.len() == STRIDE;
        bases.retain(|base| *base < last);
        let mut at = TrimMark { swept: if self.dry_run { mark.swept } else { mark.below() }, ..mark };
        let (mut over, mut victims, mut found) = (*excess, Vec::new(), None);
        let mut entries = self.entries(chain, &bases);
        let mut more = full;
        while let Some((base, entry)) = entries.next().await {
            budget.spend(1);
            let passed = match entry {
                Ok(Some(bytes)) => pass(&mut at, base, &bytes).map(|segment| (segment, bytes.len() as u64)),
                Ok(None) => Err("it is a folder, or was just removed".into()),
                Err(StoreError::Damaged { reason, .. }) => Err(reason),
                Err(error) => return Err(error),
            };
            let (segment, len) = match passed {
                Ok(passed) => passed,
                Err(reason) => {
                    // Another hub may be at it too, and further.
                    let newest = mark::newest(self.store, chain).await?;
                    if newest.is_none_or(|newest| newest.below() <= at.tip.cursor.next) {
                        done.stuck.push((self.store.entry_name(chain, base), reason));
                    }
                    more = false;
                    break;
                }
            };
            let (expired, unknown) = self.age(at.received_at);
            if !expired && !unknown && over == 0 {
                more = false;
                break;
            }
            let goes = expired || over > 0;
            over = over.saturating_sub(len);
            if segment {
                victims.push(base);
                if goes {
                    found = Some((at, victims.len(), over));
                }
            }
        }
        let Some((mark, count, left)) = found else { return Ok(None) };
        *excess = left;
        victims.truncate(count);
        Ok(Some(Cut { mark, victims, more }))
    }

    /// Whether what was received by then is too old; and whether nobody can tell.
    fn age(&self, received_at: i64) -> (bool, bool) {
        let Some(max_age) = self.limits.max_age else { return (false, false) };
        if self.now < CREDIBLE {
            return (false, false);
        }
        if received_at < CREDIBLE {
            return (false, true);
        }
        let age = u64::try_from(self.now.saturating_sub(received_at)).unwrap_or_default();
        (Duration::from_nanos(age) > max_age, false)
    }
}

/// Moves `at` behind the entry at `base`, if that follows; says whether it is a segment.
fn pass(at: &mut TrimMark, base: u64, bytes: &[u8]) -> Result<bool, String> {
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    if entry.base != base || base != at.tip.cursor.next || entry.tip.closed {
        return Err(format!("it does not follow from what is before it, which ends at {}", at.tip.cursor.next));
    }
    let content = entry.content().map_err(|error| error.to_string())?;
    // A clock that was behind for a while makes nothing older than what came before it.
    at.received_at = at.received_at.max(entry.received_at);
    let segment = match content {
        Content::Receipt(_) => None,
        Content::Segment(segment) if link(at.tip.hash, &segment.meta, segment.body) == segment.hash => Some(segment),
        Content::Segment(_) => return Err("its hash does not follow from the entry before it".into()),
    };
    at.tip = entry.tip;
    if let Some(segment) = &segment {
        at.entries += 1;
        at.bytes = at.bytes.saturating_add(bytes.len() as u64);
        at.min_time = at.min_time.min(segment.meta.min_time);
        at.max_time = at.max_time.max(segment.meta.max_time);
    }
    Ok(segment.is_some())
}

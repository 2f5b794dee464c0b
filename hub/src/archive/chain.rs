//! Reads parts of chains for the lake: records, receipts, and what is damaged.

use std::ops::Range;
use std::sync::Arc;

use pyralog_lake::{Receipt, Rows, Source, Table};
use pyralog_sync_protocol::epoch::EpochRecord;

use super::ArchiveError;
use crate::scan::{Damage, Found, Loss, Scan, Segment, Selection};
use crate::store::{Chain, SharedStore, StoreError};

/// What one step of a table is made of.
pub(super) struct Gathered {
    pub(super) sources: Vec<Source>,
    pub(super) rows: Rows,
    pub(super) receipts: Vec<Receipt>,
    /// Whether there is more than fits into one step.
    pub(super) more: bool,
    /// What is damaged, and was left out.
    pub(super) damaged: Vec<String>,
    /// Records that were deleted before they were archived.
    pub(super) gone: u64,
}

impl Gathered {
    pub(super) fn new(rows: Rows) -> Self {
        Self { sources: Vec::new(), rows, receipts: Vec::new(), more: false, damaged: Vec::new(), gone: 0 }
    }
}

/// Reads chains of one log.
pub(super) struct Reading<'a> {
    pub(super) store: &'a SharedStore,
    pub(super) log: &'a str,
    pub(super) max_bytes: usize,
    /// Whether this archiver reads the log for the first time.
    pub(super) is_first: bool,
}

/// What was read of a chain.
#[derive(Default)]
struct Part {
    /// Where it ends: everything before is in it, receipted, or damaged.
    to: u64,
    closed: bool,
    /// Damaged offsets with something sound behind them.
    gaps: Vec<(u64, u64)>,
    receipts: Vec<Receipt>,
    found: Vec<Damage>,
    /// Whether something damaged was met since the last that is sound.
    is_broken: bool,
    /// Records that are gone without being damaged: deleted before they were archived.
    gone: u64,
    more: bool,
}

impl Reading<'_> {
    /// Reads on where the archive of a chain stands.
    pub(super) async fn onward(
        &self,
        agent: &str,
        epoch: u32,
        table: &Table,
        gathered: &mut Gathered,
    ) -> Result<(), ArchiveError> {
        let (chain, mark) = (Chain { agent, epoch, log: self.log }, table.mark(agent, epoch));
        if mark.closed {
            return Ok(());
        }
        // A chain without anything new costs one look, once it is known to be the same.
        let is_new = self.store.base_at(chain, u64::MAX).await?.is_some_and(|last| last >= mark.next);
        if !is_new && !self.is_first {
            return Ok(());
        }
        let life = self.life(chain).await?;
        if life.is_some_and(|life| !table.is_of_life(agent, epoch, life)) {
            return Err(ArchiveError::OtherStore { agent: agent.into(), epoch });
        }
        if !is_new {
            return Ok(());
        }
        let part = self.part(chain, mark.next..u64::MAX, &mut gathered.rows).await?;
        gathered.more |= part.more;
        gathered.damaged.extend(part.found.into_iter().map(told));
        if part.to > mark.next || part.closed {
            gathered.receipts.extend(part.receipts);
            gathered.gone += part.gone;
            gathered.sources.push(Source {
                agent: agent.into(),
                epoch,
                from: mark.next,
                to: part.to,
                life,
                closed: part.closed,
                mends: false,
                damaged: part.gaps,
            });
        }
        Ok(())
    }

    /// Reads again what was damaged, and takes it if all of it is sound by now.
    pub(super) async fn mended(
        &self,
        agent: &str,
        epoch: u32,
        range: Range<u64>,
        gathered: &mut Gathered,
    ) -> Result<(), ArchiveError> {
        let chain = Chain { agent, epoch, log: self.log };
        // Read once without keeping: what is still damaged in its middle must leave nothing behind.
        let mut trial = Rows::default();
        let part = self.part(chain, range.clone(), &mut trial).await?;
        drop(trial);
        if !part.found.is_empty() || part.to < range.end {
            gathered.damaged.extend(part.found.into_iter().map(told));
            return Ok(());
        }
        let part = self.part(chain, range.clone(), &mut gathered.rows).await?;
        gathered.receipts.extend(part.receipts);
        let (from, to) = (range.start, range.end);
        let source = Source {
            agent: agent.into(),
            epoch,
            from,
            to,
            life: None,
            closed: false,
            mends: true,
            damaged: Vec::new(),
        };
        gathered.sources.push(source);
        Ok(())
    }

    /// Reads what a plan names; what it left out is left out again.
    pub(super) async fn again(&self, source: &Source, rows: &mut Rows) -> Result<(), ArchiveError> {
        let chain = Chain { agent: &source.agent, epoch: source.epoch, log: self.log };
        let mut from = source.from;
        for (gap, sound) in source.damaged.iter().copied().chain([(source.to, source.to)]) {
            if from < gap {
                self.part(chain, from..gap, rows).await?;
            }
            from = sound;
        }
        Ok(())
    }

    /// The agent's lifetime that an epoch is of; `None` where the store cannot say.
    async fn life(&self, chain: Chain<'_>) -> Result<Option<u64>, StoreError> {
        let record = match self.store.epoch(chain.agent, chain.epoch).await {
            Err(StoreError::Damaged { .. }) => None,
            other => other?,
        };
        let life = record.and_then(|record| EpochRecord::decode(&record).ok());
        Ok(life.and_then(|record| record.incarnation.0.first_chunk().copied()).map(u64::from_be_bytes))
    }

    async fn part(&self, chain: Chain<'_>, range: Range<u64>, rows: &mut Rows) -> Result<Part, ArchiveError> {
        // From the entry before on, to which the first hash is linked.
        let from_offset = Some(range.start.saturating_sub(1));
        let selection = Selection { epoch: Some(chain.epoch), from_offset, ..Selection::default() };
        let scan = Scan::of_chain(self.store.clone(), chain, Arc::default(), selection);
        let mut scan = scan.await?.with_receipts();
        let mut part = Part { to: range.start, ..Part::default() };
        while part.to < range.end && !part.closed {
            if rows.bytes() >= self.max_bytes && range.end == u64::MAX {
                part.more = true;
                break;
            }
            match scan.next().await? {
                None => break,
                // What was archived before is none of this part's business.
                Some(Found::Damaged(damage)) if damage.offset < range.start => {}
                Some(Found::Damaged(damage)) => {
                    part.found.push(damage);
                    part.is_broken = true;
                }
                Some(Found::Segment(segment)) => {
                    let end = segment.base + segment.batch.num_rows() as u64;
                    if end > part.to && segment.base < range.end {
                        part.reach(segment.base, end);
                        Self::take(chain, &segment, range.start, rows)?;
                    }
                }
                Some(Found::Receipt(loss)) if loss.receipt.from >= range.end => break,
                Some(Found::Receipt(loss)) => part.take(chain, loss, range.start),
            }
        }
        Ok(part)
    }

    fn take(chain: Chain<'_>, segment: &Segment, from: u64, rows: &mut Rows) -> Result<(), ArchiveError> {
        Ok(rows.push(chain.agent, chain.epoch, segment.base, from, &segment.batch)?)
    }
}

impl Part {
    /// Goes on to `end`, by something sound that begins at `base`.
    fn reach(&mut self, base: u64, end: u64) {
        match base.saturating_sub(self.to) {
            0 => {}
            _ if self.is_broken => self.gaps.push((self.to, base)),
            gone => self.gone += gone,
        }
        (self.to, self.is_broken) = (end, false);
    }

    fn take(&mut self, chain: Chain<'_>, loss: Loss, from: u64) {
        let receipt = loss.receipt;
        if receipt.to < from || (receipt.to == from && receipt.from < from) {
            return;
        }
        self.reach(receipt.from, receipt.to.max(self.to));
        self.closed |= loss.closes;
        if receipt.to > receipt.from {
            let times = (receipt.min_time, receipt.max_time);
            self.receipts.push(Receipt {
                agent: chain.agent.into(),
                epoch: chain.epoch,
                from: receipt.from,
                to: receipt.to,
                reason: receipt.reason.word().into(),
                times: (times != (0, 0)).then_some(times),
                received_at: loss.received_at,
            });
        }
    }
}

fn told(damage: Damage) -> String {
    format!("{}: {}", damage.name, damage.reason)
}

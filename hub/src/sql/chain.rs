//! Rows of one chain that are not in the lake.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use pyralog_sql::{IpcStream, SourceError, Wanted};
use pyralog_sync_protocol::epoch::EpochRecord;

use super::log::{Fresh, Log};
use super::{border, of_lake, of_store};
use crate::scan::{Found, Scan, Segment, Selection};
use crate::store::{Chain, StoreError};

/// Bytes of a chain's entries that are read ahead, about: several chains are read at once.
const AHEAD: usize = 1 << 20;

/// Rows that cross over at once.
const ROWS: usize = 16_384;

/// A chain being read.
pub(super) struct Reading {
    log: Log,
    chain: Fresh,
    wanted: Wanted,
    scan: Option<Scan>,
    /// A segment, with the first row that was not given yet and the one after the last that is wanted.
    current: Option<(Box<Segment>, usize, usize)>,
    /// The offset after what was given or passed over.
    to: u64,
    /// What is known to be deleted below this.
    deleted: u64,
}

impl Reading {
    /// The wanted rows of `chain` behind the lake's mark.
    pub(super) fn stream(log: Log, chain: Fresh, wanted: Wanted) -> IpcStream {
        let next = chain.mark.next;
        let reading = Self { log, chain, wanted, scan: None, current: None, to: next, deleted: next };
        let pieces = stream::try_unfold(reading, |mut reading| async move {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        });
        pieces.boxed()
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, SourceError> {
        if self.scan.is_none() {
            self.check_life().await?;
            self.scan = Some(self.open().await?);
        }
        loop {
            if let Some((segment, from, to)) = self.current.take() {
                let end = to.min(from + ROWS);
                let (agent, epoch) = (&self.chain.agent, self.chain.epoch);
                let rows =
                    self.log.shape.rows(agent, epoch, segment.base, &segment.batch, from..end).map_err(of_lake)?;
                if end < to {
                    self.current = Some((segment, end, to));
                }
                return border::batch(&rows).map(Some);
            }
            let Some(scan) = &mut self.scan else { return Ok(None) };
            let found = scan.next().await.map_err(of_store)?;
            let below = scan.deleted().iter().filter(|deleted| deleted.epoch == self.chain.epoch);
            let below = below.map(|deleted| deleted.below).max().unwrap_or_default();
            self.check_deleted(below).await?;
            match found {
                None => return Ok(None),
                Some(Found::Receipt(_)) => {}
                // What was archived before is none of this query's business.
                Some(Found::Damaged(damage)) if damage.offset < self.chain.mark.next => {}
                Some(Found::Damaged(damage)) => self.log.notes.meet(&damage.name, &damage.reason)?,
                Some(Found::Segment(segment)) => {
                    self.log.notes.decoded();
                    self.to = segment.base + segment.batch.num_rows() as u64;
                    // Runs of wanted rows as one: what is between them, the query leaves out itself.
                    let ends =
                        segment.rows.front().zip(segment.rows.back()).map(|(first, last)| (first.start, last.end));
                    self.current = ends.map(|(from, to)| (segment, from, to));
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Scan, SourceError> {
        let Wanted { from, to, limit } = self.wanted;
        let Fresh { agent, epoch, mark } = &self.chain;
        let selection = Selection { epoch: Some(*epoch), from_offset: Some(mark.next), from, to, limit };
        let chain = Chain { agent, epoch: *epoch, log: &self.log.log };
        let scan = Scan::of_chain(self.log.store.clone(), chain, Arc::clone(&self.log.schemas), selection).await;
        Ok(scan.map_err(of_store)?.with_room(AHEAD))
    }

    /// Whether the lake was filled from this store.
    async fn check_life(&mut self) -> Result<(), SourceError> {
        let Fresh { agent, epoch, mark } = &self.chain;
        let Some(archived) = self.log.archived.as_ref().filter(|_| mark.next > 0) else { return Ok(()) };
        let record = match self.log.store.epoch(agent, *epoch).await {
            Err(StoreError::Damaged { .. }) => None,
            other => other.map_err(of_store)?,
        };
        let record = record.and_then(|record| EpochRecord::decode(&record).ok());
        let life = record.and_then(|record| record.incarnation.0.first_chunk().copied()).map(u64::from_be_bytes);
        match life.is_none_or(|life| archived.is_of_life(agent, *epoch, life)) {
            true => Ok(()),
            false => Err(SourceError::Refused(format!(
                "the lake holds epoch {epoch} of agent {agent:?} as another store had it; name the lake of this store"
            ))),
        }
    }

    /// Sees to it that what retention deleted was not archived since the query looked at the lake: that would be in neither.
    async fn check_deleted(&mut self, below: u64) -> Result<(), SourceError> {
        if below <= self.deleted.max(self.to) {
            return Ok(());
        }
        self.deleted = below;
        let Some(lake) = &self.log.lake else { return Ok(()) };
        let Fresh { agent, epoch, mark } = &self.chain;
        let now = pyralog_lake::Table::open(lake, &self.log.log).await.map_err(of_lake)?;
        match now.mark(agent, *epoch).next > mark.next {
            true => Err(SourceError::Stale(format!(
                "records of agent {agent:?}, log {:?} were archived and deleted while the query read them; ask again",
                self.log.log
            ))),
            false => Ok(()),
        }
    }
}

//! Reads a log back, segment by segment: one is in memory at a time.
//!
//! What retention deleted is passed over, and named: see [`Scan::deleted`].
//!
//! A range of times is found by reading all entries from its first offset on: they carry their times, but devices' clocks jump, so
//! that no entry tells anything of those behind it. Reading ahead makes that bearable.
//!
//! Nothing damaged is ever given out as data. An entry must decode, follow from the one before it (offsets and BLAKE3
//! chain), and its body must decode under its schema; else the scan says what is damaged and where.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use pyralog_segment::{DecodeLimits, Encoding, Schema, decode};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::frame::{Receipt, SegmentMeta};
use pyralog_sync_protocol::trim::TrimMark;

use crate::account::{AccountError, unknown_log};
use crate::retention::mark;
use crate::store::{Chain, SharedStore, Store, StoreError};

mod ahead;
mod schemas;

use ahead::{Ahead, Fetched};
pub use schemas::Schemas;
use schemas::schemas;

/// Names of entries fetched at once.
const PAGE: usize = 4_096;

/// Bytes of entries that are read ahead, about: where entries are large, fewer are asked for.
const AHEAD: usize = 4 << 20;

/// Marks of retention looked up at once.
const AT_ONCE: usize = 16;

/// Which records of a log are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Of this epoch alone; else of all, oldest first.
    pub epoch: Option<u32>,
    /// With offsets from here on, in each epoch.
    pub from_offset: Option<u64>,
    /// With times from here on, Unix nanoseconds.
    pub from: Option<i64>,
    /// With times before this, Unix nanoseconds.
    pub to: Option<i64>,
    /// This many at most.
    pub limit: Option<u64>,
}

/// Records of one segment.
#[derive(Debug)]
pub struct Segment {
    /// The epoch in which the offsets count.
    pub epoch: u32,
    /// Offset of the batch's first row.
    pub base: u64,
    /// All rows of the segment.
    pub batch: RecordBatch,
    /// The batch's schema.
    pub schema: Schema,
    /// The rows that are wanted, ascending.
    pub rows: VecDeque<Range<usize>>,
}

/// What a scan comes upon.
#[derive(Debug)]
pub enum Found {
    /// Wanted records.
    Segment(Box<Segment>),
    /// Offsets that will never arrive; only where [`Scan::with_receipts`] asked for them.
    Receipt(Loss),
    /// Something that cannot be given out; the scan goes on behind it.
    Damaged(Damage),
}

/// A receipt in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// What it says.
    pub receipt: Receipt,
    /// When the hub stored it, Unix nanoseconds.
    pub received_at: i64,
    /// Whether it ends the chain for good.
    pub closes: bool,
}

/// What is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object's name in the store.
    pub name: String,
    /// The epoch.
    pub epoch: u32,
    /// The first offset that it concerns.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// Records that retention deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The epoch.
    pub epoch: u32,
    /// What was committed below this offset.
    pub below: u64,
}

/// Where a scan goes next.
enum Next {
    /// To this entry.
    Entry(Fetched),
    /// Nowhere yet: this is damaged, or should be there.
    Damaged(Damage),
    /// Nowhere.
    End,
}

/// Why an entry cannot be given out.
enum Fault {
    /// It is damaged, and the scan goes on behind it.
    Damaged(String),
    /// The store failed, and so does the scan.
    Store(StoreError),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { reason, .. } => Self::Damaged(reason),
            error @ StoreError::Unavailable { .. } => Self::Store(error),
        }
    }
}

/// An epoch still to read, with the mark of what retention deleted of it; or what is wrong with that mark.
type Epoch = (u32, Result<Option<TrimMark>, StoreError>);

/// A walk over the wanted records of one log.
pub struct Scan {
    store: SharedStore,
    agent: Arc<str>,
    log: Arc<str>,
    selection: Selection,
    /// Those known when it began, which may be other chains' too.
    schemas: Arc<Schemas>,
    /// Those looked up since; `None` is missing.
    newer: HashMap<[u8; 8], Option<Schema>>,
    epochs: VecDeque<Epoch>,
    deleted: Vec<Deleted>,
    /// The epoch being read, and its entries.
    epoch: u32,
    /// Bytes to read ahead.
    room: usize,
    ahead: Ahead,
    /// An entry that is to be looked at again.
    held: Option<Fetched>,
    /// What begins below this is deleted.
    below: u64,
    /// Where the listing of bases goes on; `None` at the chain's end.
    list_from: Option<u64>,
    /// The tip after the entry before; `None` where it is not known.
    before: Option<Tip>,
    left: u64,
    receipts: bool,
}

impl Scan {
    /// Stands before the first wanted record; fails for an unknown log. Comes with a schema that covers all that is wanted.
    pub async fn open(
        store: SharedStore,
        agent: &str,
        log: &str,
        selection: Selection,
    ) -> Result<(Self, Schema), AccountError> {
        let mut epochs: VecDeque<_> = store.log_epochs(agent, log).await?.into();
        if epochs.is_empty() {
            return Err(unknown_log(&*store, agent, log).await);
        }
        epochs.retain(|epoch| selection.epoch.is_none_or(|only| *epoch == only));
        let (schemas, union) = schemas(&*store, agent, log, &epochs).await?;
        Ok((Self::over(store, agent, log, epochs, Arc::new(schemas), selection).await?, union))
    }

    /// Stands before the first wanted record of a chain that is known to be there. Of its schemas those that `schemas` lacks are looked up
    /// when a segment needs them.
    pub async fn of_chain(
        store: SharedStore,
        chain: Chain<'_>,
        schemas: Arc<Schemas>,
        selection: Selection,
    ) -> Result<Self, StoreError> {
        Self::over(store, chain.agent, chain.log, [chain.epoch].into(), schemas, selection).await
    }

    async fn over(
        store: SharedStore,
        agent: &str,
        log: &str,
        epochs: VecDeque<u32>,
        schemas: Arc<Schemas>,
        selection: Selection,
    ) -> Result<Self, StoreError> {
        let marks: Vec<_> = epochs.into_iter().map(|epoch| marked(&*store, Chain { agent, epoch, log })).collect();
        let epochs: VecDeque<_> = stream::iter(marks).buffered(AT_ONCE).try_collect().await?;
        let marks = epochs.iter().filter_map(|(epoch, mark)| Some((*epoch, (*mark.as_ref().ok()?)?)));
        let deleted = marks.filter_map(|(epoch, mark)| deleted(&selection, epoch, &mark)).collect();
        let (agent, log): (Arc<str>, Arc<str>) = (agent.into(), log.into());
        Ok(Self {
            ahead: Ahead::new(SharedStore::clone(&store), Arc::clone(&agent), Arc::clone(&log), 0, AHEAD),
            store,
            agent,
            log,
            selection,
            schemas,
            newer: HashMap::new(),
            epochs,
            deleted,
            epoch: 0,
            room: AHEAD,
            held: None,
            below: 0,
            list_from: None,
            before: None,
            left: selection.limit.unwrap_or(u64::MAX),
            receipts: false,
        })
    }

    /// Gives receipts too.
    pub fn with_receipts(self) -> Self {
        Self { receipts: true, ..self }
    }

    /// Reads no more than about so many bytes ahead: for those who read many chains at once.
    pub fn with_room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// What was selected, and deleted by retention, as far as that is known. It grows when retention is at work meanwhile.
    pub fn deleted(&self) -> &[Deleted] {
        &self.deleted
    }

    /// The next thing, `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        while self.left > 0 {
            let (base, entry) = match self.next_entry().await? {
                Next::Entry(entry) => entry,
                Next::Damaged(damage) => return Ok(Some(Found::Damaged(damage))),
                Next::End => return Ok(None),
            };
            let expected = self.before.map_or(base, |before| before.cursor.next);
            let gone = expected != base || matches!(entry, Ok(None));
            if gone && self.passed(expected).await? {
                self.held = Some((base, entry));
                continue;
            }
            if expected != base {
                // Looked at again with nothing before it.
                self.held = Some((base, entry));
                self.before = None;
                let reason = format!("the entry of offset {expected} is missing");
                return Ok(Some(Found::Damaged(self.damage(expected, reason))));
            }
            let taken = match entry {
                Ok(Some(entry)) => self.take(base, entry).await,
                Ok(None) => Err(Fault::Damaged("it is a folder, or was just removed".into())),
                Err(error) => Err(error.into()),
            };
            match taken {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(Fault::Damaged(reason)) => {
                    self.before = None;
                    return Ok(Some(Found::Damaged(self.damage(base, reason))));
                }
                Err(Fault::Store(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether retention has passed `offset` since this scan looked; then it goes on behind.
    async fn passed(&mut self, offset: u64) -> Result<bool, StoreError> {
        let chain = Chain { agent: &self.agent, epoch: self.epoch, log: &self.log };
        let mark = match mark::newest(&*self.store, chain).await {
            Ok(Some(mark)) if mark.below() > offset => mark,
            Ok(_) | Err(StoreError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.deleted.retain(|deleted| deleted.epoch != self.epoch);
        self.deleted.extend(deleted(&self.selection, self.epoch, &mark));
        self.before = Some(mark.tip);
        self.below = mark.below();
        Ok(true)
    }

    /// What is missing at the end of the epoch that was read: an epoch that has ended closes all its chains.
    async fn missing_end(&mut self) -> Result<Option<Damage>, StoreError> {
        let Some(tip) = self.before.take().filter(|tip| !tip.closed && self.epoch > 0) else { return Ok(None) };
        if !self.store.is_closed(&self.agent, self.epoch).await? {
            return Ok(None);
        }
        let reason = "it is missing: the epoch has ended, and the log has no closing entry".into();
        Ok(Some(self.damage(tip.cursor.next, reason)))
    }

    async fn next_entry(&mut self) -> Result<Next, StoreError> {
        loop {
            let fetched = match self.held.take() {
                Some(held) => Some(held),
                None => self.ahead.next().await,
            };
            match fetched {
                Some((base, _)) if base < self.below => continue,
                Some(fetched) => return Ok(Next::Entry(fetched)),
                None => {}
            }
            match self.list_from {
                Some(from) => {
                    let chain = Chain { agent: &self.agent, epoch: self.epoch, log: &self.log };
                    let bases = self.store.bases(chain, from, PAGE).await?;
                    self.list_from = bases.last().and_then(|last| last.checked_add(1));
                    self.ahead.extend(bases);
                }
                None => {
                    if let Some(damage) = self.missing_end().await? {
                        return Ok(Next::Damaged(damage));
                    }
                    let Some((epoch, mark)) = self.epochs.pop_front() else { return Ok(Next::End) };
                    if let Some(damage) = self.begin(epoch, mark).await? {
                        return Ok(Next::Damaged(damage));
                    }
                }
            }
        }
    }

    /// Goes to the first entry of an epoch that may be wanted; gives what is wrong with its mark.
    async fn begin(
        &mut self,
        epoch: u32,
        mark: Result<Option<TrimMark>, StoreError>,
    ) -> Result<Option<Damage>, StoreError> {
        self.epoch = epoch;
        let (store, agent, log) = (SharedStore::clone(&self.store), Arc::clone(&self.agent), Arc::clone(&self.log));
        self.ahead = Ahead::new(store, agent, log, epoch, self.room);
        let (mark, damage) = match mark {
            Ok(mark) => (mark, None),
            Err(StoreError::Damaged { name, reason }) => (None, Some(Damage { name, epoch, offset: 0, reason })),
            Err(error) => return Err(error),
        };
        let tip = mark.map(|mark| mark.tip).unwrap_or_default();
        let chain = Chain { agent: &self.agent, epoch, log: &self.log };
        let below = tip.cursor.next;
        self.below = below;
        let from = match self.selection.from_offset.filter(|offset| *offset > below) {
            Some(offset) => self.store.base_at(chain, offset).await?.unwrap_or_default().max(below),
            None => below,
        };
        self.list_from = Some(from);
        // A chain begins at 0, or behind what was deleted; in its middle nothing is known of what comes before.
        self.before = Some(tip).filter(|_| from == below && damage.is_none());
        Ok(damage)
    }

    /// Checks an entry and decodes its wanted records.
    async fn take(&mut self, base: u64, bytes: Bytes) -> Result<Option<Found>, Fault> {
        let entry = Entry::decode(&bytes).map_err(|error| error.to_string())?;
        if entry.base != base {
            return Err(Fault::Damaged(format!("it holds the entry of offset {}", entry.base)));
        }
        let content = entry.content().map_err(|error| error.to_string())?;
        let before = self.before.replace(entry.tip);
        let segment = match content {
            Content::Segment(segment) => segment,
            Content::Receipt(receipt) => {
                let loss = Loss { receipt, received_at: entry.received_at, closes: entry.tip.closed };
                return Ok(self.receipts.then_some(Found::Receipt(loss)));
            }
        };
        let meta = segment.meta;
        if before.is_some_and(|before| link(before.hash, &meta, segment.body) != segment.hash) {
            return Err(Fault::Damaged("its hash does not follow from the entry before it".into()));
        }
        let starts_late = self.selection.from.is_some_and(|from| meta.max_time < from);
        let ends_early = self.selection.to.is_some_and(|to| meta.min_time >= to);
        if starts_late || ends_early || self.selection.from_offset.is_some_and(|from| meta.end() <= from) {
            return Ok(None);
        }
        let schema = self
            .schema(meta.schema.0)
            .await?
            .ok_or_else(|| format!("its schema {} is missing or damaged, or not noted for this log", meta.schema))?;
        let body = bytes.slice_ref(segment.body);
        let batch = unpack(body, meta, schema.clone()).await?;
        let rows = self.wanted(&batch, meta.base);
        if rows.is_empty() {
            return Ok(None);
        }
        let segment = Segment { epoch: self.epoch, base: meta.base, batch, schema, rows };
        Ok(Some(Found::Segment(Box::new(segment))))
    }

    /// A schema of the chain; `None` where it is missing.
    async fn schema(&mut self, fingerprint: [u8; 8]) -> Result<Option<Schema>, Fault> {
        if let Some(known) = self.schemas.get(&fingerprint) {
            return Ok(Some(known.clone()));
        }
        if !self.newer.contains_key(&fingerprint) {
            let found = schemas(&*self.store, &self.agent, &self.log, &[self.epoch].into()).await;
            let (found, _) = found.map_err(|error| match error {
                AccountError::Store(error) => error.into(),
                error => Fault::Damaged(error.to_string()),
            })?;
            self.newer.extend(found.into_iter().map(|(fingerprint, schema)| (fingerprint, Some(schema))));
            self.newer.entry(fingerprint).or_insert(None);
        }
        Ok(self.newer.get(&fingerprint).cloned().flatten())
    }

    /// The runs of rows that the selection wants, counted against its limit.
    fn wanted(&mut self, batch: &RecordBatch, base: u64) -> VecDeque<Range<usize>> {
        let skip = self.selection.from_offset.map_or(0, |from| from.saturating_sub(base));
        let start = usize::try_from(skip).unwrap_or(usize::MAX).min(batch.num_rows());
        let mut runs: VecDeque<Range<usize>> = VecDeque::new();
        let times = batch.columns().first().and_then(|time| time.as_primitive_opt::<TimestampNanosecondType>());
        let (from, to) = (self.selection.from, self.selection.to);
        match times {
            Some(times) if from.is_some() || to.is_some() => {
                for row in start..batch.num_rows().min(times.len()) {
                    let time = times.value(row);
                    if from.is_some_and(|from| time < from) || to.is_some_and(|to| time >= to) {
                        continue;
                    }
                    match runs.back_mut() {
                        Some(run) if run.end == row => run.end += 1,
                        _ => runs.push_back(row..row + 1),
                    }
                }
            }
            _ if start < batch.num_rows() => runs.push_back(start..batch.num_rows()),
            _ => {}
        }
        for run in &mut runs {
            let kept = usize::try_from(self.left).unwrap_or(usize::MAX).min(run.len());
            run.end = run.start + kept;
            self.left -= kept as u64;
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    fn damage(&self, offset: u64, reason: String) -> Damage {
        let chain = Chain { agent: &self.agent, epoch: self.epoch, log: &self.log };
        Damage { name: self.store.entry_name(chain, offset), epoch: self.epoch, offset, reason }
    }
}

/// An epoch's mark. A damaged one is told when its turn comes.
async fn marked(store: &dyn Store, chain: Chain<'_>) -> Result<Epoch, StoreError> {
    match mark::newest(store, chain).await {
        Err(error @ StoreError::Unavailable { .. }) => Err(error),
        other => Ok((chain.epoch, other)),
    }
}

/// What of a selection is below a mark.
fn deleted(selection: &Selection, epoch: u32, mark: &TrimMark) -> Option<Deleted> {
    let below = mark.below();
    let wanted = selection.from_offset.is_none_or(|from| from < below)
        && selection.from.is_none_or(|from| from <= mark.max_time)
        && selection.to.is_none_or(|to| mark.min_time < to);
    wanted.then_some(Deleted { epoch, below })
}

/// Decodes off the async threads: a large segment takes a while.
async fn unpack(body: Bytes, meta: SegmentMeta, schema: Schema) -> Result<RecordBatch, String> {
    let encoding =
        Encoding::from_code(meta.encoding).ok_or_else(|| format!("its encoding {} is unknown here", meta.encoding))?;
    let rows = meta.rows as usize;
    let decoded =
        tokio::task::spawn_blocking(move || decode(&body, &schema, rows, encoding, &DecodeLimits::default())).await;
    match decoded {
        Ok(Ok(batch)) if batch.num_rows() == rows => Ok(batch),
        Ok(Ok(batch)) => Err(format!("it says {rows} rows and has {}", batch.num_rows())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("decoding failed: {error}")),
    }
}

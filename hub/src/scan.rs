//! Reads a log back, segment by segment: one is in memory at a time.
//!
//! Nothing damaged is ever given out as data. An entry must decode, follow from the one before it (offsets and BLAKE3
//! chain), and its body must decode under its schema; else the scan says what is damaged and where.

use std::collections::VecDeque;
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use bytes::Bytes;
use hashbrown::HashMap;
use pyralog_segment::{DecodeLimits, Encoding, Schema, decode};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::frame::{Receipt, SegmentMeta};

use crate::account::{AccountError, unknown_log};
use crate::store::{Chain, SharedStore, Store, StoreError};

/// Names of entries fetched at once.
const PAGE: usize = 4_096;

/// Most columns of one answer. One segment has at most 512; a log may have had others in each epoch.
const MAX_UNION: usize = 4_096;

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

/// Where a scan goes next.
enum Next {
    /// To the entry that begins here.
    Base(u64),
    /// Nowhere yet: this should be there.
    Missing(Damage),
    /// Nowhere.
    End,
}

/// A walk over the wanted records of one log.
pub struct Scan {
    store: SharedStore,
    agent: String,
    log: String,
    selection: Selection,
    schemas: HashMap<[u8; 8], Schema>,
    union: Schema,
    epochs: VecDeque<u32>,
    /// The epoch being read, and its entries still to read.
    epoch: u32,
    bases: VecDeque<u64>,
    /// Where the listing of bases goes on; `None` at the chain's end.
    list_from: Option<u64>,
    /// The tip after the entry before; `None` where it is not known.
    before: Option<Tip>,
    left: u64,
    receipts: bool,
}

impl Scan {
    /// Stands before the first wanted record; fails for an unknown log.
    pub async fn open(store: SharedStore, agent: &str, log: &str, selection: Selection) -> Result<Self, AccountError> {
        let mut epochs: VecDeque<_> = store.log_epochs(agent, log).await?.into();
        if epochs.is_empty() {
            return Err(unknown_log(&*store, agent, log).await);
        }
        epochs.retain(|epoch| selection.epoch.is_none_or(|only| *epoch == only));
        let (schemas, union) = schemas(&*store, agent, log, &epochs).await?;
        Ok(Self {
            store,
            agent: agent.into(),
            log: log.into(),
            selection,
            schemas,
            union,
            epochs,
            epoch: 0,
            bases: VecDeque::new(),
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

    /// A schema that covers every segment of the log.
    pub fn schema(&self) -> &Schema {
        &self.union
    }

    /// The next thing, `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        while self.left > 0 {
            let base = match self.next_base().await? {
                Next::Base(base) => base,
                Next::Missing(damage) => return Ok(Some(Found::Damaged(damage))),
                Next::End => return Ok(None),
            };
            let chain = Chain { agent: &self.agent, epoch: self.epoch, log: &self.log };
            let gap = self.before.filter(|before| before.cursor.next != base);
            if let Some(before) = gap {
                // Looked at again with nothing before it.
                self.bases.push_front(base);
                self.before = None;
                let reason = format!("the entry of offset {} is missing", before.cursor.next);
                return Ok(Some(Found::Damaged(self.damage(before.cursor.next, reason))));
            }
            let taken = match self.store.entry(chain, base).await {
                Ok(Some(entry)) => self.take(base, entry).await,
                Ok(None) => Err("it is a folder, or was just removed".into()),
                Err(StoreError::Damaged { reason, .. }) => Err(reason),
                Err(error) => return Err(error),
            };
            match taken {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(reason) => {
                    self.before = None;
                    return Ok(Some(Found::Damaged(self.damage(base, reason))));
                }
            }
        }
        Ok(None)
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

    async fn next_base(&mut self) -> Result<Next, StoreError> {
        loop {
            if let Some(base) = self.bases.pop_front() {
                return Ok(Next::Base(base));
            }
            match self.list_from {
                Some(from) => {
                    let chain = Chain { agent: &self.agent, epoch: self.epoch, log: &self.log };
                    self.bases = self.store.bases(chain, from, PAGE).await?.into();
                    self.list_from = self.bases.back().and_then(|last| last.checked_add(1));
                }
                None => {
                    if let Some(damage) = self.missing_end().await? {
                        return Ok(Next::Missing(damage));
                    }
                    let Some(epoch) = self.epochs.pop_front() else { return Ok(Next::End) };
                    self.epoch = epoch;
                    let chain = Chain { agent: &self.agent, epoch, log: &self.log };
                    let from = match self.selection.from_offset {
                        Some(offset) => self.store.base_at(chain, offset).await?.unwrap_or_default(),
                        None => 0,
                    };
                    self.list_from = Some(from);
                    // A chain begins at 0; in its middle nothing is known of what comes before.
                    self.before = (from == 0).then(Tip::default);
                }
            }
        }
    }

    /// Checks an entry and decodes its wanted records.
    async fn take(&mut self, base: u64, bytes: Bytes) -> Result<Option<Found>, String> {
        let entry = Entry::decode(&bytes).map_err(|error| error.to_string())?;
        if entry.base != base {
            return Err(format!("it holds the entry of offset {}", entry.base));
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
            return Err("its hash does not follow from the entry before it".into());
        }
        let starts_late = self.selection.from.is_some_and(|from| meta.max_time < from);
        let ends_early = self.selection.to.is_some_and(|to| meta.min_time >= to);
        if starts_late || ends_early || self.selection.from_offset.is_some_and(|from| meta.end() <= from) {
            return Ok(None);
        }
        let fingerprint = meta.schema.0;
        let schema =
            self.schemas.get(&fingerprint).cloned().ok_or_else(|| {
                format!("its schema {} is missing or damaged, or not noted for this log", meta.schema)
            })?;
        let body = bytes.slice_ref(segment.body);
        let batch = unpack(body, meta, schema.clone()).await?;
        let rows = self.wanted(&batch, meta.base);
        if rows.is_empty() {
            return Ok(None);
        }
        let segment = Segment { epoch: self.epoch, base: meta.base, batch, schema, rows };
        Ok(Some(Found::Segment(Box::new(segment))))
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

/// The schemas of some epochs of a log, and one that covers them all.
async fn schemas(
    store: &dyn Store,
    agent: &str,
    log: &str,
    epochs: &VecDeque<u32>,
) -> Result<(HashMap<[u8; 8], Schema>, Schema), AccountError> {
    let (mut known, mut union) = (HashMap::new(), Schema::empty());
    for epoch in epochs {
        let mut newer = Vec::new();
        for fingerprint in store.noted_schemas(Chain { agent, epoch: *epoch, log }).await? {
            if known.contains_key(&fingerprint) {
                continue;
            }
            // What is missing here is reported where a segment needs it.
            let stored = match store.schema(agent, fingerprint).await {
                Err(StoreError::Damaged { .. }) => None,
                other => other?,
            };
            if let Some(bytes) = stored
                && let Ok(schema) = Schema::from_bytes(&bytes)
                && schema.fingerprint() == fingerprint
            {
                newer.push((schema.columns().len(), fingerprint, schema.clone()));
                known.insert(fingerprint, schema);
            }
        }
        // Within an epoch schemas only widen, so the narrow ones came first.
        newer.sort_by_key(|(columns, fingerprint, _)| (*columns, *fingerprint));
        for (_, _, schema) in newer {
            union = union.union(&schema);
            let columns = union.columns().len();
            if columns > MAX_UNION {
                return Err(AccountError::TooWide { log: log.into(), limit: MAX_UNION });
            }
        }
    }
    Ok((known, union))
}

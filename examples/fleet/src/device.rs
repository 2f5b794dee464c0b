//! What a simulated agent holds: one log, whose segments all have the same packed bytes and links of their own.
//!
//! A real ring would cost the machine that plays ten thousand of them more than the hubs under test; what a hub sees is the
//! same: offsets, hashes and bodies that decode.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use bytes::Bytes;
use pyralog_e2e::Result;
use pyralog_segment::{Column, ColumnType, Encoding, Schema, encode};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::{LogHead, SegmentMeta};
use pyralog_sync_protocol::{ChainHash, Cursor, Fingerprint, Item, LogName, Source};

/// Fields of a record.
const FIELDS: usize = 4;

/// What all devices of a fleet send.
#[derive(Debug)]
pub struct Model {
    log: LogName,
    rows: u32,
    schema: Vec<u8>,
    fingerprint: Fingerprint,
    body: Bytes,
    times: (i64, i64),
}

impl Model {
    /// Devices that send segments of `rows` records, a second apart.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn new(rows: u32) -> Result<Self> {
        let columns = (0..FIELDS).map(|field| Column::new(format!("v{field}"), ColumnType::F64)).collect();
        let schema = Schema::new(columns)?;
        let times: Vec<_> = (0..i64::from(rows)).map(|row| 1_790_000_000_000_000_000 + row * 1_000_000_000).collect();
        let mut random = fastrand::Rng::with_seed(7);
        let time: ArrayRef = Arc::new(TimestampNanosecondArray::from(times.clone()).with_timezone("UTC"));
        let mut arrays = vec![time];
        for _ in 0..FIELDS {
            let mut value = 20.0;
            arrays.push(Arc::new(Float64Array::from_iter_values(times.iter().map(|_| {
                value += f64::from(random.i32(-5..=5)) / 10.0;
                (value * 10.0_f64).round() / 10.0
            }))));
        }
        let batch = RecordBatch::try_new(schema.arrow(), arrays)?;
        let mut body = Vec::new();
        encode(&batch, Encoding::Packed, &mut body)?;
        let bounds = times.first().copied().zip(times.last().copied()).ok_or("a segment has at least one record")?;
        Ok(Self {
            log: LogName::new("climate").map_err(|error| error.to_string())?,
            rows,
            schema: schema.to_bytes(),
            fingerprint: Fingerprint(schema.fingerprint()),
            body: body.into(),
            times: bounds,
        })
    }

    /// Bytes of a packed segment.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// The ring of one device.
#[derive(Debug)]
pub struct Device {
    model: Arc<Model>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<(SegmentMeta, ChainHash)>,
    /// Segments' worth of records that are not sealed.
    open: u32,
    sealed: u64,
    hash: ChainHash,
    committed: u64,
}

impl Device {
    /// A device with nothing recorded.
    pub fn new(model: Arc<Model>) -> Self {
        Self { model, state: Mutex::default() }
    }

    /// Takes another segment's worth of readings.
    pub fn record(&self) {
        self.lock().open += 1;
    }

    /// Seals what is open.
    pub fn seal(&self) {
        let mut state = self.lock();
        for _ in 0..std::mem::take(&mut state.open) {
            let (min_time, max_time) = self.model.times;
            let meta = SegmentMeta {
                base: state.sealed,
                rows: self.model.rows,
                min_time,
                max_time,
                encoding: Encoding::Packed.code(),
                schema: self.model.fingerprint,
            };
            state.hash = link(state.hash, &meta, &self.model.body);
            state.sealed = meta.end();
            let hash = state.hash;
            state.segments.push_back((meta, hash));
        }
    }

    /// Records accepted, and records that a hub has.
    pub fn account(&self) -> (u64, u64) {
        let state = self.lock();
        (state.head(self.model.rows), state.committed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn head(&self, rows: u32) -> u64 {
        self.sealed + u64::from(self.open) * u64::from(rows)
    }
}

impl Source for &Device {
    type Body = Bytes;

    fn logs(&self) -> Vec<LogHead> {
        let head = self.lock().head(self.model.rows);
        vec![LogHead { log: self.model.log.clone(), tail: 0, head }]
    }

    fn item(&self, _log: &LogName, offset: u64) -> Option<Item<Bytes>> {
        let state = self.lock();
        let (meta, hash) = state.segments.iter().find(|(meta, _)| meta.base == offset)?;
        Some(Item::Segment { meta: *meta, hash: *hash, body: self.model.body.clone() })
    }

    fn schema(&self, _log: &LogName, _fingerprint: Fingerprint) -> Option<Vec<u8>> {
        Some(self.model.schema.clone())
    }

    fn acknowledged(&self, _log: &LogName, cursor: Cursor) {
        let mut state = self.lock();
        state.committed = cursor.next;
        state.segments.retain(|(meta, _)| meta.base >= cursor.next);
    }

    fn discard(&self, _log: &LogName, _base: u64) {}
}

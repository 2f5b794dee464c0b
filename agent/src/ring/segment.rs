//! A sealed or packed segment of a log.

use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use bytes::Bytes;
use parking_lot::Mutex;
use pyralog_segment::{Encoding, Schema};

use super::budget::Reservation;
use super::open::Open;
use super::schema::SegmentSchema;

/// An immutable run of records in the ring.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) rows: u32,
    /// What it counts in the budget, so that eviction knows what it can gain.
    pub(super) charge: u32,
    /// Bytes of its data when decoded.
    pub(super) raw_bytes: u32,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    /// Order of sealing among all logs: the order in which segments are evicted.
    pub(super) seq: u64,
    pub(super) schema: Arc<SegmentSchema>,
    pub(super) body: Body,
}

/// The two lives of a segment's records.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Waiting to be packed.
    Sealed(Arc<Sealed>),
    /// Packed: the bytes that are shipped. The budget is held by the bytes. The log's hash chain stood at `before`, and goes on
    /// from `hash`.
    Packed { bytes: Bytes, before: [u8; 16], hash: [u8; 16], encoding: Encoding },
}

impl Segment {
    /// The offset after the last record.
    pub(super) fn end(&self) -> u64 {
        self.base + u64::from(self.rows)
    }

    /// The segment for the sender, if it is packed.
    pub(super) fn packed(&self) -> Option<PackedSegment> {
        let Body::Packed { bytes, hash, encoding, .. } = &self.body else { return None };
        Some(PackedSegment {
            base: self.base,
            rows: self.rows,
            min_time: self.min_time,
            max_time: self.max_time,
            encoding: *encoding,
            fingerprint: self.schema.fingerprint,
            schema: Arc::clone(&self.schema.schema),
            hash: *hash,
            body: bytes.clone(),
        })
    }
}

/// A packed segment: what is shipped. Its body stays charged to the memory budget until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct PackedSegment {
    /// Offset of the first record.
    pub base: u64,
    /// Number of records.
    pub rows: u32,
    /// Earliest time, Unix nanoseconds.
    pub min_time: i64,
    /// Latest time, Unix nanoseconds.
    pub max_time: i64,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// Fingerprint of the schema.
    pub fingerprint: [u8; 8],
    /// The schema.
    pub schema: Arc<Schema>,
    /// Value of the log's hash chain after this segment.
    pub hash: [u8; 16],
    /// The encoded records.
    pub body: Bytes,
}

/// A sealed segment. To seal is to move the builders here; the Arrow batch is made of them, without a copy, by the first who
/// wants it, off the ring's lock.
#[derive(Debug)]
pub(super) struct Sealed {
    schema: Arc<SegmentSchema>,
    builders: Mutex<Option<Open>>,
    batch: OnceLock<Option<RecordBatch>>,
    _held: Reservation,
}

impl Sealed {
    pub(super) fn new(mut open: Open, schema: Arc<SegmentSchema>) -> Self {
        let held = open.held.split(u64::MAX);
        Self { schema, builders: Mutex::new(Some(open)), batch: OnceLock::new(), _held: held }
    }

    /// The records; `None` only if the builders broke their own rules.
    pub(super) fn batch(&self) -> Option<&RecordBatch> {
        let make = || {
            let open = self.builders.lock().take()?;
            let batch = open.into_batch(&self.schema.schema);
            batch.inspect_err(|error| tracing::error!(%error, "a sealed segment is not a valid batch")).ok()
        };
        self.batch.get_or_init(make).as_ref()
    }
}

/// Packed bytes that give their budget back when the last reader drops them.
pub(super) struct Charged {
    pub(super) bytes: Box<[u8]>,
    pub(super) _held: Reservation,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

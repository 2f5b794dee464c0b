//! HTTP bodies on their way to the ring: unpacked and decoded as their bytes come, appended piece by piece.
//!
//! What is accepted is in the ring before the answer is sent. A body that breaks off, or whose packing turns out corrupt,
//! leaves the records before the fault in the ring, and the error says how many.

use bytes::Bytes;

use super::body::{BodyError, Coding, Unpacker};
use super::decode::arrow_stream::{ArrowStream, Need, StreamError, StreamOptions};
use super::decode::json::{self, JsonOptions, MAX_GROWTH};
use super::decode::line_protocol::LineProtocol;
use super::decode::ndjson::Ndjson;
use super::decode::time::Precision;
use super::decode::{DecodeError, MAX_LINE, Scratch, Target};
use crate::records::Records;
use crate::ring::{AppendError, Appended, Clock, ColumnBatch, ColumnSlice, Exhausted, Reservation, Ring, Use};

mod lines;

pub use lines::LineBody;

/// Bad lines that a report describes; all are counted.
pub const MAX_ERRORS: usize = 10;

/// Bad lines of one body that are kept raw in `_rejected`, and the bytes kept of each.
const MAX_KEPT: usize = 16;
const MAX_KEPT_BYTES: usize = 1024;

/// Records appended together.
const RUN: usize = 256;

/// What became of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Records in the ring.
    pub accepted: u64,
    /// Lines or records that could not be decoded, or that no log could take.
    pub rejected: u64,
    /// Values for which a log has no column; their records are accepted.
    pub rejected_values: u64,
    /// The first [`MAX_ERRORS`] bad lines.
    pub errors: Vec<DecodeError>,
}

/// Why a body was not taken to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({} records before it were kept)", report.accepted)]
pub struct WriteError {
    /// What happened.
    #[source]
    pub reason: Reason,
    /// What had become of the body by then.
    pub report: WriteReport,
}

/// What ended a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The packing: 400, 413 or 415.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The JSON text: 400.
    #[error(transparent)]
    Json(DecodeError),
    /// The Arrow stream: 400.
    #[error(transparent)]
    Arrow(StreamError),
    /// No memory for the request now: 503, retry.
    #[error(transparent)]
    Memory(#[from] Exhausted),
    /// The ring is full: 503, retry.
    #[error("the ring is full: send the rest again when the hub has taken records, or raise max_memory")]
    Full,
}

/// What all kinds of bodies need: the ring and its time, and the report.
#[derive(Debug)]
struct Door {
    ring: Ring,
    clock: Clock,
    report: WriteReport,
}

impl Door {
    fn append(&mut self, records: &mut Records) -> Result<(), Reason> {
        if records.is_empty() {
            return Ok(());
        }
        let outcome = self.ring.append(records, self.clock.now());
        records.clear();
        self.count(outcome)
    }

    fn count(&mut self, outcome: Result<Appended, AppendError>) -> Result<(), Reason> {
        let (done, result) = match outcome {
            Ok(done) => (done, Ok(())),
            Err(AppendError::Full { done }) => (done, Err(Reason::Full)),
            Err(AppendError::Shape { .. }) => (Appended::default(), Err(Reason::Full)),
        };
        self.report.accepted += done.rows;
        self.report.rejected += done.rejected;
        self.report.rejected_values += done.rejected_cells;
        result
    }

    fn failed(&self, reason: Reason) -> WriteError {
        WriteError { reason, report: self.report.clone() }
    }
}

/// The share of [`Ring::largest`] that decoding one request may take.
fn share(ring: &Ring) -> usize {
    usize::try_from(ring.largest() / 3).unwrap_or(usize::MAX)
}

/// A body that is collected whole, unpacked and charged to the budget while it grows.
#[derive(Debug)]
pub struct WholeBody {
    ring: Ring,
    unpacker: Unpacker,
    bytes: Vec<u8>,
    held: Reservation,
}

impl WholeBody {
    /// A body of at most `limit` bytes, unpacked, and no more than can be decoded in what one request can get. If its length
    /// is known, the room for all of it is taken at once: two that are half there could wait for each other.
    pub fn new(ring: &Ring, coding: Coding, limit: u64, length: Option<u64>) -> Result<Self, Reason> {
        let limit = limit.min(ring.largest() - share(ring) as u64);
        if length.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge { limit }.into());
        }
        let whose = Use::of_request(coding.memory() + length.unwrap_or(limit));
        let held = ring.reserve_for(whose, coding.memory() + length.unwrap_or(0))?;
        let bytes = Vec::with_capacity(length.map_or(0, |length| length as usize));
        Ok(Self { ring: ring.clone(), unpacker: Unpacker::new(coding, limit)?, bytes, held })
    }

    /// Takes the next chunk.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Reason> {
        let Self { ring, unpacker, bytes, held } = self;
        let mut short = None;
        unpacker.feed(chunk, &mut |piece| {
            if short.is_none() {
                short = extend(ring, bytes, held, piece).err();
            }
        })?;
        short.map_or(Ok(()), |short| Err(short.into()))
    }

    /// The whole body, with what it holds of the budget.
    pub fn finish(mut self) -> Result<(Bytes, Reservation), Reason> {
        let Self { ring, unpacker, bytes, held } = &mut self;
        let mut short = None;
        unpacker.finish(&mut |piece| short = extend(ring, bytes, held, piece).err())?;
        match short {
            Some(short) => Err(short.into()),
            None => Ok((Bytes::from(self.bytes), self.held)),
        }
    }
}

/// Grows the buffer by hand, so that it is charged before it is allocated.
fn extend(ring: &Ring, bytes: &mut Vec<u8>, held: &mut Reservation, piece: &[u8]) -> Result<(), Exhausted> {
    if bytes.capacity() - bytes.len() < piece.len() {
        let more = piece.len().max(bytes.capacity() / 2).max(16 * 1024);
        if held.grow(more as u64).is_err() {
            // Growing does not evict; asking the ring does.
            drop(ring.reserve_for(Use::Large, more as u64)?);
            held.grow(more as u64)?;
        }
        bytes.reserve_exact(bytes.capacity() - bytes.len() + more);
    }
    bytes.extend_from_slice(piece);
    Ok(())
}

/// Decodes a JSON object, or an array of objects, into `log`. The records before a fault stay.
pub fn write_json(
    ring: &Ring,
    clock: Clock,
    log: &str,
    options: &JsonOptions,
    body: &[u8],
) -> Result<WriteReport, WriteError> {
    let mut door = Door { ring: ring.clone(), clock, report: WriteReport::default() };
    let limit = (share(ring) / 2).clamp(16 * 1024, 1 << 20).min(body.len().saturating_mul(MAX_GROWTH) + 4_096);
    let held = ring.reserve(2 * limit as u64).map_err(|short| door.failed(short.into()))?;
    let mut records = Records::new();
    let mut stopped = None;
    let target = Target { log: Some(log), tags: &[] };
    let mut flush = |records: &mut Records| {
        if records.len() >= RUN || records.heap_bytes() > limit / 2 {
            stopped = door.append(records).err();
        }
        stopped.is_none()
    };
    let decoded = json::decode_each(body, options, target, &mut records, &mut Scratch::default(), limit, &mut flush);
    let last = stopped.map_or_else(|| door.append(&mut records), Err);
    drop(held);
    last.map_err(|reason| door.failed(reason))?;
    decoded.map_err(|error| door.failed(Reason::Json(error)))?;
    Ok(door.report)
}

/// Appends an Arrow IPC stream to `log`, batch by batch. The batches before a fault stay.
pub fn write_arrow(
    ring: &Ring,
    clock: Clock,
    log: &str,
    options: StreamOptions,
    body: Bytes,
) -> Result<WriteReport, WriteError> {
    let mut door = Door { ring: ring.clone(), clock, report: WriteReport::default() };
    let mut stream = ArrowStream::new(body, options);
    let mut dictionaries = Vec::new();
    loop {
        let mut batch = None;
        let now = clock.now();
        let mut room = |need| match need {
            Need::Batch(bytes) => ring.reserve(bytes).map(|held| batch = Some(held)).is_ok(),
            Need::Dictionary(bytes) => ring.reserve(bytes).map(|held| dictionaries.push(held)).is_ok(),
        };
        let columns = match stream.next_batch(now.unix_ns, &mut room) {
            Ok(Some(columns)) => columns,
            Ok(None) => return Ok(door.report),
            Err(error) => return Err(door.failed(Reason::Arrow(error))),
        };
        let slices: Vec<(&str, ColumnSlice<'_>)> =
            columns.columns.iter().map(|(name, array)| (name.as_str(), ColumnSlice::Array(array))).collect();
        let outcome = ring.append_columns(log, &ColumnBatch { times: &columns.times, columns: &slices }, now);
        door.count(outcome).map_err(|reason| door.failed(reason))?;
        drop(batch);
    }
}

#[cfg(test)]
mod tests;

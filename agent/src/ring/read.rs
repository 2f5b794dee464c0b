//! Reading a log back while it grows and while its tail is evicted.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use pyralog_segment::{DecodeError, DecodeLimits, Schema, decode};
use thiserror::Error;

use super::budget::{Exhausted, Reservation};
use super::ring::Ring;
use super::schema::SegmentSchema;
use super::segment::{Body, Sealed};
use super::state::State;

/// Which records to read; by default all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadRange {
    /// First offset; records that are gone already are skipped.
    pub from_offset: Option<u64>,
    /// Earliest time, Unix nanoseconds.
    pub from_time: Option<i64>,
    /// Time before which records must lie, Unix nanoseconds.
    pub to_time: Option<i64>,
    /// Most records.
    pub limit: Option<u64>,
}

/// A run of consecutive records. It keeps their memory, and the budget for it, until it is dropped.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Offset of row 0 of the batch.
    pub base: u64,
    /// The batch; only `rows` of it were asked for.
    pub batch: RecordBatch,
    /// The rows asked for, never empty.
    pub rows: Range<usize>,
    /// Schema of the batch.
    pub schema: Arc<Schema>,
    _keep: Arc<Keep>,
}

/// Why a read cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is no memory for the next segment. The reader stays where it is: retry.
    #[error(transparent)]
    Memory(#[from] Exhausted),
    /// A segment in memory cannot be decoded.
    #[error("the segment at offset {base} is damaged in memory ({error}); read on from offset {next}")]
    Damaged {
        /// Its first offset.
        base: u64,
        /// The offset after it.
        next: u64,
        /// What the decoder said.
        error: String,
    },
}

/// Reads a log in order of offsets, up to the head that it had when the reader was made.
///
/// Between calls it holds at most one segment, so a slow reader does not stop eviction: what was evicted meanwhile is
/// skipped, and shows as a gap between chunks.
#[derive(Debug)]
pub struct Reader {
    ring: Ring,
    log: usize,
    next: u64,
    end: u64,
    left: u64,
    times: Range<i64>,
    /// Whether `times` leaves anything out; a full range would miss the very last nanosecond.
    timed: bool,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    base: u64,
    at: usize,
    end: usize,
    batch: RecordBatch,
    schema: Arc<Schema>,
    keep: Arc<Keep>,
}

/// What a chunk keeps alive.
#[derive(Debug)]
enum Keep {
    Sealed(#[expect(dead_code, reason = "held, not read")] Arc<Sealed>),
    Decoded(#[expect(dead_code, reason = "held, not read")] Reservation),
}

/// What a look at the ring found.
enum Found {
    Segment { base: u64, rows: u32, raw_bytes: u32, schema: Arc<SegmentSchema>, body: Body },
    Open { base: u64, span: Range<usize>, bytes: usize },
    Nothing,
}

/// About the bytes of an open segment that are copied under the lock at a time: some ten microseconds of work.
const OPEN_COPY: usize = 64 << 10;

impl Reader {
    pub(super) fn new(ring: Ring, name: &str, range: ReadRange) -> Option<Self> {
        let (log, end) = {
            let state = ring.shared.state.lock();
            let at = state.find_log(name)?;
            (at, state.logs[at].head)
        };
        Some(Self {
            ring,
            log,
            next: range.from_offset.unwrap_or(0),
            end,
            left: range.limit.unwrap_or(u64::MAX),
            times: range.from_time.unwrap_or(i64::MIN)..range.to_time.unwrap_or(i64::MAX),
            timed: range.from_time.is_some() || range.to_time.is_some(),
            current: None,
        })
    }

    /// The offset where the next call goes on, for a reader to be resumed later by `from_offset`.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// The next run of records, `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ReadError> {
        while self.left > 0 {
            if self.current.is_none() && !self.load()? {
                return Ok(None);
            }
            if let Some(chunk) = self.next_run() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// The next run of rows in the current segment whose times are asked for; without one, forgets the segment.
    fn next_run(&mut self) -> Option<Chunk> {
        let current = self.current.as_mut()?;
        let mut rows = current.at..current.end;
        if self.timed {
            let times = current.batch.column(0).as_primitive_opt::<TimestampNanosecondType>()?.values();
            let wanted = |row: &usize| in_time(&self.times, times[*row]);
            rows.start = rows.clone().find(wanted).unwrap_or(rows.end);
            rows.end = rows.clone().find(|row| !wanted(row)).unwrap_or(rows.end);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        rows.end = rows.end.min(rows.start.saturating_add(most));
        current.at = rows.end;
        self.next = current.base + rows.end as u64;
        self.left -= rows.len() as u64;
        let chunk = (!rows.is_empty()).then(|| Chunk {
            base: current.base,
            batch: current.batch.clone(),
            rows,
            schema: Arc::clone(&current.schema),
            _keep: Arc::clone(&current.keep),
        });
        if current.at == current.end || chunk.is_none() {
            self.next = current.base + current.end as u64;
            self.current = None;
        }
        chunk
    }

    /// Loads the segment that holds the next record, or the next one behind a gap; false at the end.
    fn load(&mut self) -> Result<bool, ReadError> {
        while self.next < self.end {
            let found = self.ring.shared.state.lock().look(self);
            match found {
                Found::Nothing => return Ok(false),
                Found::Segment { base, rows, raw_bytes, schema, body } => {
                    let (batch, keep) = self.batch_of(base, rows, raw_bytes, &schema, body)?;
                    let end = self.end.min(base + u64::from(rows)) - base;
                    self.enter(base, 0, end as usize, batch, &schema.schema, keep);
                    return Ok(true);
                }
                Found::Open { base, span, bytes } => {
                    // The lock is given up for the reservation, which may evict; the segment may be sealed meanwhile.
                    let mut held = self.ring.reserve(bytes as u64)?;
                    let copied = self.ring.shared.state.lock().copy_open(self.log, base, span.clone());
                    if let Some((batch, schema)) = copied {
                        held.shrink_to(batch.get_array_memory_size() as u64);
                        let first = base + span.start as u64;
                        self.enter(first, 0, span.len(), batch, &schema, Keep::Decoded(held));
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn enter(&mut self, base: u64, at: usize, end: usize, batch: RecordBatch, schema: &Arc<Schema>, keep: Keep) {
        let at = at.max(self.next.saturating_sub(base) as usize);
        self.next = base + at as u64;
        self.current = Some(Current { base, at, end, batch, schema: Arc::clone(schema), keep: Arc::new(keep) });
    }

    /// The batch of a segment, decoded within the budget if it is packed.
    fn batch_of(
        &mut self,
        base: u64,
        rows: u32,
        raw: u32,
        schema: &SegmentSchema,
        body: Body,
    ) -> Result<(RecordBatch, Keep), ReadError> {
        let next = base + u64::from(rows);
        let damaged = |error: String| ReadError::Damaged { base, next, error };
        match body {
            Body::Sealed(sealed) => {
                let batch = sealed.batch().cloned().ok_or_else(|| damaged("its builders are broken".to_owned()));
                if batch.is_err() {
                    self.next = next;
                }
                Ok((batch?, Keep::Sealed(sealed)))
            }
            Body::Packed { bytes, encoding, .. } => {
                // Decoders need scratch beside the result: mostly tens of KiB, with the widest tables close to a MiB, whatever
                // the size of the segment.
                let guess = raw as usize * 2 + schema.schema.columns().len() * 512 + (16 << 10);
                let mut decoded = Err(DecodeError::TooLarge { max_bytes: 0 });
                let mut held = self.ring.reserve(0)?;
                // Mostly the result is what was raw, and a little scratch.
                let least = raw as usize + raw as usize / 4 + schema.schema.columns().len() * 512 + (64 << 10);
                for max_bytes in [least, guess + (96 << 10), guess + (256 << 10), guess * 2 + (1 << 20)] {
                    if matches!(decoded, Err(DecodeError::TooLarge { .. })) {
                        // What the last try held goes first: under a small cap there is no room for both.
                        held.shrink_to(0);
                        held = self.ring.reserve(max_bytes as u64)?;
                        decoded = decode(&bytes, &schema.schema, rows as usize, encoding, &DecodeLimits { max_bytes });
                    }
                }
                if decoded.is_err() {
                    self.next = next;
                }
                let batch = decoded.map_err(|error| damaged(error.to_string()))?;
                held.shrink_to(batch.get_array_memory_size() as u64);
                Ok((batch, Keep::Decoded(held)))
            }
        }
    }
}

impl State {
    /// Finds the first segment at or after the reader's offset, before its end, that has times it asks for.
    fn look(&self, reader: &Reader) -> Found {
        let Some(log) = self.logs.get(reader.log) else { return Found::Nothing };
        let wanted = |min: i64, max: i64| !reader.timed || (max >= reader.times.start && min < reader.times.end);
        for segment in log.segments.range(log.position(reader.next)..) {
            if segment.base >= reader.end {
                return Found::Nothing;
            }
            if wanted(segment.min_time, segment.max_time) {
                return Found::Segment {
                    base: segment.base,
                    rows: segment.rows,
                    raw_bytes: segment.raw_bytes,
                    schema: Arc::clone(&segment.schema),
                    body: segment.body.clone(),
                };
            }
        }
        let Some(open) = &log.open else { return Found::Nothing };
        let (start, end) = (reader.next.max(open.base), reader.end.min(open.end()));
        if start >= end || !wanted(open.min_time, open.max_time) {
            return Found::Nothing;
        }
        let (start, end) = ((start - open.base) as usize, (end - open.base) as usize);
        let (end, bytes) = open.copy_span(start, end, OPEN_COPY);
        Found::Open { base: open.base, span: start..end, bytes }
    }

    /// Copies rows of the open segment if it still begins at `base`.
    fn copy_open(&mut self, at: usize, base: u64, span: Range<usize>) -> Option<(RecordBatch, Arc<Schema>)> {
        let log = self.logs.get_mut(at)?;
        let open = log.open.as_ref().filter(|open| open.base == base && open.rows >= span.end)?;
        let schema = log.schema.publish(&self.budget);
        let batch = open.copy(span.start, span.end, &schema.schema);
        let batch = batch.inspect_err(|error| tracing::error!(%error, "an open segment is not a valid batch")).ok()?;
        Some((batch, Arc::clone(&schema.schema)))
    }
}

fn in_time(times: &Range<i64>, time: i64) -> bool {
    times.contains(&time)
}

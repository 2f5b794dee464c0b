//! Bodies of lines: line protocol and NDJSON, of any length.

use super::{
    BodyError, Clock, Coding, DecodeError, Door, JsonOptions, LineProtocol, MAX_ERRORS, MAX_GROWTH, MAX_KEPT,
    MAX_KEPT_BYTES, MAX_LINE, Ndjson, Precision, Reason, Records, Reservation, Ring, Target, Unpacker, Use, WriteError,
    WriteReport,
};

/// Most bytes decoded before their records are appended.
const PIECE: usize = 8 * 1024;

/// Bytes that records may take for one byte of a line, in a buffer that doubles when it grows.
const GROWTH: usize = 2 * MAX_GROWTH;

/// A body of line protocol or NDJSON.
///
/// Feed it the chunks of the request in order, then finish it. After an error nothing more is taken; the error holds the
/// report so far.
#[derive(Debug)]
pub struct LineBody {
    unpacker: Unpacker,
    taker: Taker,
    _held: Reservation,
}

/// Everything behind the unpacker.
#[derive(Debug)]
struct Taker {
    door: Door,
    decoder: Decoder,
    records: Records,
    /// Where records go, if lines do not say so themselves.
    log: Option<String>,
    origin: String,
    kept: usize,
    /// Bytes decoded before their records are appended.
    piece: usize,
    /// For a line longer than a piece.
    extra: Option<Reservation>,
    failed: Option<Reason>,
}

#[derive(Debug)]
enum Decoder {
    Lines(LineProtocol),
    Ndjson(Ndjson),
}

impl LineBody {
    /// A body of line protocol: each measurement is its log. `limit` bounds the unpacked body; `origin` names the request
    /// beside what is kept in `_rejected` (such as `POST /write`).
    pub fn line_protocol(
        ring: &Ring,
        clock: Clock,
        precision: Precision,
        coding: Coding,
        limit: u64,
        origin: &str,
    ) -> Result<Self, Reason> {
        let decoder = Decoder::Lines(LineProtocol::with_max_line(precision, max_line(ring)));
        Self::new(ring, clock, decoder, None, coding, limit, origin)
    }

    /// A body of NDJSON for one log.
    pub fn ndjson(
        ring: &Ring,
        clock: Clock,
        log: &str,
        options: JsonOptions,
        coding: Coding,
        limit: u64,
        origin: &str,
    ) -> Result<Self, Reason> {
        let decoder = Decoder::Ndjson(Ndjson::with_max_line(options, max_line(ring)));
        Self::new(ring, clock, decoder, Some(log.to_owned()), coding, limit, origin)
    }

    fn new(
        ring: &Ring,
        clock: Clock,
        decoder: Decoder,
        log: Option<String>,
        coding: Coding,
        limit: u64,
        origin: &str,
    ) -> Result<Self, Reason> {
        // A short body takes little, and finds it also when larger ones have taken their part.
        let piece = piece(ring);
        let base = coding.memory() + limit.min(piece as u64) * (GROWTH as u64 + 1);
        let held = ring.reserve_for(Use::of_request(base), base)?;
        let unpacker = Unpacker::new(coding, limit)?;
        let door = Door { ring: ring.clone(), clock, report: WriteReport::default() };
        let taker = Taker {
            door,
            decoder,
            records: Records::new(),
            log,
            origin: origin.to_owned(),
            kept: 0,
            piece,
            extra: None,
            failed: None,
        };
        Ok(Self { unpacker, taker, _held: held })
    }

    /// Takes the next chunk of the body; the records of its complete lines are in the ring when it returns.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), WriteError> {
        let Self { unpacker, taker, .. } = self;
        // Small chunks, so that a packed body stops being unpacked soon after the ring has refused.
        for part in chunk.chunks(PIECE) {
            let unpacked = unpacker.feed(part, &mut |bytes| taker.take(bytes));
            taker.outcome(unpacked)?;
        }
        Ok(())
    }

    /// The body has ended.
    pub fn finish(mut self) -> Result<WriteReport, WriteError> {
        let Self { unpacker, taker, .. } = &mut self;
        let unpacked = unpacker.finish(&mut |bytes| taker.take(bytes));
        taker.outcome(unpacked)?;
        taker.finish();
        taker.outcome(Ok(()))?;
        Ok(self.taker.door.report)
    }

    /// What has become of the body so far.
    pub fn report(&self) -> &WriteReport {
        &self.taker.door.report
    }
}

impl Taker {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            if self.failed.is_some() {
                return;
            }
            self.failed = self.piece(piece).err();
        }
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), Reason> {
        let carried = self.decoder.heap_bytes();
        if carried > self.piece {
            // A long line: charge what it may become before it does.
            let needed = ((carried + piece.len()) * (GROWTH + 1)) as u64;
            if self.extra.as_ref().is_none_or(|held| held.bytes() < needed) {
                self.extra = None;
                self.extra = Some(self.door.ring.reserve(needed)?);
            }
        }
        self.decode(Some(piece));
        self.door.append(&mut self.records)?;
        self.records.shrink_to(self.piece * GROWTH);
        Ok(())
    }

    fn finish(&mut self) {
        if self.failed.is_none() {
            self.decode(None);
            self.failed = self.door.append(&mut self.records).err();
        }
    }

    fn decode(&mut self, piece: Option<&[u8]>) {
        let Self { door, decoder, records, log, origin, kept, .. } = self;
        let target = Target { log: log.as_deref(), tags: &[] };
        let mut bad = |error: DecodeError, line: &[u8]| {
            door.report.rejected += 1;
            if *kept < MAX_KEPT {
                *kept += 1;
                let line = line.get(..MAX_KEPT_BYTES).unwrap_or(line);
                door.ring.reject(origin, &error.to_string(), line, door.clock.now());
            }
            if door.report.errors.len() < MAX_ERRORS {
                door.report.errors.push(error);
            }
        };
        match (decoder, piece) {
            (Decoder::Lines(lines), Some(piece)) => lines.feed(piece, target, records, &mut bad),
            (Decoder::Lines(lines), None) => lines.finish(target, records, &mut bad),
            (Decoder::Ndjson(lines), Some(piece)) => lines.feed(piece, target, records, &mut bad),
            (Decoder::Ndjson(lines), None) => lines.finish(target, records, &mut bad),
        }
    }

    /// What the taker met comes first: it may be why the unpacker was stopped.
    fn outcome(&mut self, unpacked: Result<(), BodyError>) -> Result<(), WriteError> {
        if let Some(reason) = &self.failed {
            return Err(self.door.failed(reason.clone()));
        }
        if let Err(error) = unpacked {
            // The lines that came complete before the fault are good; the one that it cut is not.
            return Err(self.door.failed(error.into()));
        }
        Ok(())
    }
}

impl Decoder {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.heap_bytes(),
            Self::Ndjson(lines) => lines.heap_bytes(),
        }
    }
}

/// Bytes decoded at a time: four requests find room together.
fn piece(ring: &Ring) -> usize {
    (most_at_once(ring) / 4).clamp(1024, PIECE)
}

/// The longest line whose records fit what all requests can get, among a few.
fn max_line(ring: &Ring) -> usize {
    let all = usize::try_from(ring.budget().cap() / 8 * 3).unwrap_or(usize::MAX);
    (all / (2 * GROWTH)).clamp(PIECE, MAX_LINE)
}

/// Bytes whose records would fill all that one request can get.
fn most_at_once(ring: &Ring) -> usize {
    usize::try_from(ring.largest()).unwrap_or(usize::MAX) / (GROWTH + 1)
}

//! From pieces of a body to records in the ring, within a small buffer, with an account of what went wrong.

use super::Api;
use super::error::ApiError;
use crate::ingest::decode::{BadLines, DecodeError};
use crate::records::Records;
use crate::ring::{AppendError, Exhausted, Reservation};

/// Bytes decoded at a time. Records are several times larger than their text, so this bounds a request's memory.
const PART: usize = 16 << 10;
/// Bytes of records per byte of text at worst: the shortest line is a few bytes, its record a few dozen, in vectors that
/// double.
const RECORDS_PER_BYTE: u64 = 24;
const LEAST_HELD: u64 = 8 << 10;

/// Decodes parts of a body and appends what they hold.
pub(super) struct Appender<'a> {
    api: &'a Api,
    /// What `_rejected` names as the source.
    source: &'a str,
    records: Records,
    held: Option<Reservation>,
    tally: Tally,
}

/// What became of a body so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Records in the ring.
    pub(super) stored: u64,
    /// Records and cells that the ring kept in `_rejected`.
    pub(super) refused: u64,
    bad: u64,
    first_bad: Option<DecodeError>,
}

impl Tally {
    /// Itself, if all went well.
    ///
    /// # Errors
    /// 400 with the first bad line, or with what the ring had no place for.
    pub(super) fn checked(self) -> Result<Self, ApiError> {
        let Self { stored, refused, bad, .. } = self;
        let kept = format!("{stored} good records were stored, the rest is in the log _rejected");
        if let Some(error) = &self.first_bad {
            let others = if bad > 1 { format!(" ({} more bad lines follow)", bad - 1) } else { String::new() };
            let message = format!("partial write: {error}{others}; {kept}");
            return Err(ApiError { line: Some(error.line), ..ApiError::bad(message) });
        }
        if refused > 0 {
            return Err(ApiError::bad(format!(
                "partial write: {refused} records or fields have no place in their log (a name over 255 bytes, or beyond \
                 storage.max_logs or storage.max_columns); {kept}"
            )));
        }
        Ok(self)
    }
}

impl<'a> Appender<'a> {
    pub(super) fn new(api: &'a Api, source: &'a str) -> Self {
        Self { api, source, records: Records::new(), held: None, tally: Tally::default() }
    }

    /// Decodes `piece` in parts with `feed` and appends the records of each.
    ///
    /// # Errors
    /// 503 when the ring or its budget is full; what was stored before is in the ring, and the message says how much.
    pub(super) fn decode(
        &mut self,
        piece: &[u8],
        mut feed: impl FnMut(&[u8], &mut Records, &mut dyn BadLines),
    ) -> Result<(), ApiError> {
        piece.chunks(PART).try_for_each(|part| {
            self.hold(part.len()).map_err(ApiError::from)?;
            self.take(|records, bad| feed(part, records, bad))
        })
    }

    /// Takes what a decoder still held at the end of the body.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(super) fn last(&mut self, finish: impl FnOnce(&mut Records, &mut dyn BadLines)) -> Result<(), ApiError> {
        self.hold(0).map_err(ApiError::from)?;
        self.take(finish)
    }

    /// The account at the end of the body.
    ///
    /// # Errors
    /// 400 with the first bad line, when there was one.
    pub(super) fn outcome(self) -> Result<Tally, ApiError> {
        self.tally.checked()
    }

    fn hold(&mut self, part: usize) -> Result<(), Exhausted> {
        let needed = (part as u64 * RECORDS_PER_BYTE).max(LEAST_HELD);
        if self.held.as_ref().is_none_or(|held| held.bytes() < needed) {
            self.held = None;
            self.held = Some(self.api.ring.reserve(needed)?);
        }
        Ok(())
    }

    fn take(&mut self, decode: impl FnOnce(&mut Records, &mut dyn BadLines)) -> Result<(), ApiError> {
        let Self { api, source, records, tally, .. } = self;
        records.clear();
        let now = api.clock.now();
        let bad_before = tally.bad;
        let mut bad = |error: DecodeError, line: &[u8]| {
            api.ring.reject(source, &error.to_string(), line, now);
            tally.bad += 1;
            tally.first_bad.get_or_insert(error);
        };
        decode(records, &mut bad);
        api.counters.bad_lines(tally.bad - bad_before);
        if records.is_empty() {
            return Ok(());
        }
        match api.ring.append(records, now) {
            Ok(done) => {
                tally.stored += done.rows;
                tally.refused += done.rejected + done.rejected_cells;
                Ok(())
            }
            Err(AppendError::Full { done }) => {
                tally.stored += done.rows;
                Err(AppendError::Full { done: crate::ring::Appended { rows: tally.stored, ..done } }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

//! The frames that give a batch its shape: a [`BatchHead`], then per log a [`LogHead`] and the log's schemas, segments and
//! receipts, in the order of their offsets.
//!
//! ```text
//! batch head: header = incarnation 16 bytes | epoch varint
//! log:        header = name: length varint, UTF-8 | tail varint | head - tail varint
//! schema:     header = fingerprint 8 bytes; body = the encoded schema
//! ```

use super::{Frame, FrameError, Kind, message, put_frame};
use crate::ids::{Epoch, Fingerprint, Incarnation, LogName};
use crate::limits::{MAX_LOG_NAME, MAX_SCHEMA};
use crate::wire::{Reader, WireError, put_bytes, put_varint};
use alloc::vec::Vec;

/// Whose batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchHead {
    /// The lifetime of the ring's contents.
    pub incarnation: Incarnation,
    /// The epoch that the hub gave it.
    pub epoch: Epoch,
}

impl BatchHead {
    /// A message that begins with this head; further frames are appended to it.
    pub fn begin(&self) -> Vec<u8> {
        let mut out = message();
        self.put(&mut out);
        out
    }

    fn put(&self, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(21);
        header.extend_from_slice(&self.incarnation.0);
        put_varint(&mut header, u64::from(self.epoch.0));
        put_frame(out, Kind::BatchHead, 0, &header, &[]);
    }

    /// Reads the head out of its frame.
    pub fn read(frame: &Frame<'_>) -> Result<Self, FrameError> {
        if frame.kind != Kind::BatchHead {
            return Err(FrameError::Unexpected { found: frame.kind, expected: "the head of a batch" });
        }
        let mut header = Reader::new("batch head", frame.header);
        let incarnation = Incarnation(header.array()?);
        let epoch = Epoch(header.length(u32::MAX as usize)? as u32);
        header.finish()?;
        Reader::new("batch head", frame.body).finish()?;
        Ok(Self { incarnation, epoch })
    }
}

/// A log and what the ring holds of it: offsets `[tail, head)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogHead {
    /// The log.
    pub log: LogName,
    /// The lowest offset in the ring.
    pub tail: u64,
    /// The next offset to be assigned; not below `tail`.
    pub head: u64,
}

impl LogHead {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.log.as_str().as_bytes());
        put_varint(out, self.tail);
        put_varint(out, self.head.saturating_sub(self.tail));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let log = LogName::new(reader.text(MAX_LOG_NAME)?).map_err(|_| reader.invalid())?;
        let tail = reader.varint()?;
        let head = tail.checked_add(reader.varint()?).ok_or_else(|| reader.invalid())?;
        Ok(Self { log, tail, head })
    }

    /// Appends the frame.
    pub fn put_frame(&self, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(MAX_LOG_NAME + 22);
        self.put(&mut header);
        put_frame(out, Kind::Log, 0, &header, &[]);
    }

    /// Reads the frame.
    pub fn read_frame(frame: &Frame<'_>) -> Result<Self, FrameError> {
        let mut header = Reader::new("log frame", frame.header);
        let log = Self::read(&mut header)?;
        header.finish()?;
        Reader::new("log frame", frame.body).finish()?;
        Ok(log)
    }
}

/// Appends the frame of an encoded schema.
pub fn put_schema(out: &mut Vec<u8>, fingerprint: Fingerprint, schema: &[u8]) {
    put_frame(out, Kind::Schema, 0, &fingerprint.0, schema);
}

/// Reads a schema frame; the fingerprint is checked against the bytes.
pub fn read_schema<'a>(frame: &Frame<'a>) -> Result<(Fingerprint, &'a [u8]), FrameError> {
    let mut header = Reader::new("schema frame", frame.header);
    let fingerprint = Fingerprint(header.array()?);
    if frame.body.len() > MAX_SCHEMA {
        let (len, limit) = (frame.body.len() as u64, MAX_SCHEMA as u64);
        return Err(WireError::TooLong { what: "schema", len, limit }.into());
    }
    if Fingerprint::of(frame.body) != fingerprint {
        return Err(header.invalid().into());
    }
    header.finish()?;
    Ok((fingerprint, frame.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frames;
    use crate::frame::testing::check_message;

    fn one<T>(bytes: &[u8], read: impl Fn(&Frame<'_>) -> Result<T, FrameError>) -> Result<T, FrameError> {
        let mut frames = Frames::new(bytes)?;
        let frame = frames.next_frame()?.ok_or(WireError::Truncated { what: "test", at: 0, missing: 1 })?;
        let value = read(&frame)?;
        frames.next_frame()?.map_or(Ok(value), |f| Err(FrameError::Unexpected { found: f.kind, expected: "the end" }))
    }

    #[test]
    fn batch_and_log_heads_come_back_and_survive_no_damage() {
        let head = BatchHead { incarnation: Incarnation([1; 16]), epoch: Epoch(70_000) };
        check_message(&head, &head.begin(), |bytes| one(bytes, BatchHead::read));
        let log = LogHead { log: LogName::new("vibration").unwrap(), tail: 1 << 40, head: (1 << 40) + 5 };
        let mut bytes = message();
        log.put_frame(&mut bytes);
        check_message(&log, &bytes, |bytes| one(bytes, LogHead::read_frame));
    }

    #[test]
    fn a_schema_whose_fingerprint_is_not_its_own_is_refused() {
        let mut good = message();
        put_schema(&mut good, Fingerprint::of(b"schema"), b"schema");
        let read = |frame: &Frame<'_>| read_schema(frame).map(|(print, body)| (print, body.to_vec()));
        check_message(&(Fingerprint::of(b"schema"), b"schema".to_vec()), &good, |bytes| one(bytes, read));
        let mut bad = message();
        put_schema(&mut bad, Fingerprint([9; 8]), b"schema");
        assert!(one(&bad, read).is_err());
    }

    #[test]
    fn the_bytes_of_batch_and_log_frames_are_these() {
        let mut bytes = BatchHead { incarnation: Incarnation(*b"0123456789abcdef"), epoch: Epoch(300) }.begin();
        assert_eq!(&bytes[..26], b"PYR1\x03\x00\x12\x000123456789abcdef\xac\x02");
        bytes.clear();
        LogHead { log: LogName::new("ab").unwrap(), tail: 2, head: 5 }.put_frame(&mut bytes);
        assert_eq!(&bytes[..9], b"\x04\x00\x05\x00\x02ab\x02\x03");
        bytes.clear();
        put_schema(&mut bytes, Fingerprint(*b"print--8"), b"xy");
        assert_eq!(&bytes[..14], b"\x05\x00\x08\x02print--8xy");
    }
}

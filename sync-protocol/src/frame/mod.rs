//! Frames: what the two sides send each other.
//!
//! ```text
//! message = magic "PYR1" | frame …
//! frame   = kind u8 | flags u8 | header length varint | body length varint | header | body | CRC32C u32, little-endian
//! ```
//! The checksum (Castagnoli, RFC 3720 appendix B.4) covers everything of the frame before it. Each kind lists the flags it
//! knows; a kind or flag that the reader does not know is an error, never skipped.

mod ack;
mod batch;
mod hello;
mod refusal;
mod segment;

pub use ack::{BatchAck, HelloAck};
pub use batch::{BatchHead, LogHead, put_schema, read_schema};
pub use hello::Hello;
pub use refusal::{Refusal, RefusalKind};
pub use segment::{Reason, Receipt, SegmentFrame, SegmentMeta};

use crate::limits::{MAX_FRAME_BODY, MAX_FRAME_HEADER};
use crate::wire::{Reader, WireError, put_varint};
use alloc::vec::Vec;

/// The first bytes of every message; the digit is the version of the format.
pub const MAGIC: [u8; 4] = *b"PYR1";

/// The content type of a message over HTTP.
pub const CONTENT_TYPE: &str = "application/vnd.pyralog.sync";

static CASTAGNOLI: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// CRC32C of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    CASTAGNOLI.checksum(bytes)
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An agent introduces itself: [`Hello`].
    Hello = 1,
    /// The hub's answer to a hello: [`HelloAck`].
    HelloAck = 2,
    /// The first frame of a batch: [`BatchHead`].
    BatchHead = 3,
    /// Names the log of the frames that follow: [`LogHead`].
    Log = 4,
    /// A schema, by its fingerprint.
    Schema = 5,
    /// A segment: [`SegmentFrame`].
    Segment = 6,
    /// A receipt: [`Receipt`].
    Receipt = 7,
    /// The hub's answer to a batch that it took: [`BatchAck`].
    BatchAck = 8,
    /// The hub's answer to what it did not take: [`Refusal`].
    Refusal = 9,
}

impl Kind {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Hello,
        Self::HelloAck,
        Self::BatchHead,
        Self::Log,
        Self::Schema,
        Self::Segment,
        Self::Receipt,
        Self::BatchAck,
        Self::Refusal,
    ];

    /// The flags that frames of this kind may set.
    pub fn known_flags(self) -> u8 {
        match self {
            // The encoding of the body.
            Self::Segment => 0b0000_0011,
            // The reason.
            Self::Receipt => 0b0000_0011,
            _ => 0,
        }
    }
}

/// Why bytes are not a message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The message does not begin with the magic bytes of a version that this side speaks.
    #[error("the message does not begin with PYR1: the other side is no Pyralog, or of another version")]
    Magic,
    /// A kind that this version does not know.
    #[error("frame kind {0} is unknown to this version: update the side that reads")]
    UnknownKind(u8),
    /// A flag that this version does not know.
    #[error("flags {flags:#04x} of a {kind:?} frame are unknown to this version: update the side that reads")]
    UnknownFlags {
        /// Kind of the frame.
        kind: Kind,
        /// The unknown bits.
        flags: u8,
    },
    /// The checksum does not match: bytes were damaged on the way or at rest.
    #[error("the checksum of a {kind:?} frame does not match: bytes were damaged")]
    Checksum {
        /// Kind of the frame.
        kind: Kind,
    },
    /// A frame stands where another kind belongs.
    #[error("a {found:?} frame where {expected} belongs")]
    Unexpected {
        /// What was found.
        found: Kind,
        /// What belongs there.
        expected: &'static str,
    },
    /// A value inside is wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// One frame inside a message. `raw` is the whole frame as it was received, checksum included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Kind-specific bits, all of them known.
    pub flags: u8,
    /// The small, fixed part.
    pub header: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
    /// Every byte of the frame.
    pub raw: &'a [u8],
}

/// Appends a frame to `out`. Header and body must be within the caps, which every caller's own caps guarantee.
pub fn put_frame(out: &mut Vec<u8>, kind: Kind, flags: u8, header: &[u8], body: &[u8]) {
    debug_assert!(header.len() <= MAX_FRAME_HEADER && body.len() <= MAX_FRAME_BODY);
    debug_assert_eq!(flags & !kind.known_flags(), 0);
    let start = out.len();
    out.push(kind as u8);
    out.push(flags);
    put_varint(out, header.len() as u64);
    put_varint(out, body.len() as u64);
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    let sum = checksum(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

impl<'a> Frame<'a> {
    /// Reads one frame off the front of `bytes` and gives it with the rest.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FrameError> {
        let mut reader = Reader::new("frame", bytes);
        let code = reader.byte()?;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == code).ok_or(FrameError::UnknownKind(code))?;
        let flags = reader.byte()?;
        let header_len = reader.length(MAX_FRAME_HEADER)?;
        let body_len = reader.length(MAX_FRAME_BODY)?;
        let header = reader.take(header_len)?;
        let body = reader.take(body_len)?;
        let covered = reader.position();
        let sum = reader.u32()?;
        let (raw, rest) = bytes.split_at(reader.position());
        if checksum(&raw[..covered]) != sum {
            return Err(FrameError::Checksum { kind });
        }
        // After the checksum: a flipped bit should be reported as damage, not as a newer version.
        let unknown = flags & !kind.known_flags();
        if unknown != 0 {
            return Err(FrameError::UnknownFlags { kind, flags: unknown });
        }
        Ok((Self { kind, flags, header, body, raw }, rest))
    }

    /// Reads `bytes` as a message of exactly one frame of `kind`.
    fn only(bytes: &'a [u8], kind: Kind, expected: &'static str) -> Result<Self, FrameError> {
        let mut frames = Frames::new(bytes)?;
        let frame = frames.next_frame()?.ok_or(WireError::Truncated { what: expected, at: bytes.len(), missing: 1 })?;
        if frame.kind != kind {
            return Err(FrameError::Unexpected { found: frame.kind, expected });
        }
        match frames.next_frame()? {
            None => Ok(frame),
            Some(extra) => Err(FrameError::Unexpected { found: extra.kind, expected: "the end of the message" }),
        }
    }
}

/// The frames of a message, in order.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Checks the magic and stands before the first frame.
    pub fn new(message: &'a [u8]) -> Result<Self, FrameError> {
        message.strip_prefix(&MAGIC).map(|rest| Self { rest }).ok_or(FrameError::Magic)
    }

    /// The next frame, `None` at the end of the message.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (frame, rest) = Frame::read(self.rest)?;
        self.rest = rest;
        Ok(Some(frame))
    }
}

/// Any answer of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// To a hello.
    Hello(HelloAck),
    /// To a batch.
    Batch(BatchAck),
    /// To either.
    Refusal(Refusal),
}

impl Reply {
    /// Reads a hub's answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let first = Frames::new(bytes)?.next_frame()?.map(|frame| frame.kind);
        match first {
            Some(Kind::HelloAck) => HelloAck::decode(bytes).map(Self::Hello),
            Some(Kind::Refusal) => Refusal::decode(bytes).map(Self::Refusal),
            _ => BatchAck::decode(bytes).map(Self::Batch),
        }
    }

    /// The bytes of the answer.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(ack) => ack.encode(),
            Self::Batch(ack) => ack.encode(),
            Self::Refusal(refusal) => refusal.encode(),
        }
    }
}

/// Starts a message: a buffer that holds the magic.
fn message() -> Vec<u8> {
    MAGIC.to_vec()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use core::fmt::Debug;

    /// What every message must do: come back as it was, and fail without panic when cut anywhere or damaged anywhere.
    pub(crate) fn check_message<T: PartialEq + Debug>(
        value: &T,
        bytes: &[u8],
        decode: impl Fn(&[u8]) -> Result<T, FrameError>,
    ) {
        assert_eq!(decode(bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "damaged at {at}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode(&longer).is_err(), "a byte too many");
    }

    #[test]
    fn an_unknown_kind_or_flag_is_an_error_that_says_which() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, Kind::Log, 0, b"", b"");
        bytes[0] = 77;
        assert_eq!(Frame::read(&bytes), Err(FrameError::UnknownKind(77)));

        let mut bytes = alloc::vec![Kind::Log as u8, 0x40, 0, 0];
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(Frame::read(&bytes), Err(FrameError::UnknownFlags { kind: Kind::Log, flags: 0x40 }));
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value that RFC 3720's polynomial gives for "123456789".
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }
}

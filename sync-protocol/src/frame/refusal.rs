//! What a hub says when it did not take a hello or a batch: a value with a name, never a bare status code.
//!
//! ```text
//! header = code u8 | the code's own fields | detail: length varint, UTF-8
//! body   = cursors of the batch's logs as far as they were read, as in the acks
//! ```

use super::ack::{millis, put_cursors, read_cursors};
use super::{Frame, FrameError, Kind, message, put_frame};
use crate::cursor::Cursor;
use crate::ids::{Epoch, Fingerprint, LogName};
use crate::limits::{MAX_DETAIL, MAX_LOG_NAME};
use crate::wire::{Reader, WireError, put_bytes, put_varint};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Why a hub refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A newer incarnation of this agent exists: never retry.
    Fenced {
        /// The newer epoch.
        newest: Epoch,
    },
    /// This agent has had epochs that the hello does not know of: say hello again, opening the one after the newest.
    Newest {
        /// The newest epoch.
        newest: Epoch,
    },
    /// The hub does not know this epoch and incarnation: say hello.
    UnknownSession,
    /// A segment's schema is not stored yet: send it along.
    NeedSchema {
        /// Which.
        fingerprint: Fingerprint,
    },
    /// A frame does not begin where its log ends: go on from the cursors.
    Expected {
        /// The log.
        log: LogName,
        /// The offset that the hub expects in it.
        offset: u64,
    },
    /// A segment's hash does not follow from the chain and its bytes.
    Corrupt {
        /// The log.
        log: LogName,
        /// Where the segment begins.
        base: u64,
    },
    /// The message is damaged or not of this protocol; nothing of it was taken.
    Malformed,
    /// The message is larger than the hub takes.
    TooLarge {
        /// The limit in bytes.
        limit: u32,
    },
    /// The hub cannot now: its store is away or full, or it has too much to do.
    Busy {
        /// When to try again, at the earliest.
        retry_after: Duration,
    },
}

/// A hub's refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// The same in words for a person, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
    /// Where the hub stands in the logs of the batch; what came before the refused frame is durable.
    pub cursors: Vec<(LogName, Cursor)>,
}

impl RefusalKind {
    /// The refusal's name.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => "fenced",
            Self::Newest { .. } => "newest-epoch",
            Self::UnknownSession => "unknown-session",
            Self::NeedSchema { .. } => "need-schema",
            Self::Expected { .. } => "expected",
            Self::Corrupt { .. } => "corrupt",
            Self::Malformed => "malformed",
            Self::TooLarge { .. } => "too-large",
            Self::Busy { .. } => "busy",
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Fenced { newest } => {
                out.push(1);
                put_varint(out, u64::from(newest.0));
            }
            Self::UnknownSession => out.push(2),
            Self::NeedSchema { fingerprint } => {
                out.push(3);
                out.extend_from_slice(&fingerprint.0);
            }
            Self::Expected { log, offset } => {
                out.push(4);
                put_bytes(out, log.as_str().as_bytes());
                put_varint(out, *offset);
            }
            Self::Corrupt { log, base } => {
                out.push(5);
                put_bytes(out, log.as_str().as_bytes());
                put_varint(out, *base);
            }
            Self::Malformed => out.push(6),
            Self::TooLarge { limit } => {
                out.push(7);
                put_varint(out, u64::from(*limit));
            }
            Self::Busy { retry_after } => {
                out.push(8);
                put_varint(out, millis(*retry_after));
            }
            Self::Newest { newest } => {
                out.push(9);
                put_varint(out, u64::from(newest.0));
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let log = |reader: &mut Reader<'_>| LogName::new(reader.text(MAX_LOG_NAME)?).map_err(|_| reader.invalid());
        Ok(match reader.byte()? {
            1 => Self::Fenced { newest: Epoch(reader.length(u32::MAX as usize)? as u32) },
            2 => Self::UnknownSession,
            3 => Self::NeedSchema { fingerprint: Fingerprint(reader.array()?) },
            4 => Self::Expected { log: log(reader)?, offset: reader.varint()? },
            5 => Self::Corrupt { log: log(reader)?, base: reader.varint()? },
            6 => Self::Malformed,
            7 => Self::TooLarge { limit: reader.length(u32::MAX as usize)? as u32 },
            8 => Self::Busy { retry_after: Duration::from_millis(reader.varint()?) },
            9 => Self::Newest { newest: Epoch(reader.length(u32::MAX as usize)? as u32) },
            _ => return Err(reader.invalid()),
        })
    }
}

impl Refusal {
    /// A refusal in words, cut to [`MAX_DETAIL`] bytes.
    pub fn new(kind: RefusalKind, detail: impl Into<String>, cursors: Vec<(LogName, Cursor)>) -> Self {
        let mut detail: String = detail.into();
        let mut end = detail.len().min(MAX_DETAIL);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
        Self { kind, detail, cursors }
    }

    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(64);
        self.kind.put(&mut header);
        put_bytes(&mut header, self.detail.as_bytes());
        let mut out = message();
        put_frame(&mut out, Kind::Refusal, 0, &header, &put_cursors(&self.cursors));
        out
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = Frame::only(bytes, Kind::Refusal, "a refusal")?;
        let mut header = Reader::new("refusal", frame.header);
        let kind = RefusalKind::read(&mut header)?;
        let detail = header.text(MAX_DETAIL)?.into();
        header.finish()?;
        let mut body = Reader::new("refusal", frame.body);
        let cursors = read_cursors(&mut body)?;
        body.finish()?;
        Ok(Self { kind, detail, cursors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::check_message;
    use alloc::vec;

    #[test]
    fn every_refusal_comes_back_and_survives_no_damage() {
        let log = LogName::new("climate").unwrap();
        let kinds = [
            RefusalKind::Fenced { newest: Epoch(9) },
            RefusalKind::Newest { newest: Epoch(130) },
            RefusalKind::UnknownSession,
            RefusalKind::NeedSchema { fingerprint: Fingerprint([4; 8]) },
            RefusalKind::Expected { log: log.clone(), offset: 12 },
            RefusalKind::Corrupt { log: log.clone(), base: 1 << 50 },
            RefusalKind::Malformed,
            RefusalKind::TooLarge { limit: 1 << 20 },
            RefusalKind::Busy { retry_after: Duration::from_millis(2500) },
        ];
        for kind in kinds {
            let cursors = vec![(log.clone(), Cursor { next: 5, receipted: [0, 0, 1, 0] })];
            let refusal = Refusal::new(kind, "what to do", cursors);
            check_message(&refusal, &refusal.encode(), Refusal::decode);
        }
    }

    #[test]
    fn the_bytes_of_a_refusal_are_these() {
        let bytes = Refusal::new(RefusalKind::Busy { retry_after: Duration::from_secs(1) }, "full", vec![]).encode();
        assert_eq!(&bytes[..bytes.len() - 4], b"PYR1\x09\x00\x08\x01\x08\xe8\x07\x04full\x00");
    }

    #[test]
    fn a_long_explanation_is_cut_between_characters() {
        let refusal = Refusal::new(RefusalKind::Malformed, "é".repeat(200), vec![]);
        assert_eq!(refusal.detail.len(), MAX_DETAIL);
        let refusal = Refusal::new(RefusalKind::Malformed, alloc::format!("x{}", "é".repeat(200)), vec![]);
        assert_eq!(refusal.detail.len(), MAX_DETAIL - 1);
    }
}

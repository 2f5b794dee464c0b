//! What the two sides say.

use heapless::VecView;

use super::frame::{Frame, Full, LinkError};
use super::record::{put_bytes, put_u8, put_varint};
use crate::limits::{SIDECAR_MAX_NAME, SIDECAR_MAX_PAYLOAD};
use crate::wire::{Reader, WireError};

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

const HELLO: u8 = 1;
const RECORD: u8 = 2;
const WELCOME: u8 = 16;
const ACK: u8 = 17;
const REFUSAL: u8 = 18;

/// What a device says of itself, first and whenever it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Its name: 1 to 64 bytes.
    pub device: &'a str,
    /// Names this life of the device; never that of another one.
    pub boot: u64,
    /// Microseconds since boot at which this was said.
    pub now: u64,
    /// The sequence number of the oldest record that it still has.
    pub oldest: u64,
    /// The sequence number of the next record that it will make.
    pub head: u64,
    /// Records of this life that it dropped without having an acknowledgement for them.
    pub dropped: u64,
}

/// A record with its place in the life of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// Its sequence number.
    pub sequence: u64,
    /// That of the oldest record that the device had when it said this; at most `sequence`.
    pub oldest: u64,
    /// The record, which [`RecordView`](super::RecordView) reads.
    pub body: &'a [u8],
}

/// A message from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromDevice<'a> {
    /// The device introduces itself.
    Hello(Hello<'a>),
    /// A record.
    Record(Numbered<'a>),
}

/// Why the agent did not take something, and what the device does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The agent does not know who speaks: say hello.
    UnknownSession,
    /// Records are missing: go back to this one.
    Expected(u64),
    /// The agent has no room: send again after so many milliseconds.
    Full(u64),
    /// The agent speaks this version only.
    Version(u8),
    /// The agent does not know this kind of frame.
    UnknownKind(u8),
    /// The agent knows this boot id from another life of the device: take another one.
    BootReused,
    /// The agent knows as many devices as it can.
    TooManyDevices,
}

/// A message from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromAgent {
    /// The answer to a hello.
    Welcome {
        /// Whose hello.
        boot: u64,
        /// The first record that the agent does not have.
        next: u64,
    },
    /// The agent has records.
    Ack {
        /// Of this life.
        boot: u64,
        /// The first record that the agent does not have.
        next: u64,
    },
    /// The agent did not take something.
    Refusal(Refusal),
}

impl<'a> FromDevice<'a> {
    /// Makes the frame of this message.
    pub fn put(&self, frame: &mut Frame) {
        frame.make(|out| match self {
            Self::Hello(hello) => {
                head(out, HELLO)?;
                put_boot(out, hello.boot)?;
                [hello.now, hello.oldest, hello.head, hello.dropped].iter().try_for_each(|n| put_varint(out, *n))?;
                put_bytes(out, hello.device.as_bytes())
            }
            Self::Record(record) => {
                head(out, RECORD)?;
                put_varint(out, record.sequence)?;
                put_varint(out, record.sequence.saturating_sub(record.oldest))?;
                out.extend_from_slice(record.body).map_err(|_| Full)
            }
        });
    }

    /// Reads the payload of a frame.
    pub fn read(payload: &'a [u8]) -> Result<Self, LinkError> {
        let (kind, mut reader) = kind_of(payload)?;
        match kind {
            HELLO => {
                let boot = read_boot(&mut reader)?;
                let (now, oldest, head) = (reader.varint()?, reader.varint()?, reader.varint()?);
                let (dropped, device) = (reader.varint()?, reader.text(SIDECAR_MAX_NAME)?);
                if device.is_empty() || device.chars().any(char::is_control) || oldest > head || dropped > oldest {
                    return Err(reader.invalid().into());
                }
                reader.finish()?;
                Ok(Self::Hello(Hello { device, boot, now, oldest, head, dropped }))
            }
            RECORD => {
                let sequence = reader.varint()?;
                let back = reader.varint()?;
                let oldest = sequence.checked_sub(back).ok_or(reader.invalid())?;
                let body = reader.take(reader.remaining().min(SIDECAR_MAX_PAYLOAD))?;
                Ok(Self::Record(Numbered { sequence, oldest, body }))
            }
            other => Err(LinkError::UnknownKind(other)),
        }
    }
}

impl FromAgent {
    /// Makes the frame of this message.
    pub fn put(&self, frame: &mut Frame) {
        let numbered = |out: &mut VecView<u8>, kind, boot, next| {
            head(out, kind)?;
            put_boot(out, boot)?;
            put_varint(out, next)
        };
        frame.make(|out| match *self {
            Self::Welcome { boot, next } => numbered(out, WELCOME, boot, next),
            Self::Ack { boot, next } => numbered(out, ACK, boot, next),
            Self::Refusal(refusal) => {
                let (reason, number) = refusal.parts();
                head(out, REFUSAL)?;
                put_u8(out, reason)?;
                put_varint(out, number)
            }
        });
    }

    /// Reads the payload of a frame.
    pub fn read(payload: &[u8]) -> Result<Self, LinkError> {
        let (kind, mut reader) = kind_of(payload)?;
        let message = match kind {
            WELCOME | ACK => {
                let (boot, next) = (read_boot(&mut reader)?, reader.varint()?);
                if kind == WELCOME { Self::Welcome { boot, next } } else { Self::Ack { boot, next } }
            }
            REFUSAL => {
                let (reason, number) = (reader.byte()?, reader.varint()?);
                Self::Refusal(Refusal::of(reason, number).ok_or(reader.invalid())?)
            }
            other => return Err(LinkError::UnknownKind(other)),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl Refusal {
    pub(super) fn parts(self) -> (u8, u64) {
        match self {
            Self::UnknownSession => (1, 0),
            Self::Expected(next) => (2, next),
            Self::Full(retry) => (3, retry),
            Self::Version(version) => (4, u64::from(version)),
            Self::UnknownKind(kind) => (5, u64::from(kind)),
            Self::BootReused => (6, 0),
            Self::TooManyDevices => (7, 0),
        }
    }

    pub(super) fn of(reason: u8, number: u64) -> Option<Self> {
        let refusal = match reason {
            1 => Self::UnknownSession,
            2 => Self::Expected(number),
            3 => Self::Full(number),
            4 => Self::Version(number as u8),
            5 => Self::UnknownKind(number as u8),
            6 => Self::BootReused,
            7 => Self::TooManyDevices,
            _ => return None,
        };
        // One message has one encoding: a number that the reason does not take is not passed over.
        (refusal.parts().1 == number).then_some(refusal)
    }
}

fn head(out: &mut VecView<u8>, kind: u8) -> Result<(), Full> {
    put_u8(out, VERSION)?;
    put_u8(out, kind)
}

fn put_boot(out: &mut VecView<u8>, boot: u64) -> Result<(), Full> {
    out.extend_from_slice(&boot.to_le_bytes()).map_err(|_| Full)
}

fn read_boot(reader: &mut Reader<'_>) -> Result<u64, WireError> {
    Ok(u64::from_le_bytes(reader.array()?))
}

/// After the checksum was found good: a flipped bit is reported as damage, not as another version.
fn kind_of(payload: &[u8]) -> Result<(u8, Reader<'_>), LinkError> {
    let mut reader = Reader::new("sidecar message", payload);
    match reader.byte()? {
        VERSION => Ok((reader.byte()?, reader)),
        other => Err(LinkError::Version(other)),
    }
}

#[cfg(test)]
mod tests;

//! What a hub says when it took a hello or a batch.
//!
//! ```text
//! hello ack: header = epoch varint | max batch bytes varint | pause ms varint | hub's time signed varint (Unix ns)
//! batch ack: header = pause ms varint
//! both:      body   = count varint | (log name: length varint, UTF-8 | cursor: next varint, receipted varint x 4) …
//! ```

use super::{Frame, FrameError, Kind, message, put_frame};
use crate::cursor::Cursor;
use crate::ids::{Epoch, LogName};
use crate::limits::{MAX_LOG_NAME, MAX_LOGS};
use crate::wire::{Reader, WireError, put_bytes, put_signed, put_varint};
use alloc::vec::Vec;
use core::time::Duration;

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HelloAck {
    /// The agent's epoch.
    pub epoch: Epoch,
    /// The largest batch that the hub takes, in bytes.
    pub max_batch: u32,
    /// How long the agent should wait between batches.
    pub pause: Duration,
    /// The hub's clock, Unix nanoseconds.
    pub hub_time: i64,
    /// Where the hub stands in each log of the hello.
    pub cursors: Vec<(LogName, Cursor)>,
}

/// The answer to a batch: all of it is durable, or was before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchAck {
    /// How long the agent should wait before the next batch.
    pub pause: Duration,
    /// Where the hub stands now in each log of the batch.
    pub cursors: Vec<(LogName, Cursor)>,
}

impl HelloAck {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(32);
        put_varint(&mut header, u64::from(self.epoch.0));
        put_varint(&mut header, u64::from(self.max_batch));
        put_varint(&mut header, millis(self.pause));
        put_signed(&mut header, self.hub_time);
        let mut out = message();
        put_frame(&mut out, Kind::HelloAck, 0, &header, &put_cursors(&self.cursors));
        out
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = Frame::only(bytes, Kind::HelloAck, "an answer to a hello")?;
        let mut header = Reader::new("hello ack", frame.header);
        let epoch = Epoch(header.length(u32::MAX as usize)? as u32);
        let max_batch = header.length(u32::MAX as usize)? as u32;
        let pause = Duration::from_millis(header.varint()?);
        let hub_time = header.signed()?;
        if epoch.0 == 0 {
            return Err(header.invalid().into());
        }
        header.finish()?;
        let mut body = Reader::new("hello ack", frame.body);
        let cursors = read_cursors(&mut body)?;
        body.finish()?;
        Ok(Self { epoch, max_batch, pause, hub_time, cursors })
    }
}

impl BatchAck {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(10);
        put_varint(&mut header, millis(self.pause));
        let mut out = message();
        put_frame(&mut out, Kind::BatchAck, 0, &header, &put_cursors(&self.cursors));
        out
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = Frame::only(bytes, Kind::BatchAck, "an answer to a batch")?;
        let mut header = Reader::new("batch ack", frame.header);
        let pause = Duration::from_millis(header.varint()?);
        header.finish()?;
        let mut body = Reader::new("batch ack", frame.body);
        let cursors = read_cursors(&mut body)?;
        body.finish()?;
        Ok(Self { pause, cursors })
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn put_cursors(cursors: &[(LogName, Cursor)]) -> Vec<u8> {
    let mut body = Vec::new();
    put_varint(&mut body, cursors.len() as u64);
    for (log, cursor) in cursors {
        put_bytes(&mut body, log.as_str().as_bytes());
        cursor.put(&mut body);
    }
    body
}

pub(super) fn read_cursors(body: &mut Reader<'_>) -> Result<Vec<(LogName, Cursor)>, WireError> {
    let count = body.length(MAX_LOGS)?;
    (0..count)
        .map(|_| {
            let log = LogName::new(body.text(MAX_LOG_NAME)?).map_err(|_| body.invalid())?;
            Ok((log, Cursor::read(body)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::check_message;
    use alloc::vec;

    #[test]
    fn acks_come_back_and_survive_no_damage() {
        let cursors = vec![
            (LogName::new("climate").unwrap(), Cursor { next: 1000, receipted: [1, 2, 3, 4] }),
            (LogName::new("host").unwrap(), Cursor::default()),
        ];
        let pause = Duration::from_millis(1500);
        let ack = BatchAck { pause, cursors: cursors.clone() };
        check_message(&ack, &ack.encode(), BatchAck::decode);
        let ack = HelloAck { epoch: Epoch(2), max_batch: 1 << 20, pause, hub_time: -5, cursors };
        check_message(&ack, &ack.encode(), HelloAck::decode);
    }

    #[test]
    fn the_bytes_of_acks_are_these() {
        let cursors = vec![(LogName::new("a").unwrap(), Cursor { next: 9, receipted: [1, 0, 2, 0] })];
        let (pause, epoch) = (Duration::from_millis(3), Epoch(2));
        let bytes = BatchAck { pause, cursors: cursors.clone() }.encode();
        assert_eq!(&bytes[..bytes.len() - 4], b"PYR1\x08\x00\x01\x08\x03\x01\x01a\x09\x01\x00\x02\x00");
        let bytes = HelloAck { epoch, max_batch: 300, pause, hub_time: -1, cursors }.encode();
        assert_eq!(&bytes[..bytes.len() - 4], b"PYR1\x02\x00\x05\x08\x02\xac\x02\x03\x01\x01\x01a\x09\x01\x00\x02\x00");
    }

    #[test]
    fn a_cursor_that_receipts_more_than_it_passed_is_refused() {
        let cursors = vec![(LogName::new("a").unwrap(), Cursor { next: 2, receipted: [1, 1, 1, 0] })];
        let bytes = BatchAck { pause: Duration::ZERO, cursors }.encode();
        assert!(BatchAck::decode(&bytes).is_err());
    }
}

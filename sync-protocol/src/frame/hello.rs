//! How an agent introduces itself.
//!
//! ```text
//! header = incarnation 16 bytes | epoch varint (0: not known yet) | after varint
//! body   = count varint | (log name: length varint, UTF-8 | tail varint | head - tail varint) …
//! ```

use super::{Frame, FrameError, Kind, LogHead, message, put_frame};
use crate::ids::{Epoch, Incarnation};
use crate::limits::MAX_LOGS;
use crate::wire::{Reader, put_varint};
use alloc::vec::Vec;

/// An agent's introduction: who it is now, and what its ring holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The lifetime of the ring's contents.
    pub incarnation: Incarnation,
    /// The epoch that a hub once gave this incarnation.
    pub epoch: Option<Epoch>,
    /// The newest epoch that the agent knows of, whoever's it is; 0 for none. A new epoch is opened only right after it:
    /// a hello that was delayed until a later process of this agent had said its own cannot open one.
    pub after: Epoch,
    /// All logs, at most [`MAX_LOGS`].
    pub logs: Vec<LogHead>,
}

impl Hello {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(26);
        header.extend_from_slice(&self.incarnation.0);
        put_varint(&mut header, self.epoch.map_or(0, |epoch| u64::from(epoch.0)));
        put_varint(&mut header, u64::from(self.after.0));
        let mut body = Vec::new();
        put_varint(&mut body, self.logs.len() as u64);
        for log in &self.logs {
            log.put(&mut body);
        }
        let mut out = message();
        put_frame(&mut out, Kind::Hello, 0, &header, &body);
        out
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = Frame::only(bytes, Kind::Hello, "a hello")?;
        let mut header = Reader::new("hello header", frame.header);
        let incarnation = Incarnation(header.array()?);
        let epoch = header.length(u32::MAX as usize)? as u32;
        let after = Epoch(header.length(u32::MAX as usize)? as u32);
        header.finish()?;
        let mut body = Reader::new("hello body", frame.body);
        let count = body.length(MAX_LOGS)?;
        let logs = (0..count).map(|_| LogHead::read(&mut body)).collect::<Result<_, _>>()?;
        body.finish()?;
        Ok(Self { incarnation, epoch: (epoch > 0).then_some(Epoch(epoch)), after, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::check_message;
    use crate::ids::LogName;
    use alloc::vec;

    #[test]
    fn a_hello_comes_back_and_survives_no_damage() {
        let hello = Hello {
            incarnation: Incarnation([7; 16]),
            epoch: Some(Epoch(3)),
            after: Epoch(3),
            logs: vec![LogHead { log: LogName::new("climate").unwrap(), tail: 5, head: 300 }],
        };
        check_message(&hello, &hello.encode(), Hello::decode);
    }

    #[test]
    fn the_bytes_of_a_hello_are_these() {
        let hello = Hello {
            incarnation: Incarnation(*b"0123456789abcdef"),
            epoch: None,
            after: Epoch(200),
            logs: vec![LogHead { log: LogName::new("a").unwrap(), tail: 1, head: 129 }],
        };
        let golden = b"PYR1\x01\x00\x13\x06\x30123456789abcdef\x00\xc8\x01\x01\x01a\x01\x80\x01";
        let bytes = hello.encode();
        assert_eq!(&bytes[..bytes.len() - 4], golden);
        assert_eq!(bytes[bytes.len() - 4..], super::super::checksum(&golden[4..]).to_le_bytes());
    }
}

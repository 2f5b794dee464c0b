//! How firmware hands readings to an agent over a link of bytes: a serial line, a Unix socket, a pipe. No allocator, no
//! clock, no I/O.
//!
//! ```text
//! link    = … 00 frame 00 frame 00 …          bytes between two delimiters that are no frame are skipped
//! frame   = COBS(payload)                     at most 254 bytes of payload, so always one byte longer
//! payload = version u8 = 1 | kind u8 | body | CRC32C u32, little-endian, of all before
//!
//! device to agent:
//!   hello   1   boot u64 | now varint (µs since boot) | oldest varint | head varint | dropped varint | name
//!   record  2   sequence varint | sequence - oldest varint | log | time | (type u8 | name | value) …
//! agent to device:
//!   welcome 16  boot u64 | next varint
//!   ack     17  boot u64 | next varint
//!   refusal 18  reason u8 | number varint
//!
//! name, log, text and bytes: a length varint before them      time: 0 | 1 signed varint (Unix ns) | 2 varint (µs since boot)
//! value: 1 tag, 6 text, 7 bytes | 2 f64 | 3 signed varint | 4 varint | 8 false | 9 true
//! ```
//!
//! The device is a [`Producer`]: it numbers its records from 0 in each life, keeps them until they are acknowledged, and when
//! its buffer is full drops the oldest and counts it. The agent has a [`Consumer`] for each link, and [`Sessions`] for
//! all of them together, which know the next sequence number of each life of each device. A record is acknowledged after
//! the agent's ring has it. Each record says how far back the device's buffer goes, so that a gap is either asked for
//! again or known to be a loss.
//!
//! A link may lose, damage and repeat bytes, but what comes through comes in order; so no record of a life comes after the
//! hello of the next.

#[cfg(feature = "alloc")]
mod consumer;
mod frame;
mod message;
mod producer;
mod record;
#[cfg(feature = "alloc")]
mod sessions;

#[cfg(feature = "alloc")]
pub use consumer::{Consumer, Due, LinkCounters, Sink, Taken};
pub use frame::{Deframer, Frame, LinkError};
pub use message::{FromAgent, FromDevice, Hello, Numbered, Refusal, VERSION};
pub use producer::{Producer, Timing};
pub use record::{RecordBuf, RecordView, Time, TooLong, Value, Values};
#[cfg(feature = "alloc")]
pub use sessions::{Device, Life, Sessions};

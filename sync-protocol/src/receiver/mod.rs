//! The hub's side: one short-lived state machine per request, which asks its driver to read and write the store.
//!
//! A receiver holds no state between requests. All that it relies on is in the store, and every write that decides
//! something is a create-if-absent: an epoch's record, and the entry at an offset. So any number of hubs may answer for
//! one agent at once: where two of them race, one create succeeds, and the other reads again.
//!
//! A store that fails is the driver's matter: it drops the receiver and answers
//! [`Busy`](crate::frame::RefusalKind::Busy). Whatever was committed until then is found by the next request.

mod batch;
mod hello;
mod parse;

pub use batch::BatchReceiver;
pub use hello::HelloReceiver;

use crate::entry::{Entry, Tip};
use crate::epoch::RegisterRecord;
use crate::frame::{Refusal, RefusalKind, Reply};
use crate::ids::{Epoch, Fingerprint, LogName};
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

/// What the driver should do next. Each step is about the agent of the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read the record of the newest epoch: answer [`Answer::Epoch`].
    ReadEpoch,
    /// Create the record of an epoch if there is none yet: answer [`Answer::Created`].
    CreateEpoch {
        /// The epoch.
        epoch: Epoch,
        /// The encoded [`EpochRecord`](crate::epoch::EpochRecord).
        record: Vec<u8>,
    },
    /// Tell whether an epoch is marked as ended: answer [`Answer::Exists`].
    IsClosed {
        /// The epoch.
        epoch: Epoch,
    },
    /// Mark an epoch as ended: answer [`Answer::Done`].
    MarkClosed {
        /// The epoch.
        epoch: Epoch,
    },
    /// Read the heads record with the largest sum: answer [`Answer::Record`].
    ReadHeads {
        /// The epoch.
        epoch: Epoch,
    },
    /// Create a heads record; older ones of the epoch may be deleted after that: answer [`Answer::Done`].
    PutHeads {
        /// The epoch.
        epoch: Epoch,
        /// Its place among the records of the epoch.
        sum: u64,
        /// The encoded [`HeadsRecord`](crate::epoch::HeadsRecord).
        record: Vec<u8>,
    },
    /// Read the register of an epoch's logs: answer [`Answer::Register`].
    ReadRegister {
        /// The epoch.
        epoch: Epoch,
    },
    /// Create the register's record at a position if there is none yet: answer [`Answer::Created`].
    PutRegister {
        /// The epoch.
        epoch: Epoch,
        /// The position: records are dense from 0.
        position: u32,
        /// The encoded [`RegisterRecord`].
        record: Vec<u8>,
    },
    /// Read the last entry of a log: answer [`Answer::Record`].
    ReadLast {
        /// The epoch.
        epoch: Epoch,
        /// The log.
        log: LogName,
    },
    /// Tell whether a schema is stored: answer [`Answer::Exists`].
    HasSchema {
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// Create a schema if it is not stored yet: answer [`Answer::Done`].
    PutSchema {
        /// Its fingerprint, which matches the bytes.
        fingerprint: Fingerprint,
        /// The encoded schema.
        schema: Vec<u8>,
    },
    /// Create an entry if none begins at its base, and make it durable: answer [`Answer::Created`].
    Commit {
        /// The epoch.
        epoch: Epoch,
        /// The log.
        log: LogName,
        /// The offset where it begins.
        base: u64,
        /// The encoded [`Entry`].
        entry: Vec<u8>,
    },
    /// Send this answer; the request is done.
    Reply(Reply),
}

/// What came of a [`Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The newest epoch and its encoded record, if the agent has any.
    Epoch(Option<(Epoch, Vec<u8>)>),
    /// Whether this create was the one that succeeded; `false`: something is there already, and stays.
    Created(bool),
    /// Whether it is there.
    Exists(bool),
    /// The stored bytes, if there are any.
    Record(Option<Vec<u8>>),
    /// The encoded records of a register, in the order of their positions.
    Register(Vec<Vec<u8>>),
    /// It is done, and durable.
    Done,
}

/// What an agent may expect of this hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The largest batch in bytes, at most [`MAX_BATCH`](crate::limits::MAX_BATCH).
    pub max_batch: u32,
    /// How long agents should wait between batches.
    pub pause: Duration,
    /// The `retry_after` of refusals as `busy`.
    pub retry_after: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { max_batch: 8 << 20, pause: Duration::ZERO, retry_after: Duration::from_secs(5) }
    }
}

/// The tip of a chain from its last entry as stored.
fn tip_of(last: Option<&[u8]>) -> Result<Tip, Refused> {
    match last.map(Entry::decode) {
        None => Ok(Tip::default()),
        Some(Ok(entry)) => Ok(entry.tip),
        Some(Err(error)) => Err(Refused::damaged("the last entry of a log", &error)),
    }
}

/// What a register's records say: the logs, and whether it is closed.
fn read_register(records: &[Vec<u8>]) -> Result<(Vec<LogName>, bool), Refused> {
    let mut logs = Vec::with_capacity(records.len());
    for record in records {
        match RegisterRecord::decode(record).map_err(|error| Refused::damaged("a register record", &error))? {
            RegisterRecord::Log(log) => logs.push(log),
            RegisterRecord::Closed => return Ok((logs, true)),
        }
    }
    Ok((logs, false))
}

/// A refusal on its way out: kind and words; the receiver adds the cursors that it knows.
#[derive(Debug)]
struct Refused {
    kind: RefusalKind,
    detail: alloc::string::String,
}

impl Refused {
    fn new(kind: RefusalKind, detail: impl Into<alloc::string::String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// Something in the store that cannot be read. The agent keeps its data until an operator has looked.
    fn damaged(what: &str, error: &dyn core::fmt::Display) -> Self {
        let kind = RefusalKind::Busy { retry_after: Duration::from_secs(60) };
        Self::new(kind, format!("{what} is damaged in the hub's store ({error}): run pyralog-hub verify"))
    }

    /// The driver gave an answer that does not belong to the step: a fault of the hub's own.
    fn misused() -> Self {
        let kind = RefusalKind::Busy { retry_after: Duration::from_secs(60) };
        Self::new(kind, "internal fault of the hub: an answer that does not belong to its step")
    }

    fn reply(self, cursors: Vec<(LogName, crate::Cursor)>) -> Step {
        Step::Reply(Reply::Refusal(Refusal::new(self.kind, self.detail, cursors)))
    }
}

//! Hubs and agents that are wrong on purpose. A checker that finds nothing wrong with them would find nothing at all.
//!
//! Only what surrounds the protocol's types is broken here, never they themselves.

use crate::bounds::Bounds;
use crate::peers::ring::Ring;
use crate::world::{Job, Receiver, Stored};
use pyralog_sync_protocol::entry::Entry;
use pyralog_sync_protocol::epoch::{EpochRecord, RegisterRecord};
use pyralog_sync_protocol::frame::{BatchHead, Frames, Hello, HelloAck};
use pyralog_sync_protocol::{Answer, Epoch, Sender, Source, Step};

/// One way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// A hub answers before the commit is durable.
    AckEarly,
    /// A hub takes every request for one of the newest epoch.
    EpochNotCompared,
    /// The same for batches alone.
    BatchEpochNotCompared,
    /// A create replaces what is there.
    Overwrite,
    /// The end of an epoch passes over its register.
    RegisterNotClosed,
    /// Reading a chain's last entry gives the one before it: a listing that lags behind.
    ListingLags,
    /// An agent takes a failure for an acknowledgement.
    AgentGuesses,
    /// A batch does not see that its log's chain has been closed.
    ClosedChainNotSeen,
    /// After a failure an agent goes on with the session that it had, without a hello.
    SessionKept,
}

/// The broken answer to a step that reads; `None` where this break does as it should.
pub fn read(broken: Break, stored: &Stored, job: &Job, step: &Step) -> Option<Answer> {
    let is_hello = matches!(job.receiver, Receiver::Hello(_));
    match (broken, step) {
        (Break::EpochNotCompared, Step::ReadEpoch) => own_epoch(job),
        (Break::BatchEpochNotCompared, Step::ReadEpoch) if !is_hello => own_epoch(job),
        (Break::RegisterNotClosed, Step::ReadRegister { epoch })
            if is_hello && stored.store.epochs.keys().any(|newer| newer > epoch) =>
        {
            let Answer::Register(mut records) = stored.store.read(step)? else { return None };
            records.push(RegisterRecord::Closed.encode());
            Some(Answer::Register(records))
        }
        (Break::ListingLags, Step::ReadLast { epoch, log }) => {
            let chain = stored.store.entries.get(&(*epoch, log.clone()));
            Some(Answer::Record(chain.and_then(|chain| chain.values().rev().nth(1).cloned())))
        }
        (Break::ClosedChainNotSeen, Step::ReadLast { .. }) if !is_hello => {
            let Answer::Record(Some(last)) = stored.store.read(step)? else { return None };
            let mut entry = Entry::decode(&last).ok()?;
            entry.tip.closed = false;
            Some(Answer::Record(Some(entry.encode())))
        }
        _ => None,
    }
}

/// The broken way to take a step that writes; `None` where this break does as it should.
pub fn write(broken: Break, stored: &mut Stored, step: &Step) -> Option<Answer> {
    let Step::Commit { epoch, log, base, entry } = step else { return None };
    let chain = stored.store.entries.entry((*epoch, log.clone())).or_default();
    match broken {
        Break::AckEarly => {
            let same_place = |other: &Step| {
                let Step::Commit { epoch: e, log: l, base: b, .. } = other else { return false };
                (e, l, b) == (epoch, log, base)
            };
            let free = !chain.contains_key(base) && !stored.unwritten.iter().any(same_place);
            if free {
                stored.unwritten.push(step.clone());
            }
            Some(Answer::Created(free))
        }
        Break::Overwrite => {
            chain.insert(*base, entry.clone());
            Some(Answer::Created(true))
        }
        _ => None,
    }
}

/// The answer to a hello that an agent gives itself from what it knows; `None` if it knows of no session.
pub fn remembered(sender: &Sender, ring: &Ring, bounds: &Bounds) -> Option<HelloAck> {
    let epoch = sender.status().epoch?;
    let cursors = ring.logs().into_iter().map(|log| (log.log.clone(), sender.cursor(&log.log))).collect();
    Some(HelloAck { epoch, max_batch: bounds.max_batch, pause: bounds.pause, hub_time: 0, cursors })
}

/// An epoch record that says what the request says of itself.
fn own_epoch(job: &Job) -> Option<Answer> {
    let (epoch, incarnation) = match job.receiver {
        Receiver::Hello(_) => {
            let hello = Hello::decode(&job.request).ok()?;
            (hello.epoch.unwrap_or(Epoch(hello.after.0.max(1))), hello.incarnation)
        }
        Receiver::Batch(_) => {
            let head = Frames::new(&job.request).ok()?.next_frame().ok()??;
            let head = BatchHead::read(&head).ok()?;
            (head.epoch, head.incarnation)
        }
    };
    let record = EpochRecord { incarnation, opened_at: 0, past: Vec::new() };
    Some(Answer::Epoch(Some((epoch, record.encode()))))
}

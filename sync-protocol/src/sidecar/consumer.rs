//! The agent's side of one link.

use alloc::string::String;
use alloc::vec::Vec;

use super::frame::{Deframer, Frame, LinkError};
use super::message::{FromAgent, FromDevice, Hello, Numbered, Refusal, VERSION};
use super::record::{RecordView, Time};
use super::sessions::{Sessions, Verdict};
use crate::limits::{SIDECAR_MAX_FRAME, SIDECAR_MAX_UNSENT};
use crate::wire::WireError;

/// Where records go.
pub trait Sink {
    /// Takes a record. Called once for each, in the order of each life of each device; again after [`Taken::Full`] alone.
    fn take(&mut self, due: Due<'_>) -> Taken;
}

/// A record whose turn it is.
#[derive(Debug)]
pub struct Due<'a> {
    /// Whose it is.
    pub device: &'a str,
    /// Unix nanoseconds; `None`: the time of arrival.
    pub time: Option<i64>,
    /// The record; or why it cannot be read, though it came as it was sent. It must be taken all the same: sent again
    /// it would be no better.
    pub record: Result<RecordView<'a>, WireError>,
    /// The record's bytes.
    pub body: &'a [u8],
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is where it belongs, and may be acknowledged.
    Stored,
    /// There is no room: the device is to send it again in so many milliseconds.
    Full(u64),
}

/// What came over one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Good frames.
    pub frames: u64,
    /// Frames that were damaged, cut, too long or no frames at all.
    pub damaged: u64,
    /// Good frames that this side does not understand.
    pub unknown: u64,
    /// Gaps after which the device was asked to go back.
    pub gaps: u64,
    /// Records for which there was no room.
    pub full: u64,
}

/// The agent's side of one link: bytes in, records to a [`Sink`], answers out.
///
/// The owner hands what it reads to [`receive`](Self::receive), and after that writes what [`unsent`](Self::unsent)
/// holds, telling how much by [`sent`](Self::sent).
#[derive(Debug)]
pub struct Consumer {
    deframer: Deframer<SIDECAR_MAX_FRAME>,
    /// Device and boot id of who said hello last.
    speaker: Option<(String, u64)>,
    unsent: Vec<u8>,
    counters: LinkCounters,
    last_error: Option<LinkError>,
    /// A gap was told of, or a full ring, and what was asked for has not come yet.
    waiting: bool,
    asked_for_hello: bool,
}

impl Consumer {
    /// One for a new link. It first asks for a hello, since a device does not notice that a serial line has a new reader.
    pub fn new() -> Self {
        let mut consumer = Self {
            deframer: Deframer::new(),
            speaker: None,
            unsent: Vec::new(),
            counters: LinkCounters::default(),
            last_error: None,
            waiting: false,
            asked_for_hello: true,
        };
        consumer.say(FromAgent::Refusal(Refusal::UnknownSession));
        consumer
    }

    /// Takes bytes that arrived at `arrival` (Unix ns). What has become due goes to `sink`, and is acknowledged when
    /// that has it.
    pub fn receive(&mut self, bytes: &[u8], arrival: i64, sessions: &mut Sessions, sink: &mut dyn Sink) {
        let mut deframer = core::mem::take(&mut self.deframer);
        let (mut to_ack, mut complained) = (false, false);
        for byte in bytes {
            let Some(found) = deframer.push(*byte) else { continue };
            let message = found.and_then(|payload| {
                self.counters.frames += 1;
                FromDevice::read(payload)
            });
            match message {
                Ok(FromDevice::Hello(hello)) => self.hello(&hello, arrival, sessions),
                Ok(FromDevice::Record(record)) => to_ack |= self.record(&record, arrival, sessions, sink),
                Err(error) => {
                    self.bad(error, complained);
                    complained = true;
                }
            }
        }
        self.deframer = deframer;
        if to_ack
            && let Some((device, boot)) = &self.speaker
            && let Some((device, at)) = sessions.life(device, *boot)
        {
            let ack = FromAgent::Ack { boot: *boot, next: device.at(at).next };
            self.say(ack);
        }
    }

    /// Bytes to write to the link.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// Tells that the first `count` bytes of [`unsent`](Self::unsent) were written.
    pub fn sent(&mut self, count: usize) {
        self.unsent.drain(..count.min(self.unsent.len()));
    }

    /// Who said hello last on this link.
    pub fn device(&self) -> Option<&str> {
        self.speaker.as_ref().map(|(device, _)| device.as_str())
    }

    /// What came over this link.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// What was wrong last, once.
    pub fn take_error(&mut self) -> Option<LinkError> {
        self.last_error.take()
    }

    fn hello(&mut self, hello: &Hello<'_>, arrival: i64, sessions: &mut Sessions) {
        match sessions.hello(hello, arrival) {
            Ok(next) => {
                if self.speaker.as_ref().is_none_or(|(device, boot)| device != hello.device || *boot != hello.boot) {
                    self.speaker = Some((hello.device.into(), hello.boot));
                }
                self.waiting = false;
                self.say(FromAgent::Welcome { boot: hello.boot, next });
            }
            Err(refusal) => {
                self.speaker = None;
                self.say(FromAgent::Refusal(refusal));
            }
        }
        self.asked_for_hello = false;
    }

    /// Whether there is something to acknowledge.
    fn record(&mut self, record: &Numbered<'_>, arrival: i64, sessions: &mut Sessions, sink: &mut dyn Sink) -> bool {
        let known = self.speaker.as_ref().and_then(|(name, boot)| Some((name, sessions.life(name, *boot)?)));
        let Some((name, (device, at))) = known else {
            if !self.asked_for_hello {
                self.asked_for_hello = true;
                self.say(FromAgent::Refusal(Refusal::UnknownSession));
            }
            return false;
        };
        match device.judge(at, record) {
            Verdict::Duplicate => true,
            Verdict::Gap => {
                if !self.waiting {
                    self.waiting = true;
                    self.counters.gaps += 1;
                    let next = device.at(at).next;
                    self.say(FromAgent::Refusal(Refusal::Expected(next)));
                }
                false
            }
            Verdict::Due => {
                let view = RecordView::read(record.body);
                let time = view.as_ref().ok().and_then(|view| match view.time {
                    Time::Arrival => None,
                    Time::Unix(at) => Some(at),
                    Time::SinceBoot(micros) => Some(device.at(at).unix(micros, arrival)),
                });
                match sink.take(Due { device: name, time, record: view, body: record.body }) {
                    Taken::Stored => {
                        device.took(at);
                        self.waiting = false;
                        true
                    }
                    Taken::Full(retry) => {
                        self.counters.full += 1;
                        // What follows in this flight is out of order, and nothing to ask for.
                        self.waiting = true;
                        self.say(FromAgent::Refusal(Refusal::Full(retry)));
                        false
                    }
                }
            }
        }
    }

    fn bad(&mut self, error: LinkError, complained: bool) {
        self.last_error = Some(error);
        let refusal = match error {
            LinkError::Version(_) => Refusal::Version(VERSION),
            LinkError::UnknownKind(kind) => Refusal::UnknownKind(kind),
            LinkError::Framing | LinkError::TooLong { .. } | LinkError::Checksum | LinkError::Wire(_) => {
                self.counters.damaged += 1;
                return;
            }
        };
        self.counters.unknown += 1;
        if !complained {
            self.say(FromAgent::Refusal(refusal));
        }
    }

    fn say(&mut self, message: FromAgent) {
        if self.unsent.len() >= SIDECAR_MAX_UNSENT {
            return;
        }
        let mut frame = Frame::new();
        message.put(&mut frame);
        self.unsent.extend_from_slice(frame.bytes());
    }
}

impl Default for Consumer {
    fn default() -> Self {
        Self::new()
    }
}

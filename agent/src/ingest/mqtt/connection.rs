//! One connection as a state machine without sockets or clock.
//!
//! The driver's part: hand what was read to [`Connection::receive`], keep what was not consumed, write what stands in
//! [`Turn::out`], call [`Connection::handle_timeout`] when [`Connection::next_timeout`] is reached, and
//! [`Connection::finish`] once, at the end.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    aliases::Aliases,
    budget::Reserved,
    close::CloseReason,
    connect::Will,
    control, limits, reply,
    session::{CallOff, Leash, Session},
    shared::Turn,
    wire::{self, Frame, FrameError, Version},
};
use crate::crowd::Member;

/// How far a turn got.
#[derive(Debug)]
pub(super) struct Received {
    /// Bytes of the input that are done with.
    pub(super) consumed: usize,
    pub(super) flow: Flow,
}

/// What is wanted next.
#[derive(Debug)]
pub(super) enum Flow {
    /// More input: the next packet takes at least this many bytes, the unconsumed ones included.
    Need(usize),
    /// The sink is full: the same input again after [`Connection::next_timeout`], and no reading until then.
    Stalled,
    /// The end; a farewell is in [`Turn::out`] if there is one.
    Close(CloseReason),
}

/// What a packet led to.
pub(super) enum Step {
    Done,
    Stall,
    Close(CloseReason),
}

/// One connection.
///
/// Invariant: `open` is set from the CONNACK that accepts until [`Connection::finish`].
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) peer: IpAddr,
    pub(super) leash: Arc<Leash>,
    began: Instant,
    last_packet: Instant,
    stall: Option<Stall>,
    /// The ring stayed full for as long as a peer is kept waiting: from then on messages are refused at once, until it
    /// takes one.
    gave_up: bool,
    /// Pays for the session that a CONNECT will bring.
    pub(super) session_room: Option<Reserved>,
    pub(super) open: Option<Box<Open>>,
}

/// What a connection has once its CONNECT was accepted.
pub(super) struct Open {
    pub(super) version: Version,
    pub(super) session: Arc<Session>,
    /// How long the session outlives the connection.
    pub(super) expiry: Duration,
    /// Silence after which the connection is given up.
    pub(super) patience: Duration,
    pub(super) will: Option<Charged<Will>>,
    pub(super) aliases: Aliases,
    /// Longest packet that the client takes.
    pub(super) client_limit: usize,
}

/// A value and the reservation that pays for it.
pub(super) struct Charged<T> {
    pub(super) value: T,
    pub(super) _charge: Reserved,
}

/// A message that waits for room in the ring.
#[derive(Debug, Clone, Copy)]
struct Stall {
    since: Instant,
    retry_at: Instant,
    wait: Duration,
}

/// What is left to do when a connection has ended.
pub(super) struct Remains {
    pub(super) session: Arc<Session>,
    pub(super) expiry: Duration,
    pub(super) will: Option<Charged<Will>>,
}

impl Connection {
    pub(super) fn new(number: u64, peer: IpAddr, leash: Arc<Leash>, session: Reserved, now: Instant) -> Self {
        let (stall, gave_up, session_room, open) = (None, false, Some(session), None);
        Self { number, peer, leash, began: now, last_packet: now, stall, gave_up, session_room, open }
    }

    /// Takes in what came from the peer: as many whole packets as there are.
    pub(super) fn receive(&mut self, input: &[u8], turn: &mut Turn<'_>) -> Received {
        let mut consumed = 0;
        let flow = loop {
            let rest = input.get(consumed..).unwrap_or_default();
            if self.open.is_none() && rest.first().is_some_and(|first| *first != 0x10) {
                // HTTP or TLS on the wrong port, most likely: no reason to wait for the rest of it.
                break Flow::Close(CloseReason::Protocol("something that is no CONNECT first"));
            }
            match wire::frame(rest, self.packet_limit(turn)) {
                Ok(Frame::Incomplete { need }) => break Flow::Need(need),
                Ok(Frame::Packet { first, body, len }) => match self.packet(first, body, len, turn) {
                    Step::Done => consumed += len,
                    Step::Stall => break self.stalled(turn.now),
                    Step::Close(reason) => break self.farewell(reason, turn),
                },
                Err(fault) => {
                    let reason = self.bad_frame(rest, fault, turn);
                    break self.farewell(reason, turn);
                }
            }
        };
        if consumed > 0 {
            self.last_packet = turn.now;
            self.leash.mark().set(turn.now);
        }
        Received { consumed, flow }
    }

    /// When [`Connection::handle_timeout`] or, after a stall, [`Connection::receive`] wants to be called.
    pub(super) fn next_timeout(&self, connect_timeout: Duration) -> Instant {
        match (&self.stall, &self.open) {
            (Some(stall), _) => stall.retry_at,
            (None, Some(open)) => self.last_packet + open.patience,
            (None, None) => self.began + connect_timeout,
        }
    }

    /// Says whether the time is up for this peer. While a message waits for the ring the peer is not read from, so its
    /// silence says nothing.
    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) -> Option<CloseReason> {
        if self.stall.is_some() || turn.now < self.next_timeout(turn.shared.config.connect_timeout) {
            return None;
        }
        let reason = if self.open.is_some() { CloseReason::KeepAlive } else { CloseReason::ConnectTimeout };
        self.say_farewell(&reason, turn);
        Some(reason)
    }

    /// Ends the connection because someone pulled its leash.
    pub(super) fn handle_call_off(&mut self, why: CallOff, turn: &mut Turn<'_>) -> CloseReason {
        let reason = match why {
            CallOff::Resumed | CallOff::Replaced => CloseReason::TakenOver,
            CallOff::Shutdown => CloseReason::Shutdown,
            CallOff::Crowded => CloseReason::Crowded,
        };
        self.say_farewell(&reason, turn);
        reason
    }

    /// Whether a message waits for room in the ring; then the peer is not to be read from.
    pub(super) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Ends the connection. What is left (the will, the session) is for the driver to see through; `None` if the peer
    /// never was let in.
    pub(super) fn finish(&mut self, reason: &CloseReason) -> Option<Remains> {
        let open = *self.open.take()?;
        let will = open.will.filter(|_| reason.wants_will());
        Some(Remains { session: open.session, expiry: open.expiry, will })
    }

    /// The client's name for the log, once it is known.
    pub(super) fn client_id(&self) -> &str {
        self.open.as_ref().map_or("", |open| open.session.client_id())
    }

    /// Writes the DISCONNECT that `reason` calls for.
    pub(super) fn say_farewell(&self, reason: &CloseReason, turn: &mut Turn<'_>) {
        if let (Some(open), Some(code)) = (&self.open, reason.code())
            && open.version == Version::V5
        {
            reply::disconnect_v5(turn.out, code, &reason.to_string(), open.client_limit);
        }
    }

    fn farewell(&self, reason: CloseReason, turn: &mut Turn<'_>) -> Flow {
        self.say_farewell(&reason, turn);
        Flow::Close(reason)
    }

    fn packet(&mut self, first: u8, body: &[u8], len: usize, turn: &mut Turn<'_>) -> Step {
        if first >> 4 == 3 && self.open.is_some() {
            return self.publish(first & 0xf, body, turn);
        }
        if len > limits::CONTROL_BYTES {
            return Step::Close(CloseReason::TooLarge { len, limit: limits::CONTROL_BYTES });
        }
        control::handle(self, first, body, turn)
    }

    fn packet_limit(&self, turn: &Turn<'_>) -> usize {
        let limit = turn.shared.config.max_packet;
        if self.open.is_some() { limit } else { limit.min(limits::CONNECT_BYTES) }
    }

    fn bad_frame(&self, rest: &[u8], fault: FrameError, turn: &mut Turn<'_>) -> CloseReason {
        match fault {
            FrameError::Length => CloseReason::Malformed("a packet whose length takes more than four bytes"),
            FrameError::TooLarge { len } => {
                if rest.first().is_some_and(|first| first >> 4 == 3) {
                    turn.tally.refused += 1;
                }
                CloseReason::TooLarge { len, limit: self.packet_limit(turn) }
            }
        }
    }

    /// Plans the next offer of the message that the ring did not take.
    fn stalled(&mut self, now: Instant) -> Flow {
        let stall = match self.stall {
            None => Stall { since: now, retry_at: now + limits::RETRY_FIRST, wait: limits::RETRY_FIRST },
            // Woken too early, for instance by the leash.
            Some(stall) if now < stall.retry_at => stall,
            Some(stall) => {
                let wait = (stall.wait * 2).min(limits::RETRY_LONGEST);
                Stall { since: stall.since, retry_at: now + wait, wait }
            }
        };
        self.stall = Some(stall);
        Flow::Stalled
    }

    /// The ring took a message.
    pub(super) fn was_taken(&mut self, now: Instant) {
        self.gave_up = false;
        self.unstall(now);
    }

    /// The ring did not take a message: whether the time has come to refuse it.
    pub(super) fn gives_up(&mut self, turn: &Turn<'_>) -> bool {
        let patience = turn.shared.config.full_patience;
        self.gave_up |= self.stall.is_some_and(|stall| turn.now.saturating_duration_since(stall.since) >= patience);
        if self.gave_up {
            self.unstall(turn.now);
        }
        self.gave_up
    }

    fn unstall(&mut self, now: Instant) {
        if self.stall.take().is_some() {
            self.last_packet = now;
        }
    }
}

//! The agent's side: decides when to say hello, when to seal, and what goes into the next batch.

mod build;

use crate::backoff::Backoff;
use crate::cursor::Cursor;
use crate::frame::{Hello, Refusal, RefusalKind, Reply};
use crate::ids::{Epoch, Fingerprint, Incarnation, LogName};
use crate::limits::{MAX_BATCH, MAX_CORRUPT_RETRIES, MIN_BATCH};
use crate::source::Source;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// How a sender paces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenderConfig {
    /// Time between rounds. A round ships everything that the ring holds when it begins.
    pub interval: Duration,
    /// Bytes of a batch at which the sender stops adding to it; one segment that is larger goes alone.
    pub max_batch: u32,
    /// The first wait after a failure, at most.
    pub min_backoff: Duration,
    /// The longest wait after failures.
    pub max_backoff: Duration,
    /// Randomness for jitter.
    pub seed: u64,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            max_batch: 1 << 20,
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            seed: 0,
        }
    }
}

/// What the driver should do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing until then (time as in `now`), or until there is demand; `None`: nothing ever again.
    Wait {
        /// When to poll again.
        until: Option<Duration>,
    },
    /// Seal the open segments and poll again once they are packed: a batch is about to go out.
    Seal,
    /// Send this hello, then report.
    Hello(Vec<u8>),
    /// Send this batch, then report.
    Batch(Vec<u8>),
}

/// Why an exchange brought no answer of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The hub could not be reached, or the connection broke.
    Transport(String),
    /// An HTTP status with no answer of the protocol; with the `Retry-After` that it carried.
    Status {
        /// The status code.
        code: u16,
        /// What it said.
        message: String,
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
}

/// What a sender is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderState {
    /// Waiting for the next round.
    Idle,
    /// In a round.
    Sending,
    /// Waiting after a failure.
    Backoff,
    /// Ended: a newer process with the same agent id took over.
    Fenced,
}

/// What a sender tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderStatus {
    /// What it is doing.
    pub state: SenderState,
    /// The epoch that the hub gave, once it has.
    pub epoch: Option<Epoch>,
    /// Why the last exchange failed, in words; `None` after one that succeeded.
    pub last_error: Option<String>,
    /// When it will try again (time as in `now`).
    pub next_attempt: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Idle {
        until: Duration,
    },
    /// In a round; `sealed`: the driver was asked to seal.
    Round {
        sealed: bool,
    },
    InFlight {
        sealed: bool,
    },
    /// Between two batches of a round, as the hub asked.
    Pause {
        until: Duration,
    },
    Backoff {
        until: Duration,
    },
    Fenced,
}

/// What a hub agreed to in its answer to a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Session {
    epoch: Epoch,
    max_batch: u32,
}

/// Ships one agent's logs. Call [`poll`](Self::poll) first; after [`Action::Hello`] or [`Action::Batch`] call exactly one of
/// [`handle_reply`](Self::handle_reply) and [`handle_failure`](Self::handle_failure) before polling on.
///
/// `now` is a monotonic time from any fixed origin. Invariant: what the sender offers of a log begins at the
/// hub's cursor as the hub last gave it, and never at a guess.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sender {
    config: SenderConfig,
    incarnation: Incarnation,
    state: State,
    /// `None` until the hub has answered a hello, and again when it must be asked anew.
    session: Option<Session>,
    /// The epoch of this incarnation, kept when a session ends.
    epoch: Option<Epoch>,
    /// The newest epoch of this agent id that a hub told of.
    newest: Epoch,
    cursors: BTreeMap<LogName, Cursor>,
    known_schemas: BTreeSet<Fingerprint>,
    /// Schemas in the batch that is under way.
    sent_schemas: Vec<Fingerprint>,
    /// The log at which the next batch begins, so that none starves behind a busy one.
    resume_at: Option<LogName>,
    backoff: Backoff,
    last_error: Option<String>,
    round_began: Duration,
    /// A round was asked for before its time.
    demand: bool,
    /// Refusals in a row that were answered at once.
    refusals: u32,
    corrupt: Option<(LogName, u64, u32)>,
}

impl Sender {
    /// A sender for one incarnation of a ring; its first round is due at once.
    pub fn new(incarnation: Incarnation, config: SenderConfig) -> Self {
        Self {
            backoff: Backoff::new(config.min_backoff, config.max_backoff, config.seed),
            config,
            incarnation,
            state: State::Idle { until: Duration::ZERO },
            session: None,
            epoch: None,
            newest: Epoch(0),
            cursors: BTreeMap::new(),
            known_schemas: BTreeSet::new(),
            sent_schemas: Vec::new(),
            resume_at: None,
            last_error: None,
            round_began: Duration::ZERO,
            demand: false,
            refusals: 0,
            corrupt: None,
        }
    }

    /// What it is doing and how it went.
    pub fn status(&self) -> SenderStatus {
        let (state, next_attempt) = match self.state {
            State::Idle { until } => (SenderState::Idle, Some(until)),
            State::Round { .. } | State::InFlight { .. } | State::Pause { .. } => (SenderState::Sending, None),
            State::Backoff { until } => (SenderState::Backoff, Some(until)),
            State::Fenced => (SenderState::Fenced, None),
        };
        SenderStatus { state, epoch: self.epoch, last_error: self.last_error.clone(), next_attempt }
    }

    /// Where the hub stands in `log`, as it last said.
    pub fn cursor(&self, log: &LogName) -> Cursor {
        self.cursors.get(log).copied().unwrap_or_default()
    }

    /// Asks for a round before its time (much is pending). A wait after a failure is not cut short.
    pub fn handle_demand(&mut self) {
        self.demand = true;
    }

    /// Asks for a round now, even in a wait after a failure: the process is about to end.
    pub fn handle_flush(&mut self) {
        self.demand = true;
        if let State::Backoff { .. } = self.state {
            self.state = State::Idle { until: Duration::ZERO };
        }
    }

    /// Whether [`poll`](Self::poll) may now give a batch. A driver that accounts for memory takes the room for one first.
    pub fn may_build(&self, now: Duration) -> bool {
        let due = match self.state {
            State::Idle { until } => self.demand || now >= until,
            State::Backoff { until } | State::Pause { until } => now >= until,
            State::Round { .. } => true,
            State::InFlight { .. } | State::Fenced => false,
        };
        due && self.session.is_some()
    }

    /// What to do now.
    pub fn poll<S: Source>(&mut self, now: Duration, source: &S) -> Action {
        match self.state {
            State::Fenced => return Action::Wait { until: None },
            State::InFlight { .. } => return Action::Wait { until: None },
            State::Idle { until } if now < until && !self.demand => return Action::Wait { until: Some(until) },
            State::Backoff { until } | State::Pause { until } if now < until => {
                return Action::Wait { until: Some(until) };
            }
            State::Idle { .. } | State::Backoff { .. } => {
                self.round_began = now;
                self.demand = false;
                self.state = State::Round { sealed: false };
            }
            State::Pause { .. } => self.state = State::Round { sealed: true },
            State::Round { .. } => {}
        }
        self.poll_round(now, source)
    }

    fn poll_round<S: Source>(&mut self, now: Duration, source: &S) -> Action {
        let State::Round { sealed } = self.state else { return Action::Wait { until: Some(now) } };
        let Some(session) = self.session else {
            self.state = State::InFlight { sealed };
            let (incarnation, epoch, after) = (self.incarnation, self.epoch, self.newest);
            return Action::Hello(Hello { incarnation, epoch, after, logs: source.logs() }.encode());
        };
        let logs = source.logs();
        if !sealed && logs.iter().any(|log| log.head > self.cursor(&log.log).next) {
            self.state = State::Round { sealed: true };
            return Action::Seal;
        }
        match self.build(session, &logs, source) {
            Some(batch) => {
                self.state = State::InFlight { sealed };
                Action::Batch(batch)
            }
            // Asked for during this round, perhaps after it had sealed: begin another one.
            None if self.demand => {
                self.state = State::Idle { until: now };
                self.poll(now, source)
            }
            None => {
                let until = self.round_began + self.config.interval;
                self.state = State::Idle { until: until.max(now) };
                // The caller polls again at once if that time has come.
                Action::Wait { until: Some(until.max(now)) }
            }
        }
    }

    /// Takes the hub's answer to what was sent last.
    pub fn handle_reply<S: Source>(&mut self, now: Duration, reply: &[u8], source: &S) {
        let State::InFlight { sealed } = self.state else { return };
        match Reply::decode(reply) {
            Ok(Reply::Hello(ack)) => {
                self.session = Some(Session { epoch: ack.epoch, max_batch: believable(ack.max_batch) });
                (self.epoch, self.newest) = (Some(ack.epoch), ack.epoch);
                self.refusals = 0;
                self.known_schemas.clear();
                // Where the logs stand is taken anew; having gone back is known by that.
                let _ = self.take_cursors(ack.cursors, source);
                self.succeeded(now, ack.pause, sealed);
            }
            Ok(Reply::Batch(ack)) => {
                self.known_schemas.extend(self.sent_schemas.drain(..));
                self.refusals = 0;
                self.corrupt = None;
                self.take_cursors_of_session(ack.cursors, source);
                self.succeeded(now, ack.pause, sealed);
            }
            Ok(Reply::Refusal(refusal)) => self.refused(now, refusal, sealed, source),
            Err(error) => self.back_off(now, Duration::ZERO, format!("the hub's answer cannot be read: {error}")),
        }
    }

    /// Takes the news that the exchange brought no answer of the protocol. Whether the hub took the request is not known;
    /// the next hello tells.
    pub fn handle_failure(&mut self, now: Duration, failure: Failure) {
        if !matches!(self.state, State::InFlight { .. }) {
            return;
        }
        match failure {
            Failure::Transport(why) => self.back_off(now, Duration::ZERO, why),
            Failure::Status { code, message, retry_after } => {
                let why = format!("the hub answered {code}: {message}");
                self.back_off(now, retry_after.unwrap_or_default(), why);
            }
        }
    }

    /// Takes the hub's word on some logs. Says whether one of them went back.
    fn take_cursors<S: Source>(&mut self, cursors: Vec<(LogName, Cursor)>, source: &S) -> bool {
        let mut went_back = false;
        for (log, cursor) in cursors {
            went_back |= cursor.next < self.cursor(&log).next;
            source.acknowledged(&log, cursor);
            self.cursors.insert(log, cursor);
        }
        went_back
    }

    /// A log that goes back within a session means that the hub's store was put back to what it was once. The answer tells of
    /// the logs that were sent; a hello asks about all the others, which may have nothing to send for long.
    fn take_cursors_of_session<S: Source>(&mut self, cursors: Vec<(LogName, Cursor)>, source: &S) {
        if self.take_cursors(cursors, source) {
            self.session = None;
        }
    }

    fn succeeded(&mut self, now: Duration, pause: Duration, sealed: bool) {
        self.backoff.reset();
        self.last_error = None;
        self.state = match pause.is_zero() || !sealed {
            true => State::Round { sealed },
            false => State::Pause { until: now + pause },
        };
    }

    fn refused<S: Source>(&mut self, now: Duration, refusal: Refusal, sealed: bool, source: &S) {
        let words = format!("{}: {}", refusal.kind.word(), refusal.detail);
        self.take_cursors_of_session(refusal.cursors, source);
        self.sent_schemas.clear();
        match refusal.kind {
            RefusalKind::Fenced { .. } => {
                self.last_error = Some(words);
                self.state = State::Fenced;
                return;
            }
            RefusalKind::Busy { retry_after } => {
                let wait = retry_after + self.backoff.next_busy_wait(retry_after);
                return self.come_back(now + wait, words);
            }
            // The usual second step of a restarted agent, not a failure worth showing.
            RefusalKind::Newest { newest } => (self.session, self.newest) = (None, newest),
            RefusalKind::UnknownSession => self.session = None,
            RefusalKind::NeedSchema { .. } => self.known_schemas.clear(),
            RefusalKind::TooLarge { limit } => self.shrink_batches(limit),
            RefusalKind::Corrupt { log, base } => self.count_corrupt(log, base, source),
            // The cursors that came along say where to go on.
            RefusalKind::Expected { .. } | RefusalKind::Malformed => {}
        }
        // Most refusals are cured by the next request; one that is not must not become a tight loop.
        self.refusals += 1;
        if self.refusals > 2 {
            return self.back_off(now, Duration::ZERO, words);
        }
        self.last_error = Some(words);
        self.state = State::Round { sealed };
    }

    /// The hub takes less than it said: believe the smaller figure.
    fn shrink_batches(&mut self, limit: u32) {
        if let Some(session) = &mut self.session {
            session.max_batch = session.max_batch.min(believable(limit));
        }
    }

    fn count_corrupt<S: Source>(&mut self, log: LogName, base: u64, source: &S) {
        let count = match &self.corrupt {
            Some((last_log, last_base, count)) if *last_log == log && *last_base == base => count + 1,
            _ => 1,
        };
        if count >= MAX_CORRUPT_RETRIES {
            source.discard(&log, base);
            self.corrupt = None;
        } else {
            self.corrupt = Some((log, base, count));
        }
    }

    fn back_off(&mut self, now: Duration, at_least: Duration, why: String) {
        let wait = at_least + self.backoff.next_wait();
        self.come_back(now + wait, why);
    }

    fn come_back(&mut self, until: Duration, why: String) {
        // Whether the hub still knows the session, and where its logs stand, is for the next hello to say.
        self.session = None;
        self.refusals = 0;
        self.sent_schemas.clear();
        self.last_error = Some(why);
        self.state = State::Backoff { until };
    }
}

/// A hub's limit, where it makes sense. One that takes less than a receipt refuses what it gets, and its refusals are shown.
fn believable(limit: u32) -> u32 {
    limit.clamp(MIN_BATCH as u32, MAX_BATCH as u32)
}

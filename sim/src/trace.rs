//! What happened, in order: a hash of all of it, and on request a line for each event.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// An agent came up; with its number.
    AgentUp(u32),
    /// An agent is gone, in the words of why.
    AgentDown(u32, &'static str),
    /// An agent took records in: log, how many offered, its head after.
    Append(u32, String, u64, u64),
    /// An agent sends: exchange, what, bytes, their hash, the hub.
    Send(u64, &'static str, usize, u64, usize),
    /// What became of a message on its way.
    Fate(u64, &'static str),
    /// A request reaches a hub.
    Arrive(u64, usize),
    /// A hub answered: what, and the hash of the answer.
    Answer(u64, String, u64),
    /// The agent heard it.
    Hear(u64, bool),
    /// A hub asked its store: operation, name, what came of it.
    Disk(usize, &'static str, String, &'static str),
    /// A hub came up.
    HubUp(usize),
    /// A hub is gone.
    HubDown(usize, &'static str),
    /// The world changed.
    World(String),
    /// A promise was broken.
    Violation(String),
}

/// Where lines go.
pub type Sink = Box<dyn FnMut(&str) + Send>;

/// All events so far, as a hash.
pub struct Trace {
    hasher: DefaultHasher,
    events: u64,
    sink: Option<Sink>,
}

impl Trace {
    /// An empty trace; events are shown to `sink` if there is one.
    pub fn new(sink: Option<Sink>) -> Self {
        Self { hasher: DefaultHasher::new(), events: 0, sink }
    }

    /// Notes an event.
    pub fn note(&mut self, at: Duration, event: &Event) {
        (at, event).hash(&mut self.hasher);
        self.events += 1;
        if let Some(sink) = &mut self.sink {
            sink(&format!("{:>9.3} {event}", at.as_secs_f64()));
        }
    }

    /// Shows something that is no event.
    pub fn show(&mut self, text: &str) {
        if let Some(sink) = &mut self.sink {
            sink(text);
        }
    }

    /// The hash of all events, and their number.
    pub fn sum(&self) -> (u64, u64) {
        (self.hasher.finish(), self.events)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("events", &self.events).finish_non_exhaustive()
    }
}

/// A short name for bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8]))
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentUp(agent) => write!(f, "agent {agent}  up"),
            Self::AgentDown(agent, why) => write!(f, "agent {agent}  down: {why}"),
            Self::Append(agent, log, count, head) => write!(f, "agent {agent}  takes {count} for {log}, head {head}"),
            Self::Send(id, what, len, hash, hub) => {
                write!(f, "net #{id}  {what} of {len} bytes ({hash:016x}) for hub {hub}")
            }
            Self::Fate(id, fate) => write!(f, "net #{id}  {fate}"),
            Self::Arrive(id, hub) => write!(f, "hub {hub}  gets #{id}"),
            Self::Answer(id, what, hash) => write!(f, "net #{id}  answered: {what} ({hash:016x})"),
            Self::Hear(id, true) => write!(f, "net #{id}  heard"),
            Self::Hear(id, false) => write!(f, "net #{id}  failed for the agent"),
            Self::Disk(hub, what, name, outcome) => write!(f, "hub {hub}  disk {what} {name}: {outcome}"),
            Self::HubUp(hub) => write!(f, "hub {hub}  up"),
            Self::HubDown(hub, why) => write!(f, "hub {hub}  down: {why}"),
            Self::World(what) => write!(f, "world  {what}"),
            Self::Violation(what) => write!(f, "VIOLATION  {what}"),
        }
    }
}

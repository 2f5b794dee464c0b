//! The state of the model: agents with the real `Sender`, requests in work with the real receivers, letters on their way, a store.
//!
//! Time is abstract. Every wait of a sender has length zero here, except the pause that hubs ask for, to whose end the clock
//! jumps; whether a wait passes soon or late is the checker's choice of when to take the step `Poll`. So no time is in a state.

use crate::bounds::{Bounds, Budget};
use crate::breaks::Break;
use crate::peers::ring::{Logs, Ring};
use crate::peers::store::{Fault, Store};
use crate::shared::Shared;
use pyralog_sync_protocol::receiver::{BatchReceiver, HelloReceiver};
use pyralog_sync_protocol::{Cursor, Incarnation, LogName, Sender, SenderConfig, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One moment of the world.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct World {
    /// Every incarnation there was, in the order of their starts.
    pub agents: Vec<Shared<Agent>>,
    /// Requests that hubs work on. A hub keeps nothing between requests, so its work is all there is of it.
    pub jobs: Vec<Shared<Job>>,
    /// What is on its way. A bag: nothing keeps its order.
    pub letters: Vec<Shared<Letter>>,
    pub store: Shared<Stored>,
    pub left: Budget,
}

/// The store, with what the checker noted of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Stored {
    pub store: Store,
    /// The first thing that is wrong with the chains.
    pub fault: Option<Fault>,
    /// Something that was stored changed.
    pub rewritten: bool,
    /// Writes that a broken hub answered for and has not made durable yet.
    pub unwritten: Vec<Step>,
}

/// One incarnation of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Agent {
    pub incarnation: Incarnation,
    /// `None` once it has crashed.
    pub life: Option<Life>,
    /// How many records each log had accepted: remembered beyond the crash.
    pub heads: BTreeMap<LogName, u64>,
    /// Heads that a hello told of and that the agent knows to have been heard.
    pub heard: BTreeMap<LogName, u64>,
}

/// What a crash takes from an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    pub sender: Sender,
    pub logs: Logs,
    /// Heads in the hello under way, or `None` when no hello is.
    pub telling: Option<BTreeMap<LogName, u64>>,
    pub in_flight: bool,
}

/// Something on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Letter {
    pub agent: usize,
    /// Whether the agent still waits for this exchange; an answer to another one reaches nobody.
    pub current: bool,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    Hello(Arc<[u8]>),
    Batch(Arc<[u8]>),
    Reply(Arc<[u8]>),
}

/// A request in work at a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Job {
    pub agent: usize,
    pub current: bool,
    pub request: Arc<[u8]>,
    pub receiver: Receiver,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Receiver {
    Hello(HelloReceiver),
    Batch(BatchReceiver<Arc<[u8]>>),
}

impl World {
    pub fn new(bounds: &Bounds) -> Self {
        let store = Shared::new(Stored::default());
        let mut world = Self { agents: Vec::new(), jobs: Vec::new(), letters: Vec::new(), store, left: bounds.budget };
        world.start_agent(bounds);
        world
    }

    /// A new incarnation begins.
    pub fn start_agent(&mut self, bounds: &Bounds) {
        let incarnation = Incarnation([self.agents.len() as u8 + 1; 16]);
        let config = SenderConfig {
            interval: Duration::ZERO,
            max_batch: bounds.max_batch,
            min_backoff: Duration::ZERO,
            max_backoff: Duration::ZERO,
            seed: 0,
        };
        let sender = Sender::new(incarnation, config);
        let life = Some(Life { sender, logs: Logs::new(), telling: None, in_flight: false });
        let (heads, heard) = (BTreeMap::new(), BTreeMap::new());
        self.agents.push(Shared::new(Agent { incarnation, life, heads, heard }));
    }

    /// Lets agent `index` do something with its sender and its ring; a dead one does nothing.
    pub fn with_agent<R>(
        &mut self,
        index: usize,
        bounds: &Bounds,
        act: impl FnOnce(&mut Sender, &Ring) -> R,
    ) -> Option<R> {
        self.agents[index].change(|agent| {
            let life = agent.life.as_mut()?;
            let ring = Ring::new(std::mem::take(&mut life.logs), usize::MAX, bounds.rows);
            let result = act(&mut life.sender, &ring);
            life.logs = ring.into_logs();
            Some(result)
        })
    }

    /// The exchange of `agent` is over: what is on its way of it has nobody waiting any more.
    pub fn end_exchange(&mut self, index: usize) {
        self.letters.retain(|letter| letter.agent != index || !matches!(letter.content, Content::Reply(_)));
        for letter in self.letters.iter_mut().filter(|letter| letter.agent == index && letter.current) {
            letter.change(|letter| letter.current = false);
        }
        for job in self.jobs.iter_mut().filter(|job| job.agent == index && job.current) {
            job.change(|job| job.current = false);
        }
        self.agents[index].change(|agent| {
            if let Some(life) = &mut agent.life {
                (life.in_flight, life.telling) = (false, None);
            }
        });
        self.sort();
    }

    /// Brings the bags into the order of their members, so that equal worlds look alike.
    pub fn sort(&mut self) {
        self.letters.sort_by_key(Shared::rank);
        self.jobs.sort_by_key(Shared::rank);
    }

    /// Whether anything of the agent's present exchange is still on its way or in work.
    pub fn hopes(&self, index: usize) -> bool {
        self.letters.iter().any(|letter| letter.agent == index && letter.current)
            || self.jobs.iter().any(|job| job.agent == index && job.current)
    }

    /// Whether a hub is free for a request of `agent`.
    pub fn has_place(&self, index: usize, bounds: &Bounds) -> bool {
        self.jobs.iter().filter(|job| job.agent == index).count() < bounds.hubs
    }
}

impl Agent {
    /// Where the hub stands in `log`, as the sender believes.
    pub fn cursor(&self, log: &LogName) -> Cursor {
        self.life.as_ref().map(|life| life.sender.cursor(log)).unwrap_or_default()
    }
}

/// The names of the world's logs.
pub fn log_names(bounds: &Bounds) -> Vec<LogName> {
    ["a", "bb"].iter().take(bounds.logs).filter_map(|name| LogName::new(name).ok()).collect()
}

/// The model: a world's bounds, how its hubs are broken, and which states are known to come to rest.
pub struct Model {
    pub bounds: Bounds,
    pub broken: Option<Break>,
    pub at_rest: crate::calm::Known,
}

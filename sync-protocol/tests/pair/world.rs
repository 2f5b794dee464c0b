//! Agents and hubs in virtual time, over a link that loses, duplicates, delays and reorders, with crashes of either side.

use crate::peers::ring::{Logs, Ring};
use crate::peers::store::Store;
use crate::peers::truth;
use pyralog_sync_protocol::receiver::Terms;
use pyralog_sync_protocol::{
    Action, Answer, BatchReceiver, Cursor, Epoch, Failure, HelloReceiver, Incarnation, LogName, Sender, SenderConfig,
    SenderState, Step,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// How bad the world is, as chances in 1,000.
#[derive(Clone, Copy)]
pub struct Weather {
    pub lose: u64,
    pub duplicate: u64,
    pub crash_hub: u64,
    pub crash_agent: u64,
    pub store_fails: u64,
    /// Longest delay of a message, in milliseconds.
    pub delay: u64,
}

pub const CALM: Weather = Weather { lose: 0, duplicate: 0, crash_hub: 0, crash_agent: 0, store_fails: 0, delay: 5 };
pub const STORM: Weather =
    Weather { lose: 150, duplicate: 150, crash_hub: 15, crash_agent: 4, store_fails: 20, delay: 8_000 };

/// Segments that the ring holds of each log, and records in one.
const SEGMENTS: usize = 6;
const ROWS: usize = 5;

#[derive(Clone)]
enum Event {
    Poll,
    Append,
    Request { exchange: u64, bytes: Vec<u8>, hello: bool, hub: usize },
    Step { job: u64 },
    Reply { exchange: u64, bytes: Vec<u8> },
    Timeout { exchange: u64 },
}

enum Receiver {
    Hello(Box<HelloReceiver>),
    Batch(Box<BatchReceiver<Vec<u8>>>),
}

struct Job {
    receiver: Receiver,
    exchange: u64,
    hub: usize,
}

pub struct World {
    pub now: u64,
    pub store: Store,
    pub ring: Ring,
    pub sender: Sender,
    pub incarnation: Incarnation,
    /// Every incarnation there was, with the final heads of those that crashed.
    pub past: BTreeMap<Incarnation, BTreeMap<LogName, u64>>,
    pub weather: Weather,
    pub logs: Vec<LogName>,
    random: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    jobs: BTreeMap<u64, Job>,
    outstanding: Option<u64>,
    serial: u64,
    appending: bool,
    terms: Terms,
}

impl World {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let incarnation = Incarnation([0; 16]);
        let logs = ["climate", "vibration_x", "host"].map(|name| LogName::new(name).unwrap()).to_vec();
        let mut world = Self {
            now: 0,
            store: Store::default(),
            ring: Ring::new(Logs::new(), SEGMENTS, ROWS),
            sender: Sender::new(incarnation, SenderConfig::default()),
            incarnation,
            past: BTreeMap::new(),
            weather,
            logs,
            random: seed,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            jobs: BTreeMap::new(),
            outstanding: None,
            serial: 0,
            appending: true,
            terms: Terms { max_batch: 4096, ..Terms::default() },
        };
        world.start_agent();
        world.after(0, Event::Append);
        world
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit.max(1)
    }

    fn chance(&mut self, in_1000: u64) -> bool {
        self.below(1000) < in_1000
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((self.now + wait, self.serial)));
        self.bodies.insert(self.serial, event);
    }

    fn start_agent(&mut self) {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&(self.past.len() as u64 + 1).to_le_bytes());
        self.incarnation = Incarnation(name);
        let config = SenderConfig {
            interval: Duration::from_secs(2),
            max_batch: 512,
            seed: self.below(1 << 30),
            ..SenderConfig::default()
        };
        self.sender = Sender::new(self.incarnation, config);
        self.ring = Ring::new(Logs::new(), SEGMENTS, ROWS);
        self.outstanding = None;
        self.after(0, Event::Poll);
    }

    /// Where the hub stands in `log`, as the ring was told.
    pub fn cursor(&self, log: &LogName) -> Cursor {
        self.ring.books().into_iter().find(|(name, _)| name == log).map(|(_, books)| books.cursor).unwrap_or_default()
    }

    fn check_books(&self) {
        assert!(self.ring.books().iter().all(|(_, books)| books.balance()), "{:?}", self.ring.books());
    }

    pub fn crash_agent(&mut self) {
        self.check_books();
        let heads = self.logs.iter().map(|log| (log.clone(), self.ring.head(log))).collect();
        self.past.insert(self.incarnation, heads);
        self.start_agent();
    }

    /// Runs for `millis` of virtual time, with a cap on events.
    pub fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        for _ in 0..200_000 {
            match self.events.peek() {
                Some(Reverse((at, _))) if *at <= end => {}
                _ => break,
            }
            let Some(Reverse((at, serial))) = self.events.pop() else { break };
            self.now = at;
            if let Some(event) = self.bodies.remove(&serial) {
                self.apply(event);
            }
        }
        self.now = end;
    }

    /// Faults stop, appends stop; time enough passes for every backoff.
    pub fn settle(&mut self) {
        self.weather = CALM;
        self.appending = false;
        self.run(1_000_000);
    }

    fn clock(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Append => self.append(),
            Event::Poll => self.poll(),
            Event::Request { exchange, bytes, hello, hub } => {
                let receiver = match hello {
                    true => Receiver::Hello(Box::new(HelloReceiver::new(&bytes, self.terms, self.now as i64))),
                    false => Receiver::Batch(Box::new(BatchReceiver::new(bytes, self.terms, self.now as i64))),
                };
                self.serial += 1;
                let job = self.serial;
                self.jobs.insert(job, Job { receiver, exchange, hub });
                self.after(0, Event::Step { job });
            }
            Event::Step { job } => self.step(job),
            Event::Reply { exchange, bytes } if self.outstanding == Some(exchange) => {
                self.outstanding = None;
                self.sender.handle_reply(self.clock(), &bytes, &self.ring);
                self.check_books();
                self.after(0, Event::Poll);
            }
            Event::Timeout { exchange } if self.outstanding == Some(exchange) => {
                self.outstanding = None;
                self.sender.handle_failure(self.clock(), Failure::Transport("timed out".into()));
                self.after(0, Event::Poll);
            }
            Event::Reply { .. } | Event::Timeout { .. } => {}
        }
    }

    fn append(&mut self) {
        if self.appending {
            let which = self.below(3) as usize;
            let log = self.logs[which].clone();
            let (incarnation, name) = (self.incarnation, log.clone());
            self.ring.append(&log, |offset| truth(incarnation, &name, offset));
            if self.chance(self.weather.crash_agent) {
                self.crash_agent();
            }
            let wait = self.below(200);
            self.after(wait, Event::Append);
        }
    }

    fn poll(&mut self) {
        for _ in 0..4 {
            match self.sender.poll(self.clock(), &self.ring) {
                Action::Wait { until: Some(until) } => {
                    let wait = (until.as_millis() as u64).saturating_sub(self.now);
                    return self.after(wait.max(1), Event::Poll);
                }
                Action::Wait { until: None } => return,
                Action::Seal => self.ring.seal_all(),
                Action::Hello(bytes) => return self.send(bytes, true),
                Action::Batch(bytes) => return self.send(bytes, false),
            }
        }
    }

    fn send(&mut self, bytes: Vec<u8>, hello: bool) {
        self.serial += 1;
        let exchange = self.serial;
        self.outstanding = Some(exchange);
        self.after(4_000, Event::Timeout { exchange });
        let copies = u64::from(!self.chance(self.weather.lose)) + u64::from(self.chance(self.weather.duplicate));
        for _ in 0..copies {
            let (delay, hub) = (self.delay(), self.below(2) as usize);
            self.after(delay, Event::Request { exchange, bytes: bytes.clone(), hello, hub });
        }
    }

    fn delay(&mut self) -> u64 {
        // Most messages are quick; some come so late that their exchange was given up.
        if self.chance(800) { self.below(20) } else { self.below(self.weather.delay) }
    }

    fn step(&mut self, id: u64) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        if self.chance(self.weather.crash_hub) {
            self.jobs.retain(|_, other| other.hub != job.hub);
            return;
        }
        let step = match &job.receiver {
            Receiver::Hello(receiver) => receiver.poll().clone(),
            Receiver::Batch(receiver) => receiver.poll().clone(),
        };
        if let Step::Reply(reply) = step {
            if !self.chance(self.weather.lose) {
                let delay = self.delay();
                self.after(delay, Event::Reply { exchange: job.exchange, bytes: reply.encode() });
            }
            return;
        }
        if self.chance(self.weather.store_fails) {
            return;
        }
        let answer: Answer = self.store.take(&step);
        match &mut job.receiver {
            Receiver::Hello(receiver) => receiver.handle(answer),
            Receiver::Batch(receiver) => receiver.handle(answer),
        }
        self.jobs.insert(id, job);
        let wait = if self.chance(900) { self.below(3) } else { self.below(self.weather.delay) };
        self.after(wait, Event::Step { job: id });
    }

    /// I1 to I6 for everything that is stored, and that the last incarnation's records are all accounted for.
    pub fn check(&self) {
        let counts = self.store.check().unwrap();
        let newest = *self.store.epochs.keys().next_back().unwrap();
        assert_eq!(
            self.store.incarnation(newest),
            Some(self.incarnation),
            "the newest epoch is the last incarnation's"
        );
        assert_ne!(self.sender.status().state, SenderState::Fenced);
        for log in &self.logs {
            let (committed, lost) = counts.get(&(newest, log.clone())).copied().unwrap_or_default();
            assert_eq!(committed + lost, self.ring.head(log), "accepted = committed + receipted in {log}");
            assert_eq!(self.cursor(log).committed(), committed, "the agent knows what the hub has of {log}");
        }
        for (epoch, log) in counts.keys().filter(|(epoch, _)| *epoch < newest) {
            let (tip, incarnation) = (self.store.tip(*epoch, log), self.store.incarnation(*epoch).unwrap());
            assert!(tip.closed, "{log} of epoch {epoch} is closed");
            assert!(tip.cursor.next <= self.past[&incarnation][log], "nothing is receipted that was never accepted");
            assert_eq!(tip.cursor.next, tip.head_seen, "what was heard of is accounted for");
        }
        assert!(newest <= Epoch(self.past.len() as u32 + 1), "one epoch an incarnation at most");
    }
}

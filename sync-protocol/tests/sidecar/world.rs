//! One device, one agent, what each went through, and what must hold.

use std::collections::BTreeMap;

use pyralog_sync_protocol::sidecar::{
    Consumer, Device, Due, Producer, RecordBuf, Sessions, Sink, Taken, Time, Timing, Value,
};

use super::link::Link;

pub(crate) const DEVICE: &str = "press-4";
/// Unix nanoseconds at which the virtual time begins.
const EPOCH: i64 = 1_790_000_000_000_000_000;
const TICK: u64 = 500;
type Buffered = Producer<512>;

/// Numbers from a seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// How likely each fault is, in 10,000: of a byte, or of a step of the device's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) bytes_lost: u64,
    pub(crate) device_restarts: u64,
    pub(crate) agent_restarts: u64,
    /// That a record finds no room.
    pub(crate) full: u64,
}

impl Faults {
    pub(crate) const NONE: Self = Self { bytes_lost: 0, device_restarts: 0, agent_restarts: 0, full: 0 };
    pub(crate) const SOME: Self = Self { bytes_lost: 20, ..Self::NONE };
}

/// What one life of the device made and what became of it.
#[derive(Debug, Clone, Copy, Default)]
struct LifeStory {
    made: u64,
    dropped: u64,
    /// In the buffer when it ended.
    gone: u64,
}

/// A record as the agent's ring has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// The life of the agent that stored it.
    agent: u64,
    life: u64,
    n: u64,
    time: i64,
    made_at: i64,
}

pub(crate) struct World {
    now: u64,
    random: Random,
    faults: Faults,
    producer: Buffered,
    /// When the device started.
    booted: u64,
    life: u64,
    stories: BTreeMap<u64, LifeStory>,
    consumer: Consumer,
    sessions: Sessions,
    agent: u64,
    stored: Vec<Stored>,
    up: Link,
    down: Link,
    is_cut: bool,
    boot_ids_repeat: bool,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            now: 0,
            random: Random(seed),
            faults,
            producer: started(1),
            booted: 0,
            life: 1,
            stories: BTreeMap::from([(1, LifeStory::default())]),
            consumer: Consumer::new(),
            sessions: Sessions::new(),
            agent: 1,
            stored: Vec::new(),
            up: Link::default(),
            down: Link::default(),
            is_cut: false,
            boot_ids_repeat: false,
        }
    }

    pub(crate) fn producer(&self) -> &Buffered {
        &self.producer
    }

    pub(crate) fn device(&self) -> &Device {
        self.sessions.devices().find(|(name, _)| *name == DEVICE).unwrap().1
    }

    pub(crate) fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// How often the device was asked to go back.
    pub(crate) fn gaps(&self) -> u64 {
        self.consumer.counters().gaps
    }

    pub(crate) fn cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    pub(crate) fn boot_ids_repeat(&mut self) {
        self.boot_ids_repeat = true;
    }

    /// The device makes a record.
    pub(crate) fn append(&mut self) {
        let story = self.stories.get_mut(&self.life).unwrap();
        let mut record = RecordBuf::new("log", Time::SinceBoot(self.now - self.booted));
        record.with("life", Value::U64(self.life)).with("n", Value::U64(story.made)).with("at", Value::U64(self.now));
        assert_eq!(self.producer.append(&record), Ok(story.made));
        story.made += 1;
        story.dropped = self.producer.dropped();
    }

    /// Lets `micros` pass.
    pub(crate) fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while self.now < end {
            self.now = (self.now + TICK).min(end);
            self.step();
        }
    }

    /// A device's life of so many moments, with all faults.
    pub(crate) fn live(&mut self, moments: u64) {
        for _ in 0..moments {
            for _ in 0..self.random.below(4) {
                self.append();
            }
            let pause = self.random.below(20_000);
            self.run(pause);
            if self.random.below(10_000) < self.faults.device_restarts {
                self.restart_device();
            }
            if self.random.below(10_000) < self.faults.agent_restarts {
                self.restart_agent();
            }
        }
    }

    /// Lets the faults end, and waits until the device has an acknowledgement for everything.
    pub(crate) fn settle(&mut self) {
        self.faults = Faults::NONE;
        for _ in 0..100 {
            if self.producer.pending() == 0 {
                return;
            }
            self.run(1_000_000);
        }
        panic!("{} records are not acknowledged after 100 s", self.producer.pending());
    }

    pub(crate) fn restart_device(&mut self) {
        let story = self.stories.get_mut(&self.life).unwrap();
        story.gone = self.producer.pending();
        self.life += 1;
        self.booted = self.now;
        self.stories.insert(self.life, LifeStory::default());
        self.producer = started(if self.boot_ids_repeat { 1 } else { self.life });
        // What was in the UART is gone; what had left it goes on.
    }

    fn restart_agent(&mut self) {
        self.agent += 1;
        self.sessions = Sessions::new();
        self.consumer = Consumer::new();
        self.up.clear();
    }

    fn step(&mut self) {
        let Self { now, random, faults, .. } = self;
        let since_boot = *now - self.booted;
        let mut out = [0; 16];
        let room = self.up.room(*now);
        let count = self.producer.transmit(since_boot, &mut out[..room]);
        for byte in &out[..count] {
            if !self.is_cut {
                self.up.send(*now, *byte, faults.bytes_lost, random);
            }
        }
        let arrived = self.up.arrived(*now);
        let arrival = unix(*now);
        let mut ring = Ring { stored: &mut self.stored, agent: self.agent, full: faults.full, random };
        self.consumer.receive(&arrived, arrival, &mut self.sessions, &mut ring);
        let answer = self.consumer.unsent();
        let count = answer.len().min(self.down.room(*now));
        for byte in &answer[..count] {
            if !self.is_cut {
                self.down.send(*now, *byte, faults.bytes_lost, random);
            }
        }
        self.consumer.sent(count);
        let heard = self.down.arrived(*now);
        self.producer.receive(since_boot, &heard);
    }

    /// Within one life of the agent nothing is there twice, and all is in order. Over all of them, what is missing was
    /// dropped or went with a device's buffer.
    pub(crate) fn check(&self) {
        let mut last = BTreeMap::new();
        for stored in &self.stored {
            let before = last.insert((stored.agent, stored.life), stored.n);
            assert!(before.is_none_or(|n| n < stored.n), "{stored:?} after {before:?}");
        }
        for (life, story) in &self.stories {
            let mut seen: Vec<u64> = self.stored.iter().filter(|s| s.life == *life).map(|s| s.n).collect();
            seen.sort_unstable();
            seen.dedup();
            let missing = story.made - seen.len() as u64;
            let lost = story.dropped + story.gone;
            assert!(missing <= lost, "life {life}: {missing} missing, {story:?}");
        }
        self.check_dropped();
    }

    /// With one life of each, what the agent heard of as dropped is what it does not have.
    fn check_dropped(&self) {
        if self.stories.len() == 1 && self.agent == 1 {
            let made = self.stories[&1].made;
            assert_eq!(self.device().dropped, made - self.stored.len() as u64);
            assert_eq!(self.device().records, self.stored.len() as u64);
        }
    }

    /// The Unix time of each record is that at which it was made, but for so many nanoseconds.
    pub(crate) fn check_times(&self, tolerance: i64) {
        for stored in &self.stored {
            assert!((stored.time - stored.made_at).abs() <= tolerance, "{stored:?}");
        }
    }
}

fn started(boot: u64) -> Buffered {
    let timing = Timing { refresh: 5_000_000, ..Timing::DEFAULT };
    let mut producer = Producer::new();
    producer.set_timing(timing);
    producer.start(DEVICE, boot).unwrap();
    producer
}

fn unix(micros: u64) -> i64 {
    EPOCH + i64::try_from(micros).unwrap() * 1_000
}

struct Ring<'a> {
    stored: &'a mut Vec<Stored>,
    agent: u64,
    full: u64,
    random: &'a mut Random,
}

impl Sink for Ring<'_> {
    fn take(&mut self, due: Due<'_>) -> Taken {
        if self.random.below(10_000) < self.full {
            return Taken::Full(50);
        }
        assert_eq!(due.device, DEVICE);
        let number = |wanted: &str| {
            let values = due.record.as_ref().unwrap().values();
            let mut values = values.map(Result::unwrap).filter(|(name, _)| *name == wanted);
            match values.next() {
                Some((_, Value::U64(number))) => number,
                other => panic!("{wanted}: {other:?}"),
            }
        };
        let (life, n, made_at) = (number("life"), number("n"), unix(number("at")));
        self.stored.push(Stored { agent: self.agent, life, n, time: due.time.unwrap(), made_at });
        Taken::Stored
    }
}

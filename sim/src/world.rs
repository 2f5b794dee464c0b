//! What all parts of one history share: the plan, the weather, the time, the store's platter, and what was noted.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backup::Backup;
use crate::clock::Clocks;
use crate::disk::Platter;
use crate::hubs::Hub;
use crate::ledger::Ledger;
use crate::meddler::Meddler;
use crate::plan::Plan;
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::trace::{Event, Trace};
use crate::weather::Weather;

/// What happened how often.
pub type Tally = BTreeMap<&'static str, u64>;

/// A handle on a history.
pub type World = Arc<Shared>;

/// What a history shares. All of it runs on one thread; the locks are there since the product's types ask for them.
#[derive(Debug)]
pub struct Shared {
    /// What was planned.
    pub plan: Plan,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
    /// The weather now.
    pub weather: Mutex<Weather>,
    /// Which hubs cannot be reached, and how the store is, hub by hub.
    pub windows: Mutex<Vec<Window>>,
    /// Wall clocks.
    pub clocks: Mutex<Clocks>,
    /// What the store holds.
    pub platter: Mutex<Platter>,
    /// What it held once.
    pub backup: Mutex<Backup>,
    /// The hubs.
    pub hubs: Mutex<Vec<Hub>>,
    /// What agents accepted, and what hubs said.
    pub ledger: Mutex<Ledger>,
    /// What changes batches on their way.
    pub meddler: Mutex<Meddler>,
    /// Chance, for messages.
    pub network_chance: Mutex<Random>,
    /// Chance, for the store.
    pub disk_chance: Mutex<Random>,
    /// Chance, for retention.
    pub trim_chance: Mutex<Random>,
    /// Chance, for everything else.
    pub chance: Mutex<Random>,
    /// Something hangs: a good time for other things to happen.
    pub stirred: Notify,
    trace: Mutex<Trace>,
    tally: Mutex<Tally>,
    violation: Mutex<Option<String>>,
    began: Instant,
    serial: AtomicU64,
}

/// What a hub is cut off from at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Agents cannot reach it.
    pub cut: bool,
    /// How its store is.
    pub disk: DiskState,
}

/// How a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum DiskState {
    /// As the weather says.
    #[default]
    Usual,
    /// Every write fails: it is full.
    Full,
    /// Every write fails: it is mounted read-only.
    ReadOnly,
    /// Everything fails.
    Away,
}

impl Shared {
    /// A world at its beginning.
    pub fn new(plan: Plan, sabotage: Sabotage, trace: Trace) -> World {
        let hubs = plan.terms.len();
        let random = |part| Mutex::new(Random::new(plan.seed, part));
        Arc::new(Self {
            weather: Mutex::new(plan.weather),
            windows: Mutex::new(vec![Window::default(); hubs]),
            clocks: Mutex::new(Clocks::new(hubs)),
            platter: Mutex::default(),
            backup: Mutex::default(),
            hubs: Mutex::default(),
            ledger: Mutex::default(),
            meddler: Mutex::default(),
            network_chance: random("network"),
            disk_chance: random("disk"),
            trim_chance: random("retention"),
            chance: random("events"),
            stirred: Notify::new(),
            trace: Mutex::new(trace),
            tally: Mutex::default(),
            violation: Mutex::default(),
            began: Instant::now(),
            serial: AtomicU64::new(0),
            plan,
            sabotage,
        })
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A number that no other call gets.
    pub fn next(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes an event.
    pub fn note(&self, event: Event) {
        self.trace.lock().note(self.elapsed(), &event);
    }

    /// Counts something for the tally.
    pub fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    /// Adds to the tally.
    pub fn add(&self, what: &'static str, count: u64) {
        if count > 0 {
            *self.tally.lock().entry(what).or_default() += count;
        }
    }

    /// Notes the greatest of something in the tally.
    pub fn most(&self, what: &'static str, value: u64) {
        let mut tally = self.tally.lock();
        let greatest = tally.entry(what).or_default();
        *greatest = value.max(*greatest);
    }

    /// Says that something hangs.
    pub fn stir(&self) {
        self.count("frozen operations");
        self.stirred.notify_one();
    }

    /// A promise was broken. The first one is kept.
    pub fn fail(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(Event::Violation(what.clone()));
        self.violation.lock().get_or_insert(what);
    }

    /// Says so if a promise was broken.
    pub fn check(&self, result: Result<(), String>) {
        if let Err(what) = result {
            self.fail(what);
        }
    }

    /// The first promise that was broken.
    pub fn violation(&self) -> Option<String> {
        self.violation.lock().clone()
    }

    /// The tally so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Hash and number of all events so far.
    pub fn sum(&self) -> (u64, u64) {
        self.trace.lock().sum()
    }

    /// What cuts a hub off.
    pub fn window(&self, hub: usize) -> Window {
        self.windows.lock().get(hub).copied().unwrap_or_default()
    }
}

/// Spawns a task of a history.
pub fn spawn(world: &World, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(guarded(world, task))
}

/// A task in which a panic is a broken promise.
pub fn guarded(
    world: &World,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let world = Arc::clone(world);
    async move {
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            world.fail(format!("a panic: {}", words(&*panic)));
        }
    }
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

//! One process of the agent: the real ring and the real sync driver, fed with records that the ledger remembers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyralog_agent::ring::{Budget, Clock, Now, Ring};
use pyralog_agent::sync::{Packing, SyncConfig, SyncShared, SyncState, drive};
use pyralog_sync_protocol::AgentId;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::hubs::AGENT_ID;
use crate::intake::Intake;
use crate::ledger::Incarnation;
use crate::network::SimLink;
use crate::random::Random;
use crate::trace::Event;
use crate::watch::Watcher;
use crate::world::{World, spawn};

/// How long an agent that is stopped may go on shipping.
const GRACE: Duration = Duration::from_secs(10);

/// A running agent.
pub struct Agent {
    /// Its number, for people.
    pub number: u32,
    /// Its name for hubs.
    pub incarnation: Incarnation,
    /// Its ring.
    pub ring: Ring,
    /// Looks at it.
    pub watcher: Arc<Watcher>,
    shared: Arc<SyncShared>,
    taps: Arc<Taps>,
    /// How often the store had been put back when it began.
    restores: u64,
    driver: JoinHandle<()>,
    upkeep: Vec<JoinHandle<()>>,
}

/// How the world turns an agent's intake up and down.
#[derive(Debug, Default)]
pub struct Taps {
    closed: AtomicBool,
    more: AtomicU64,
}

impl Agent {
    /// Starts an agent with an empty ring.
    pub fn start(world: &World) -> Self {
        let mut random = world.chance.lock().fork();
        let mut incarnation = [0; 16];
        random.fill(&mut incarnation);
        let number = world.ledger.lock().incarnations() as u32 + 1;
        world.ledger.lock().begin(incarnation, number);
        world.note(Event::AgentUp(number));
        world.count("agents");
        let (plan, restores) = (&world.plan, world.ledger.lock().restores());
        let ring = Ring::new(plan.ring.clone(), Budget::new(plan.ring.max_memory));
        let watcher = Arc::new(Watcher::new(incarnation, ring.clone()));
        let (shared, taps) = (Arc::new(SyncShared::default()), Arc::new(Taps::default()));
        let driver = start_driver(world, &ring, incarnation, &shared, &watcher);
        let intake = Intake::new(world, &ring, incarnation, number, random.fork());
        let upkeep = vec![
            spawn(world, feed(Arc::clone(world), intake, Arc::clone(&taps), random.fork())),
            spawn(world, guests(Arc::clone(world), ring.clone(), random.fork())),
            spawn(world, pack(ring.clone(), plan.packing, random)),
            spawn(world, seal(Arc::clone(world), ring.clone())),
        ];
        Self { number, incarnation, ring, watcher, shared, taps, restores, driver, upkeep }
    }

    /// Whether a hub told it to stop for good.
    pub fn is_fenced(&self) -> bool {
        self.shared.report().state == SyncState::Fenced
    }

    /// Whether the hub has a record or a receipt for all that it took.
    pub fn is_done(&self) -> bool {
        let all = self.ring.sync_logs().iter().all(|log| log.cursor.next_offset == log.head);
        all && self.shared.report().state == SyncState::Idle
    }

    /// What its driver says of itself.
    pub fn report(&self) -> String {
        format!("{:?}, {:?}", self.shared.report(), self.ring.status().totals)
    }

    /// Lets much come in at once.
    pub fn flood(&self, records: u64) {
        self.taps.more.fetch_add(records, Ordering::Relaxed);
    }

    /// Lets nothing more in.
    pub fn close(&self) {
        self.taps.closed.store(true, Ordering::Relaxed);
    }

    /// The process dies; all that it had in memory is gone.
    pub fn crash(self, world: &World, why: &'static str) {
        // What it knew until then was right.
        world.check(self.watcher.account(world));
        self.tally(world);
        world.note(Event::AgentDown(self.number, why));
        self.driver.abort();
        self.upkeep.iter().for_each(JoinHandle::abort);
    }

    /// The process is asked to stop: intake ends, what is open is sealed, and what can be shipped in time is.
    pub async fn stop(mut self, world: World) {
        self.close();
        self.ring.seal_all(Now::default());
        self.shared.flush();
        let ended = timeout(GRACE, &mut self.driver).await.is_ok();
        if ended && !self.is_fenced() {
            world.count("flushes that shipped all");
            // Unless what it shipped went with a store that was put back meanwhile.
            let mut ledger = world.ledger.lock();
            let is_kept = ledger.restores() == self.restores;
            ledger.life_mut(self.incarnation).flushed = is_kept;
            drop(ledger);
            if self.ring.sync_logs().iter().any(|log| log.cursor.next_offset < log.head) {
                world.fail(format!("agent {}: its flush ended before all was shipped", self.number));
            }
        }
        self.crash(&world, "stopped");
    }

    fn tally(&self, world: &World) {
        let status = self.ring.status();
        world.add("evicted segments", status.evicted_segments);
        world.add("rejected payloads and records", status.rejected);
        world.add("losses by eviction, as the agent has it", status.totals.receipted[0]);
    }
}

fn start_driver(
    world: &World,
    ring: &Ring,
    incarnation: Incarnation,
    shared: &Arc<SyncShared>,
    watcher: &Arc<Watcher>,
) -> JoinHandle<()> {
    let link = SimLink::new(Arc::clone(world), Arc::clone(watcher));
    let (ring, shared, plan) = (ring.clone(), Arc::clone(shared), world.plan.clone());
    spawn(world, async move {
        let Ok(agent_id) = AgentId::new(AGENT_ID) else { return };
        let config = SyncConfig {
            interval: plan.interval,
            max_batch: plan.max_batch,
            threshold: plan.threshold,
            timeout: plan.timeout,
            ..SyncConfig::new(Vec::new(), agent_id)
        };
        drive(link, Packing::Inline, &config, ring, Clock::start(), incarnation, shared).await;
    })
}

/// Lets records in until the tap is closed.
async fn feed(world: World, mut intake: Intake, taps: Arc<Taps>, mut random: Random) {
    let gap = world.plan.work.gap;
    let began = Instant::now();
    loop {
        sleep(random.about(gap)).await;
        let more = taps.more.swap(0, Ordering::Relaxed);
        if taps.closed.load(Ordering::Relaxed) {
            return;
        }
        intake.burst(&world, began.elapsed(), more);
    }
}

/// Requests and results come and go: each takes memory for a while.
async fn guests(world: World, ring: Ring, mut random: Random) {
    loop {
        sleep(random.about(Duration::from_secs(15))).await;
        let most = ring.budget().cap() / 4;
        match ring.reserve(random.below(most)) {
            Ok(_held) => sleep(random.within(Duration::from_secs(8))).await,
            Err(_) => world.count("requests without room"),
        }
    }
}

/// Packs what is sealed, sooner or later.
async fn pack(ring: Ring, lag: Duration, mut random: Random) {
    loop {
        ring.events().sealed().await;
        sleep(random.within(lag)).await;
        Packing::Inline.pack_all(&ring).await;
    }
}

/// Seals what is old.
async fn seal(world: World, ring: Ring) {
    let began = Instant::now();
    loop {
        sleep(Duration::from_secs(1)).await;
        let unix_ns = world.clocks.lock().agent(world.elapsed());
        ring.seal_due(Now { unix_ns, mono: began.elapsed() });
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("number", &self.number).finish_non_exhaustive()
    }
}

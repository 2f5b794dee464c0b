//! The great events of a history: who dies, what is cut off, when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::Agent;
use crate::backup;
use crate::clock::Jump;
use crate::hubs;
use crate::ledger;
use crate::plan::Profile;
use crate::random::Random;
use crate::trace::Event;
use crate::trims;
use crate::watch;
use crate::weather::Weather;
use crate::world::{DiskState, Window, World, spawn};

/// Agents with one id that are alive at once, at most.
const MAX_TWINS: usize = 3;
/// Agents of one history, at most.
const MAX_AGENTS: usize = 60;
/// How long everything may take to settle once nothing fails any more.
const SETTLE: Duration = Duration::from_secs(3_600);
/// Appends go on for so long after the storm: what works then must work as ever.
const CALM: Duration = Duration::from_secs(8);

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Great {
    AgentCrash,
    Twin,
    AgentRestart,
    HubCrash,
    Partition,
    DiskWindow,
    ClockJump,
    Burst,
    Birth,
    Look,
    Turn,
    Backup,
    Restore,
    Trim,
}

/// The living agents, and what is to come.
pub struct Storm {
    world: World,
    random: Random,
    agents: Vec<Agent>,
    stopping: Arc<AtomicUsize>,
    lull: bool,
    /// When what happens next, and whether it comes again.
    agenda: Vec<(Instant, Great, bool)>,
}

impl Storm {
    /// A storm that is about to begin, over one agent.
    pub fn new(world: &World) -> Self {
        let random = world.chance.lock().fork();
        let (agents, stopping) = (vec![Agent::start(world)], Arc::default());
        let mut storm = Self { world: Arc::clone(world), random, agents, stopping, lull: false, agenda: Vec::new() };
        for great in [
            Great::AgentCrash,
            Great::Twin,
            Great::AgentRestart,
            Great::HubCrash,
            Great::Partition,
            Great::DiskWindow,
            Great::ClockJump,
            Great::Burst,
            Great::Look,
            Great::Turn,
            Great::Backup,
            Great::Restore,
            Great::Trim,
        ] {
            storm.plan(great);
        }
        storm
    }

    /// Runs to the end of the storm, or to the first broken promise.
    pub async fn rage(&mut self) {
        let end = Instant::now() + self.world.plan.storm;
        while Instant::now() < end && self.world.violation().is_none() {
            let (at, place) = self.soonest().filter(|(at, _)| *at < end).unwrap_or((end, usize::MAX));
            tokio::select! {
                biased;
                () = self.world.stirred.notified() => self.stir(),
                () = sleep_until(at) => self.take(place),
            }
        }
    }

    fn take(&mut self, place: usize) {
        if place < self.agenda.len() {
            let (_, great, again) = self.agenda.swap_remove(place);
            self.happen(great);
            if again {
                self.plan(great);
            }
        }
    }

    /// While an operation hangs, what could make its end come at a bad time happens soon.
    fn stir(&mut self) {
        let all = [Great::Burst, Great::Burst, Great::Twin, Great::AgentCrash, Great::AgentRestart, Great::HubCrash];
        if self.world.plan.profile != Profile::Calm && self.random.chance(600) {
            let great = *self.random.pick(&all);
            let after = self.random.within(Duration::from_secs(6));
            self.world.note(Event::World(format!("something hangs; {great:?} follows")));
            self.agenda.push((Instant::now() + after, great, false));
        }
    }

    /// Ends all trouble and waits until every record is accounted for. Gives the agents that are alive then.
    pub async fn settle(mut self) -> Vec<Agent> {
        self.world.note(Event::World("the storm is over".into()));
        *self.world.weather.lock() = Weather::default();
        self.world.windows.lock().iter_mut().for_each(|window| *window = Window::default());
        (0..self.world.plan.terms.len()).for_each(|hub| hubs::up(&self.world, hub));
        if self.agents.is_empty() {
            self.agents.push(Agent::start(&self.world));
        }
        // Nobody but a hub says that the store went back, and a hub says it to agents that ship something.
        let went_back = self.world.ledger.lock().restores() > 0;
        if went_back {
            self.agents.iter().for_each(|agent| agent.flood(20));
        }
        sleep(if went_back { CALM * 8 } else { CALM }).await;
        self.agents.iter().for_each(Agent::close);
        let began = Instant::now();
        while self.world.violation().is_none() {
            self.bury_the_fenced();
            let quiet = self.agents.iter().all(Agent::is_done) && self.stopping.load(Ordering::Relaxed) == 0;
            if quiet && self.owns_the_newest_epoch() {
                break;
            }
            // What a dead agent told of is accounted for when the next one begins.
            if quiet || self.agents.is_empty() {
                let last = Agent::start(&self.world);
                last.close();
                self.agents.push(last);
            }
            if began.elapsed() > SETTLE {
                let reports: Vec<_> = self.agents.iter().map(Agent::report).collect();
                self.world.fail(format!("nothing settles: {}", reports.join("; ")));
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.world.most("seconds to settle, at most", began.elapsed().as_secs());
        self.agents
    }

    /// Whether the last agent that a hub let in is alive. Others may be too: one that has nothing to send is not told.
    fn owns_the_newest_epoch(&self) -> bool {
        ledger::learn_epochs(&self.world);
        let newest = self.world.ledger.lock().newest_opener();
        newest.is_some_and(|newest| self.agents.iter().any(|agent| agent.incarnation == newest))
    }

    fn bury_the_fenced(&mut self) {
        while let Some(at) = self.agents.iter().position(Agent::is_fenced) {
            self.world.count("fenced agents");
            self.agents.remove(at).crash(&self.world, "fenced, and stopped by its operator");
        }
    }

    fn soonest(&self) -> Option<(Instant, usize)> {
        self.agenda.iter().enumerate().map(|(place, (at, ..))| (*at, place)).min()
    }

    fn plan(&mut self, great: Great) {
        let events = self.world.plan.weather.events;
        let mean = match great {
            Great::AgentCrash => events.agent_crash,
            Great::Twin => events.twin,
            Great::AgentRestart => events.agent_restart,
            Great::HubCrash => events.hub_crash,
            Great::Partition => events.partition,
            Great::DiskWindow => events.disk_window,
            Great::ClockJump => events.clock_jump,
            Great::Burst => events.burst,
            Great::Look => self.world.plan.storm / 2,
            Great::Turn => events.turn,
            Great::Backup => events.backup,
            Great::Restore => events.restore,
            Great::Trim => events.trim,
            Great::Birth => Duration::ZERO,
        };
        if !mean.is_zero() {
            let after = self.random.about(mean);
            self.agenda.push((Instant::now() + after, great, true));
        }
    }

    fn happen(&mut self, great: Great) {
        let world = Arc::clone(&self.world);
        match great {
            Great::AgentCrash => {
                if let Some(agent) = self.remove_one() {
                    world.count("agent crashes");
                    agent.crash(&world, "crashed");
                    self.expect_birth();
                }
            }
            Great::AgentRestart => {
                if let Some(agent) = self.remove_one() {
                    world.count("clean stops");
                    let stopping = Arc::clone(&self.stopping);
                    stopping.fetch_add(1, Ordering::Relaxed);
                    let handle = Arc::clone(&world);
                    spawn(&world, async move {
                        agent.stop(handle).await;
                        stopping.fetch_sub(1, Ordering::Relaxed);
                    });
                    self.expect_birth();
                }
            }
            Great::Twin | Great::Birth => {
                self.bury_the_fenced();
                let most = if great == Great::Twin { MAX_TWINS } else { 1 };
                if self.agents.len() < most && world.ledger.lock().incarnations() < MAX_AGENTS {
                    world.add("twins", u64::from(!self.agents.is_empty()));
                    self.agents.push(Agent::start(&world));
                }
            }
            Great::HubCrash => {
                let hub = self.random.below(world.plan.terms.len() as u64) as usize;
                hubs::crash(&world, hub, "killed");
            }
            Great::Trim => {
                let hub = self.random.below(world.plan.terms.len() as u64) as usize;
                trims::happen(&world, hub);
            }
            Great::Backup => backup::take(&world),
            Great::Restore => backup::restore(&world),
            Great::Partition => self.partition(),
            Great::DiskWindow => self.disk_window(),
            Great::ClockJump => self.clock_jump(),
            Great::Burst => {
                let records = self.random.between(15, 90);
                world.note(Event::World(format!("a burst of {records} records")));
                self.agents.iter().for_each(|agent| agent.flood(records));
            }
            Great::Turn => {
                self.lull = !self.lull;
                let planned = world.plan.weather;
                *world.weather.lock() = if self.lull { planned.lull() } else { planned };
            }
            Great::Look => {
                watch::store(&world);
                for agent in &self.agents {
                    world.check(agent.watcher.account(&world));
                    world.check(agent.watcher.read(&world));
                }
            }
        }
    }

    /// One of the living agents, taken from their number.
    fn remove_one(&mut self) -> Option<Agent> {
        self.bury_the_fenced();
        let at = self.random.below(self.agents.len() as u64) as usize;
        (at < self.agents.len()).then(|| self.agents.remove(at))
    }

    fn expect_birth(&mut self) {
        let after = if self.random.chance(500) { Duration::ZERO } else { self.random.within(Duration::from_secs(15)) };
        self.agenda.push((Instant::now() + after, Great::Birth, false));
    }

    fn partition(&mut self) {
        let all = self.random.chance(500);
        let hubs = self.world.plan.terms.len();
        let one = self.random.below(hubs as u64) as usize;
        let longest = *self.random.pick(&[Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(60)]);
        let lasts = self.random.within(longest);
        self.world.count("partitions");
        self.window(if all { None } else { Some(one) }, lasts, |window| window.cut = true, |window| window.cut = false);
    }

    fn disk_window(&mut self) {
        let state = *self.random.pick(&[DiskState::Full, DiskState::ReadOnly, DiskState::Away]);
        let all = state == DiskState::Full || self.random.chance(600);
        let one = self.random.below(self.world.plan.terms.len() as u64) as usize;
        let lasts = self.random.within(Duration::from_secs(15));
        self.world.count(match state {
            DiskState::Full => "full disks",
            DiskState::ReadOnly => "read-only disks",
            _ => "disks away",
        });
        let usual = |window: &mut Window| window.disk = DiskState::Usual;
        self.window(if all { None } else { Some(one) }, lasts, move |window| window.disk = state, usual);
    }

    /// Does `begin` to the window of a hub, or of all, and `end` after a while.
    fn window(&self, hub: Option<usize>, lasts: Duration, begin: impl Fn(&mut Window), end: fn(&mut Window)) {
        let set = move |world: &World, change: &dyn Fn(&mut Window)| {
            let mut windows = world.windows.lock();
            windows
                .iter_mut()
                .enumerate()
                .filter(|(at, _)| hub.is_none_or(|hub| hub == *at))
                .for_each(|(_, w)| change(w));
            let now = windows.clone();
            drop(windows);
            world.note(Event::World(format!("windows: {now:?}")));
        };
        set(&self.world, &begin);
        let world = Arc::clone(&self.world);
        spawn(&self.world, async move {
            sleep(lasts).await;
            set(&world, &end);
        });
    }

    fn clock_jump(&mut self) {
        let how = *self.random.pick(&Jump::ALL);
        let hubs = self.world.plan.terms.len() as u64;
        let hub = self.random.chance(400).then(|| self.random.below(hubs) as usize);
        let elapsed = self.world.elapsed();
        self.world.clocks.lock().jump(hub, how, elapsed);
        self.world.count("clock jumps");
        self.world.add("clock jumps to 1970", u64::from(how == Jump::Dawn));
        self.world.note(Event::World(format!(
            "the clock of {} jumps: {how:?}",
            hub.map_or_else(|| "the device".into(), |hub| format!("hub {hub}"))
        )));
    }
}

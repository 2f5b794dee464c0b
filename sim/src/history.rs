//! One history from its seed to its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::plan::{Plan, Profile};
use crate::sabotage::Sabotage;
use crate::storm::Storm;
use crate::trace::{Sink, Trace};
use crate::world::{Shared, Tally, World, words};
use crate::{hubs, oracle};

/// What came of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Its kind.
    pub profile: Profile,
    /// The promise that was broken first.
    pub violation: Option<String>,
    /// A hash of everything that happened, in order.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// How long it was, as its own clock went.
    pub lasted: Duration,
    /// What happened how often.
    pub tally: Tally,
}

/// How to run a history.
#[derive(Default)]
pub struct Options {
    /// Its kind; `None`: as the seed says.
    pub profile: Option<Profile>,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
    /// Where a line for each event goes.
    pub sink: Option<Sink>,
}

/// Runs the history of `seed`.
pub fn run(seed: u64, options: Options) -> Report {
    let plan = Plan::new(seed, options.profile);
    let profile = plan.profile;
    let mut trace = Trace::new(options.sink);
    trace.show(&format!("seed {seed}: {plan:#?}"));
    let sabotage = options.sabotage;
    let outcome = catch_unwind(AssertUnwindSafe(move || simulate(plan, sabotage, trace)));
    outcome.unwrap_or_else(|panic| {
        let violation = Some(format!("a panic: {}", words(&*panic)));
        let (hash, events, lasted, tally) = (0, 0, Duration::ZERO, Tally::new());
        Report { seed, profile, violation, hash, events, lasted, tally }
    })
}

fn simulate(plan: Plan, sabotage: Sabotage, trace: Trace) -> Report {
    let (seed, profile) = (plan.seed, plan.profile);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let world = runtime.block_on(async move {
        let world = Shared::new(plan, sabotage, trace);
        live(&world).await;
        world
    });
    let lasted = runtime.block_on(async { world.elapsed() });
    // Tasks that are still asleep hold on to the world.
    drop(runtime);
    let ((hash, events), tally) = (world.sum(), world.tally());
    Report { seed, profile, violation: world.violation(), hash, events, lasted, tally }
}

async fn live(world: &World) {
    hubs::start(world);
    let mut storm = Storm::new(world);
    storm.rage().await;
    let living = storm.settle().await;
    if world.violation().is_none() {
        let verdict = oracle::check(world, &living).await;
        world.check(verdict);
    }
    living.into_iter().for_each(|agent| agent.crash(world, "the history ends"));
    hubs::end(&Arc::clone(world));
}

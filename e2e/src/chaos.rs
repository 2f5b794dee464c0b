//! Chaos: real processes, faults that come at random from a seed, and an account that must hold to the last record.
//!
//! A run is a series of short rounds. In each, writers stream numbered records into the agents while one fault happens; every few
//! rounds the writers rest, everything is shipped, and the hub's records are held against what was sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub mod faults;
pub mod ledger;
pub mod oracle;
pub mod record;
pub mod slot;
pub mod space;
pub mod world;
pub mod writers;

use faults::Fault;
use oracle::Totals;
use world::{Size, World};

use crate::Result;
use crate::generate::Random;

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides on the faults and their order.
    pub seed: u64,
    /// Rounds.
    pub rounds: u64,
    /// Faults to choose from.
    pub faults: Vec<Fault>,
    /// Whether they come in this order, instead of at random.
    pub in_order: bool,
    /// Rounds between two reckonings.
    pub reckon_every: u64,
    /// The processes.
    pub size: Size,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Rounds by fault.
    pub rounds: BTreeMap<Fault, u64>,
    /// The reckoning.
    pub totals: Totals,
    /// Starts of processes after the first ones.
    pub restarts: u64,
    /// Answers to writers that were no yes.
    pub refusals: BTreeMap<String, u64>,
    /// Answers of the hubs, by what they say.
    pub replies: BTreeMap<String, u64>,
    /// The most resident memory of any agent, and of any hub, in bytes.
    pub peaks: (u64, u64),
    /// Lives of agents, of all of them, that took more memory than they may.
    pub over_cap: (usize, usize),
    /// Faults that could not be had on this machine.
    pub left_out: Vec<Fault>,
}

/// Rounds with answers lost to sensors after which some of what they sent must have been stored all the same.
const TELLING: u64 = 8;

impl Outcome {
    /// Whether enough answers were lost to sensors, and yet nothing was stored without an acknowledgement, or nothing twice: then
    /// this run says nothing of such records.
    pub fn is_blind(&self) -> bool {
        let deaf = self.rounds.get(&Fault::SensorDeaf).copied().unwrap_or_default();
        deaf >= TELLING && (self.totals.unknown_committed == 0 || self.totals.repeated == 0)
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The round, from 1.
    pub round: u64,
    /// What happens in it.
    pub fault: Fault,
}

/// Runs a plan with its files in `folder`, and tells `progress` of each round.
///
/// # Errors
/// A broken promise, with the round, and everything that processes said in the folder.
pub async fn run(folder: &Path, plan: &Plan, mut progress: impl FnMut(Step)) -> Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let mut world = World::start(folder, &plan.size, &mut random).await?;
    let (mut outcome, mut at) = (Outcome::default(), 0);
    let ended = rounds(&mut world, plan, &mut random, &mut outcome, |step| {
        at = step.round;
        progress(step);
    })
    .await;
    if let Err(error) = ended {
        world.write_logs()?;
        return Err(format!("round {at}: {error}").into());
    }
    outcome.restarts = world.restarts;
    outcome.replies = world.replies();
    outcome.peaks = (world.agents.iter().map(|slot| slot.peak).max().unwrap_or_default(), world.hub_peak);
    outcome.over_cap = world
        .agents
        .iter()
        .fold((0, 0), |(over, all), slot| (over + slot.over_cap.len(), all + slot.lives.incarnations.len()));
    for notes in world.agents.iter().flat_map(|slot| slot.notes.values()) {
        for (why, count) in notes.refusals() {
            *outcome.refusals.entry(why).or_default() += count;
        }
    }
    Ok(outcome)
}

async fn rounds(
    world: &mut World,
    plan: &Plan,
    random: &mut Random,
    outcome: &mut Outcome,
    mut progress: impl FnMut(Step),
) -> Result<()> {
    let (faults, left_out): (Vec<_>, Vec<_>) =
        plan.faults.iter().copied().partition(|fault| world.has_disk() || !fault.needs_disk());
    outcome.left_out = left_out;
    if faults.is_empty() {
        return Err("no fault is left to choose from".into());
    }
    for round in 1..=plan.rounds {
        let chosen = if plan.in_order { round - 1 } else { random.below(faults.len() as u64) };
        let fault = faults.get((chosen % faults.len() as u64) as usize).copied().ok_or("no such fault")?;
        progress(Step { round, fault });
        tokio::time::sleep(Duration::from_millis(50 + random.below(250))).await;
        faults::inject(world, fault, random).await.map_err(|error| format!("{}: {error}", fault.name()))?;
        tokio::time::sleep(Duration::from_millis(50 + random.below(250))).await;
        *outcome.rounds.entry(fault).or_default() += 1;
        if round % plan.reckon_every == 0 {
            world.reckon().await.map_err(|error| format!("{}: {error}", fault.name()))?;
        }
    }
    outcome.totals = world.reckon_all().await.map_err(|error| format!("at the end: {error}"))?;
    Ok(())
}

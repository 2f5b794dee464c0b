//! Chaos: real processes, faults that come at random from a seed, and an account that must hold to the last record.
//!
//! A run is a series of short rounds. In each, writers stream numbered records into the agents while faults happen, one to three
//! at once; every few rounds the writers rest, everything is shipped, and the hub's records are held against what was sent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

pub mod act;
pub mod faults;
pub mod ledger;
pub mod oracle;
pub mod record;
pub mod script;
pub mod slot;
pub mod space;
pub mod world;
pub mod writers;

use faults::Fault;
use oracle::Totals;
use script::Script;
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
    /// Only this round of the seed, over and over.
    pub only: Option<u64>,
    /// Faults to choose from.
    pub faults: Vec<Fault>,
    /// Whether each round has the next of them, and others at random.
    pub in_order: bool,
    /// How many may happen at once.
    pub at_once: u64,
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
    /// Rounds by how many faults happened at once.
    pub at_once: BTreeMap<usize, u64>,
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

/// Runs a plan with its files in `folder`, and tells `progress` of each round. What happens in the rounds is written to `rounds.txt`.
///
/// # Errors
/// A broken promise, with the round, and everything that processes said in the folder.
pub async fn run(folder: &Path, plan: &Plan, mut progress: impl FnMut(&Script)) -> Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let mut world = World::start(folder, &plan.size, &mut random).await?;
    let mut notes = std::fs::File::create(folder.join("rounds.txt"))?;
    let (mut outcome, mut at) = (Outcome::default(), String::new());
    let ended = rounds(&mut world, plan, &mut outcome, |script| {
        at = script.to_string();
        // Without it the run is as good; the last line is in the error.
        let _ = writeln!(notes, "{at}");
        progress(script);
    })
    .await;
    if let Err(error) = ended {
        world.write_logs()?;
        return Err(format!("{error}\n  {at}").into());
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
    outcome: &mut Outcome,
    mut progress: impl FnMut(&Script),
) -> Result<()> {
    let (faults, left_out): (Vec<_>, Vec<_>) =
        plan.faults.iter().copied().partition(|fault| world.has_disk() || !fault.needs_disk());
    outcome.left_out = left_out;
    if faults.is_empty() {
        return Err("no fault is left to choose from".into());
    }
    let agents = world.agents.len() as u64;
    for round in 1..=plan.rounds {
        let in_turn = faults.iter().cycle().nth((round as usize - 1) % faults.len()).copied();
        let number = plan.only.unwrap_or(round);
        let script = Script::draw(plan.seed, number, &faults, in_turn.filter(|_| plan.in_order), plan.at_once, agents);
        progress(&script);
        script.happen(world).await?;
        for fault in &script.faults {
            *outcome.rounds.entry(*fault).or_default() += 1;
        }
        *outcome.at_once.entry(script.faults.len()).or_default() += 1;
        if round % plan.reckon_every == 0 {
            world.reckon().await?;
        }
    }
    outcome.totals = world.reckon_all().await.map_err(|error| format!("at the end: {error}"))?;
    Ok(())
}

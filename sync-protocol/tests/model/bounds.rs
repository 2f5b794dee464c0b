//! How large a world is checked, and what may go wrong in it.

use crate::world::World;
use pyralog_sync_protocol::frame::Reason;
use pyralog_sync_protocol::{Epoch, SenderState};
use std::time::Duration;

/// How often something may still happen. Part of the state: it is what keeps the space finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Records that are appended, to any log of any agent.
    pub appends: u8,
    /// Segments that are dropped from a ring, committed or not, in flight or not.
    pub evictions: u8,
    /// Segments whose bytes change in RAM.
    pub damages: u8,
    /// Rounds that are asked for before their time.
    pub demands: u8,
    /// Exchanges that the agent gives up while request or answer are still on their way.
    pub give_ups: u8,
    /// Requests that arrive twice.
    pub duplicates: u8,
    /// Messages that never arrive.
    pub losses: u8,
    /// Requests whose hub dies over them.
    pub hub_crashes: u8,
    /// Operations of the store that fail, having happened or not.
    pub store_failures: u8,
    /// Creates that succeed and are answered as if something had been there: a retry inside the store's client.
    pub echoes: u8,
    /// Agents that crash; a new incarnation starts in their place.
    pub agent_crashes: u8,
    /// Agents that start while others of the same id run on.
    pub twins: u8,
}

/// A world to check.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub name: &'static str,
    /// Logs, 1 or 2.
    pub logs: usize,
    /// Records at which a ring seals a segment; an open one is sealed when the sender asks for it.
    pub rows: usize,
    /// Bytes at which a sender stops adding to a batch: 1 gives each segment a batch of its own.
    pub max_batch: u32,
    /// How long hubs ask agents to wait between batches.
    pub pause: Duration,
    /// Requests of one incarnation that hubs work on at once: the number of hubs, as each takes one at a time.
    pub hubs: usize,
    pub budget: Budget,
    /// What must be reached at some time, or the world is not worth its name.
    pub reaches: fn(&World) -> bool,
}

/// Nothing happens.
const NOTHING: Budget = Budget {
    appends: 0,
    evictions: 0,
    damages: 0,
    demands: 0,
    give_ups: 0,
    duplicates: 0,
    losses: 0,
    hub_crashes: 0,
    store_failures: 0,
    echoes: 0,
    agent_crashes: 0,
    twins: 0,
};

/// One log, segments of one record, two hubs, and nothing happens.
const PLAIN: Bounds = Bounds {
    name: "plain",
    logs: 1,
    rows: 1,
    max_batch: 1 << 20,
    pause: Duration::ZERO,
    hubs: 2,
    budget: NOTHING,
    reaches: |_| true,
};

impl Bounds {
    /// The small world for every day, or the large one where more was asked for.
    pub fn of(small: Self, large: Budget) -> Self {
        match is_large() {
            true => Self { budget: large, ..small },
            false => small,
        }
    }
}

/// Whether `PYRALOG_MODEL=large` asks for larger worlds.
pub fn is_large() -> bool {
    std::env::var("PYRALOG_MODEL").is_ok_and(|size| size == "large")
}

/// Answers are given up while they are on their way, requests go on without anybody waiting, segments leave in between.
pub fn impatient() -> Bounds {
    let budget = Budget { appends: 2, evictions: 1, give_ups: 2, ..NOTHING };
    Bounds::of(
        Bounds { name: "impatient", budget, reaches: |world| receipted(world, Reason::Evicted), ..PLAIN },
        Budget { appends: 3, ..budget },
    )
}

/// The agent crashes, and its last requests arrive after those of the next incarnation.
pub fn crash() -> Bounds {
    let budget = Budget { appends: 2, give_ups: 1, agent_crashes: 1, ..NOTHING };
    Bounds::of(
        Bounds { name: "crash", budget, reaches: |world| receipted(world, Reason::Lost), ..PLAIN },
        Budget { evictions: 1, ..budget },
    )
}

/// Two crashes, three incarnations.
pub fn crashes() -> Bounds {
    let budget = Budget { appends: 1, agent_crashes: 2, ..NOTHING };
    Bounds::of(
        Bounds { name: "crashes", budget, reaches: |world| world.store.store.closed.contains(&Epoch(2)), ..PLAIN },
        Budget { give_ups: 1, ..budget },
    )
}

/// Two processes with one id.
pub fn twins() -> Bounds {
    let budget = Budget { appends: 1, give_ups: 1, twins: 1, ..NOTHING };
    Bounds::of(Bounds { name: "twins", budget, reaches: somebody_is_fenced, ..PLAIN }, Budget { appends: 2, ..budget })
}

/// Two processes with one id, of which one crashes.
pub fn twins_and_crash() -> Bounds {
    let budget = Budget { appends: 1, twins: 1, agent_crashes: 1, ..NOTHING };
    Bounds::of(
        Bounds { name: "twins and a crash", budget, reaches: somebody_is_fenced, ..PLAIN },
        Budget { appends: 2, ..budget },
    )
}

/// Hubs die, their store fails or answers wrongly of a create, and messages are lost or come twice.
pub fn troubled() -> Bounds {
    let budget =
        Budget { appends: 1, hub_crashes: 1, store_failures: 1, echoes: 1, duplicates: 1, losses: 1, ..NOTHING };
    let large = Budget { give_ups: 1, agent_crashes: 1, ..budget };
    Bounds::of(Bounds { name: "troubled", budget, reaches: committed_in_spite_of_all, ..PLAIN }, large)
}

/// Two logs, and a batch for each segment.
pub fn two_logs() -> Bounds {
    let budget = Budget { appends: 2, evictions: 1, give_ups: 1, ..NOTHING };
    let small = Bounds {
        name: "two logs",
        logs: 2,
        max_batch: 1,
        budget,
        reaches: |world| world.store.store.entries.len() == 2,
        ..PLAIN
    };
    Bounds::of(small, Budget { appends: 3, ..budget })
}

/// Segments of two records that are damaged in RAM, rounds before their time, and hubs that ask for pauses.
pub fn damaged() -> Bounds {
    let budget = Budget { appends: 3, evictions: 1, damages: 1, demands: 1, ..NOTHING };
    let small = Bounds {
        name: "damaged",
        rows: 2,
        pause: Duration::from_secs(1),
        budget,
        reaches: |world| receipted(world, Reason::Corrupt),
        ..PLAIN
    };
    Bounds::of(small, Budget { give_ups: 1, ..budget })
}

/// Whether some of what is stored is a receipt for this reason.
fn receipted(world: &World, reason: Reason) -> bool {
    let stored = &world.store.store;
    stored.entries.keys().any(|(epoch, log)| stored.tip(*epoch, log).cursor.receipted[reason as usize] > 0)
}

fn somebody_is_fenced(world: &World) -> bool {
    let mut lives = world.agents.iter().filter_map(|agent| agent.life.as_ref());
    lives.any(|life| life.sender.status().state == SenderState::Fenced)
}

fn committed_in_spite_of_all(world: &World) -> bool {
    let left = world.left;
    let spent = left.hub_crashes + left.store_failures + left.echoes + left.duplicates == 0;
    spent
        && world.agents.iter().any(|agent| {
            agent.life.as_ref().is_some_and(|life| life.logs.keys().any(|log| life.sender.cursor(log).committed() > 0))
        })
}

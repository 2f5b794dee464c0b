//! How large a world is checked, and what may go wrong in it.

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
    /// States at which checking stops; the report says whether the space was exhausted.
    pub cap: usize,
}

/// Nothing happens.
pub const NOTHING: Budget = Budget {
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
pub const PLAIN: Bounds = Bounds {
    name: "plain",
    logs: 1,
    rows: 1,
    max_batch: 1 << 20,
    pause: Duration::ZERO,
    hubs: 2,
    budget: NOTHING,
    cap: 20_000_000,
};

//! A model check of the protocol: every state that bounded worlds can reach, with the real `Sender` and the real receivers in them.
//!
//! `cargo test -p pyralog-sync-protocol --test model -- --nocapture` prints what was reached.
//! `PYRALOG_MODEL=large cargo test --release -p pyralog-sync-protocol --test model -- --nocapture` checks larger worlds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod actions;
mod bounds;
mod breaks;
mod calm;
mod hub;
#[path = "../peers/mod.rs"]
mod peers;
mod properties;
mod shared;
mod world;

use bounds::{Bounds, Budget};
use bounds::{NOTHING, PLAIN};
use breaks::Break;
use stateright::{Checker, HasDiscoveries, Model as _};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use world::Model;

/// Checks a world and prints what was reached; the names of the properties that do not hold, each with how it came about.
fn check(bounds: Bounds, broken: Option<Break>, wanted: HasDiscoveries) -> Vec<(&'static str, String)> {
    let began = Instant::now();
    let model = Model { bounds, broken, at_rest: calm::Known::default() };
    let builder = model.checker().target_state_count(bounds.cap).finish_when(wanted);
    let checker = builder.spawn_bfs().join();
    let exhausted = checker.is_done() && checker.state_count() < bounds.cap;
    println!(
        "{:<32} {:>9} states, {:>8} unique, depth {:>3}, {:>6.1} s{}",
        broken.map_or(bounds.name.to_owned(), |broken| format!("{} {broken:?}", bounds.name)),
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
        if exhausted { "" } else { ", not exhausted" },
    );
    let found = checker.discoveries().into_iter();
    found.map(|(name, path)| (name, format!("{:#?}", path.into_actions()))).collect()
}

fn holds(bounds: Bounds) {
    for (name, way) in check(bounds, None, HasDiscoveries::AnyFailures) {
        panic!("{}: {name} does not hold after {way}", bounds.name);
    }
}

fn finds(bounds: Bounds, broken: Break, expected: &'static str) {
    let found = check(bounds, Some(broken), HasDiscoveries::AllOf(BTreeSet::from([expected])));
    assert!(found.iter().any(|(name, _)| *name == expected), "{broken:?} went unnoticed: {found:?}");
}

/// One agent, two hubs; answers are given up while they are on their way, and requests go on without anybody waiting.
const IMPATIENT: Bounds =
    Bounds { name: "impatient", budget: Budget { appends: 2, evictions: 1, give_ups: 2, ..NOTHING }, ..PLAIN };

#[test]
fn late_requests_of_one_agent_change_nothing_twice() {
    holds(IMPATIENT);
}

#[test]
fn crash() {
    holds(Bounds { name: "crash", budget: Budget { appends: 2, give_ups: 1, agent_crashes: 1, ..NOTHING }, ..PLAIN });
}

#[test]
fn twins() {
    holds(Bounds { name: "twins", budget: Budget { appends: 2, twins: 1, ..NOTHING }, ..PLAIN });
}

#[test]
fn troubled() {
    holds(Bounds {
        name: "troubled",
        budget: Budget {
            appends: 1,
            give_ups: 1,
            hub_crashes: 1,
            store_failures: 1,
            echoes: 1,
            duplicates: 1,
            losses: 1,
            ..NOTHING
        },
        ..PLAIN
    });
}

#[test]
fn two_logs() {
    holds(Bounds {
        name: "two logs",
        logs: 2,
        max_batch: 1,
        budget: Budget { appends: 2, evictions: 1, give_ups: 1, ..NOTHING },
        ..PLAIN
    });
}

#[test]
fn damage() {
    holds(Bounds {
        name: "damage",
        rows: 2,
        pause: Duration::from_secs(1),
        budget: Budget { appends: 3, evictions: 1, give_ups: 1, damages: 1, demands: 1, ..NOTHING },
        ..PLAIN
    });
}

#[test]
fn early() {
    finds(IMPATIENT, Break::AckEarly, properties::DURABLE);
}

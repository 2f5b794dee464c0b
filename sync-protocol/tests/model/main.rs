//! A model check of the protocol: every state that bounded worlds can reach, with the real `Sender` and the real receivers in them.
//!
//! `cargo test -p pyralog-sync-protocol --test model -- --nocapture` prints what was reached.
//! `PYRALOG_MODEL=large cargo test --release -p pyralog-sync-protocol --test model -- --nocapture --test-threads 1` checks
//! larger worlds, which takes minutes and gigabytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

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

use bounds::Bounds;
use breaks::Break;
use properties::{AT_REST, AUTHENTIC, DURABLE, NEWEST, ONCE, REACHED};
use stateright::{Checker, HasDiscoveries, Model as _};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use world::Model;

/// States and time at which checking stops, so that it stays within some gigabytes; the report says whether all were reached.
const MAX_STATES: usize = 20_000_000;
const MAX_TIME: Duration = Duration::from_secs(300);

/// Checks a world and prints what was reached. Gives the names of the properties that do not hold, each with how it came about.
fn check(bounds: Bounds, broken: Option<Break>, until: HasDiscoveries) -> Vec<(&'static str, String)> {
    let began = Instant::now();
    let model = Model { bounds, broken, at_rest: calm::Known::default() };
    let builder = model.checker().target_state_count(MAX_STATES).timeout(MAX_TIME).finish_when(until);
    let checker = builder.spawn_bfs().join();
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.sort_by_key(|(name, _)| *name == REACHED);
    let is_good = found.iter().all(|(name, _)| *name == REACHED);
    println!(
        "{:<40} {:>9} states, {:>8} unique, depth {:>3}, {:>6.1} s{}",
        broken.map_or(bounds.name.to_owned(), |broken| format!("{}, {broken:?}", bounds.name)),
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
        match is_good && checker.state_count() < MAX_STATES && began.elapsed() < MAX_TIME {
            true => ", all of them",
            false => "",
        },
    );
    found.into_iter().map(|(name, path)| (name, format!("{:#?}", path.into_actions()))).collect()
}

/// Every state of the world has every property.
fn holds(bounds: Bounds, broken: Option<Break>) {
    let found = check(bounds, broken, HasDiscoveries::AnyFailures);
    if let Some((name, way)) = found.iter().find(|(name, _)| *name != REACHED) {
        panic!("{}: {name}: does not hold after {way}", bounds.name);
    }
    assert!(!found.is_empty(), "{}: nothing of what this world is there for was reached", bounds.name);
}

/// The break makes the world violate just what it should.
fn finds(bounds: Bounds, broken: Break, expected: &'static str) {
    let found = check(bounds, Some(broken), HasDiscoveries::AllOf(BTreeSet::from([expected])));
    assert!(found.iter().any(|(name, _)| *name == expected), "{broken:?} went unnoticed: {found:?}");
}

#[test]
fn requests_that_nobody_waits_for_change_nothing_twice() {
    holds(bounds::impatient(), None);
}

#[test]
fn an_agent_that_crashed_is_accounted_for_and_cannot_come_back() {
    holds(bounds::crash(), None);
}

#[test]
fn of_three_incarnations_only_the_last_commits() {
    holds(bounds::crashes(), None);
}

#[test]
fn of_two_processes_with_one_id_one_is_fenced_and_both_are_accounted_for() {
    holds(bounds::twins(), None);
}

#[test]
fn what_a_crashed_twin_had_is_accounted_for() {
    holds(bounds::twins_and_crash(), None);
}

#[test]
fn hubs_that_die_and_stores_that_fail_lose_nothing() {
    holds(bounds::troubled(), None);
}

#[test]
fn two_logs_do_not_disturb_each_other() {
    holds(bounds::two_logs(), None);
}

#[test]
fn a_segment_that_is_damaged_in_ram_ends_in_a_receipt() {
    holds(bounds::damaged(), None);
}

/// The comparison of epochs spares a late batch its way through the store; it is the closed chains and registers that stop it.
#[test]
fn without_the_comparison_of_epochs_in_batches_the_closed_chains_fence_all_the_same() {
    holds(bounds::crashes(), Some(Break::BatchEpochNotCompared));
}

/// The hello after a failure spares batches that a hub would answer with where it stands.
#[test]
fn an_agent_that_keeps_its_session_after_a_failure_loses_nothing_all_the_same() {
    holds(bounds::impatient(), Some(Break::SessionKept));
    holds(bounds::troubled(), Some(Break::SessionKept));
    holds(bounds::twins(), Some(Break::SessionKept));
}

/// What closes a chain is an entry where the next one would be, and no segment's hash follows on it. The check makes a plain
/// refusal of that.
#[test]
fn a_batch_that_does_not_see_that_its_chain_is_closed_cannot_add_to_it_all_the_same() {
    holds(bounds::crash(), Some(Break::ClosedChainNotSeen));
    holds(bounds::twins(), Some(Break::ClosedChainNotSeen));
}

#[test]
fn a_hub_that_answers_before_its_commit_is_durable_is_found_out() {
    finds(bounds::crash(), Break::AckEarly, DURABLE);
}

#[test]
fn a_hub_that_takes_every_request_for_the_newest_epochs_is_found_out() {
    finds(bounds::crash(), Break::EpochNotCompared, AUTHENTIC);
}

#[test]
fn a_store_that_replaces_what_is_there_is_found_out() {
    finds(bounds::impatient(), Break::Overwrite, ONCE);
}

#[test]
fn an_epoch_that_ends_without_closing_its_register_is_found_out() {
    finds(bounds::crash(), Break::RegisterNotClosed, NEWEST);
}

#[test]
fn a_listing_that_lags_behind_is_found_out() {
    finds(bounds::impatient(), Break::ListingLags, AT_REST);
}

#[test]
fn an_agent_that_takes_no_answer_for_a_good_one_is_found_out() {
    finds(bounds::impatient(), Break::AgentGuesses, DURABLE);
}

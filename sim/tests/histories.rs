//! Histories that must hold, histories that must be caught, and that a seed is all there is to them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use pyralog_sim::many::Series;
use pyralog_sim::{Options, Profile, Sabotage, run};

fn series(first: u64, histories: u64) -> Series {
    Series { first, histories, jobs: 1, profile: None, sabotage: Sabotage::None }
}

#[test]
fn the_same_seed_gives_the_same_history_to_the_last_byte() {
    for seed in 500..560 {
        let (one, other) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(one, other, "seed {seed}");
    }
}

fn caught(sabotage: Sabotage) -> Vec<String> {
    let series = Series { sabotage, ..series(0, 40) };
    series.run(|_| {}).broken.into_iter().filter_map(|report| report.violation).collect()
}

#[test]
fn a_store_that_forgets_what_it_acknowledged_is_caught() {
    assert!(!caught(Sabotage::ForgetfulStore).is_empty());
}

#[test]
fn a_store_whose_creates_overwrite_is_caught() {
    assert!(!caught(Sabotage::OverwritingStore).is_empty());
}

#[test]
fn a_reader_that_leaves_a_record_out_is_caught() {
    assert!(caught(Sabotage::ShortReader).iter().any(|what| what.contains("neither committed nor receipted")));
}

#[test]
fn a_reader_that_changes_a_value_is_caught() {
    assert!(caught(Sabotage::LyingReader).iter().any(|what| what.contains("not the one that was accepted")));
}

#[test]
fn a_record_that_nobody_owns_up_to_is_caught() {
    assert!(!caught(Sabotage::SecretRecord).is_empty());
}

//! Histories that must hold, histories that must be caught, and that a seed is all there is to them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::LazyLock;
use std::time::Duration;

use pyralog_sim::many::{Series, Summary};
use pyralog_sim::{Options, Profile, Sabotage, run};

/// Histories of the common run; `PYRALOG_HISTORIES=100000` asks for more.
const HISTORIES: u64 = 3_000;

/// Run once for all tests that look at it.
static COMMON: LazyLock<Summary> = LazyLock::new(|| {
    let asked = std::env::var("PYRALOG_HISTORIES").ok().and_then(|text| text.parse().ok());
    Series { jobs: 2, ..series(0, asked.unwrap_or(HISTORIES)) }.run(|_| {})
});

fn series(first: u64, histories: u64) -> Series {
    Series { first, histories, most: Duration::MAX, jobs: 1, profile: None, sabotage: Sabotage::None }
}

fn violations(summary: &Summary) -> Vec<String> {
    let show = |report: &pyralog_sim::Report| {
        let what = report.violation.as_deref().unwrap_or_default();
        format!("{what}\n  replay: cargo xtask sim --seed {} --trace", report.seed)
    };
    summary.broken.iter().map(show).collect()
}

#[test]
fn every_accepted_record_is_accounted_for_whatever_happens() {
    let broken = violations(&COMMON);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let counts = &COMMON.tally;
    let of = |what: &str| counts.get(what).copied().unwrap_or_default();
    let receipted = ["evicted", "lost", "corrupt"].map(|reason| of(&format!("records receipted as {reason}")));
    let unknown = of("records that no hub heard of") + of("records that a restored store forgot");
    let accounted = of("records committed") + receipted.iter().sum::<u64>() + unknown;
    assert_eq!(of("records accepted"), accounted);
}

#[test]
fn the_storm_is_worth_its_name() {
    // Per thousand histories; each is about half of what a run showed.
    let least = [
        ("agent crashes", 1_500),
        ("cancelled requests", 800),
        ("clock jumps to 1970", 250),
        ("damaged messages", 100),
        ("duplicates of old incarnations", 500),
        ("entries deleted", 1_700),
        ("evicted segments", 5_000),
        ("failed-but-happened writes", 120),
        ("fences", 700),
        ("flushes that shipped all", 100),
        ("full disks", 200),
        ("hub crashes at a read", 200),
        ("hub crashes at a write", 40),
        ("late writes", 50),
        ("lost answers", 600),
        ("partitions", 1_000),
        ("records receipted as corrupt", 1_000),
        ("records receipted as evicted", 7_000),
        ("records receipted as lost", 15_000),
        ("refused: malformed", 60),
        ("refused: too-large", 10),
        ("rejected cells", 1_500),
        ("refused: corrupt", 25),
        ("refused: expected", 6),
        ("refused: need-schema", 12),
        ("refused: unknown-session", 2),
        ("restored stores", 25),
        ("requests that died with their hub", 1_500),
        ("rows in _rejected", 5_000),
        ("twins", 500),
        ("writes that outlived their hub", 30),
    ];
    for (what, least) in least {
        let found = COMMON.tally.get(what).copied().unwrap_or_default();
        assert!(found * 1_000 >= least * COMMON.histories, "{found} {what} in {} histories", COMMON.histories);
    }
}

#[test]
fn the_same_seed_gives_the_same_history_to_the_last_byte() {
    for seed in 500..550 {
        let (one, other) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(one, other, "seed {seed}");
        assert!(one.events > 50, "{one:?}");
    }
}

#[test]
fn on_calm_days_nothing_is_lost_at_all() {
    let summary = Series { profile: Some(Profile::Calm), ..series(0, 25) }.run(|_| {});
    assert!(summary.broken.is_empty(), "{:?}", violations(&summary));
    let of = |what: &str| summary.tally.get(what).copied().unwrap_or_default();
    assert_eq!(of("records accepted"), of("records committed"));
    assert!(of("records committed") > 2_000);
}

#[test]
fn a_link_that_damages_messages_is_refused_and_loses_nothing() {
    let sabotage = Sabotage::DamagingLink;
    let summary = Series { profile: Some(Profile::Calm), sabotage, ..series(0, 25) }.run(|_| {});
    assert!(summary.broken.is_empty(), "{:?}", violations(&summary));
    let of = |what: &str| summary.tally.get(what).copied().unwrap_or_default();
    assert_eq!(of("records accepted"), of("records committed"));
    assert!(of("refused: malformed") > 50, "{:?}", summary.tally);
}

/// What is found before enough is broken. Creates that overwrite show in one of thirty histories.
fn caught(sabotage: Sabotage) -> Vec<String> {
    let series = Series { sabotage, ..series(0, 200) };
    series.run(|_| {}).broken.into_iter().filter_map(|report| report.violation).collect()
}

#[test]
fn a_store_that_forgets_what_it_acknowledged_is_caught() {
    assert!(!caught(Sabotage::ForgetfulStore).is_empty());
}

#[test]
fn a_deletion_that_takes_more_than_its_mark_says_is_caught() {
    assert!(!caught(Sabotage::GreedyDeletion).is_empty());
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

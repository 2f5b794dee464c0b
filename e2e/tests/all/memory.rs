//! The memory cap, quickly: the cases that are most likely to break it, or to keep others from being served, under 4 MiB.
//! `cargo run --release -p pyralog-e2e --bin memory` runs all of them under all caps.

use pyralog_e2e::Result;
use pyralog_e2e::memory::{Case, cases, raise_descriptors, report, run};

const CAP: u64 = 4 << 20;
const SECONDS: u64 = 3;

async fn stays_within_its_limit_and_serves_the_neighbour(name: &str) -> Result<()> {
    let case = cases::named(name).ok_or_else(|| format!("there is no case {name}"))?;
    let outcome = run(&Case { seconds: SECONDS, ..*case }, CAP).await?;
    let row = format!("{}\n{}", report::heading(), report::row(&outcome));
    assert!(outcome.is_within() && outcome.is_fair(), "\n{row}");
    assert!(outcome.samples.len() > 1, "no curve");
    Ok(())
}

/// One after the other: each wants the machine for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_and_heavy_clients_leave_the_agent_under_its_cap_and_others_served() -> Result<()> {
    raise_descriptors();
    for name in [
        "http-json",
        "mqtt-qos1",
        "mqtt-mute",
        "slow-heads",
        "large-bodies",
        "queries-slow",
        "https-half",
        "https-mute",
        "descriptors",
    ] {
        stays_within_its_limit_and_serves_the_neighbour(name).await?;
    }
    Ok(())
}

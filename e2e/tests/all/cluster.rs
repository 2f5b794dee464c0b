//! Hubs before a JetStream cluster of three, on a small scale; `prove` does the same with real data, and for longer.

use std::time::Duration;

use pyralog_e2e::scenario::cluster::{Plan, run};
use pyralog_e2e::{Result, generate};

fn plan(seed: u64, storage: &'static str) -> Plan {
    Plan { seed, storage, hubs: 2, agents: 2, leader_kills: 2, limit: Duration::from_secs(120) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_leaders_and_hubs_killed_each_record_is_stored_once_or_receipted_and_a_cluster_goes_on_from_its_disks()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("{}", run(folder.path(), &generate::weather(5, 20_000), &plan(5, "file")).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_copies_in_memory_outlive_their_leaders() -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("{}", run(folder.path(), &generate::weather(6, 20_000), &plan(6, "memory")).await?);
    Ok(())
}

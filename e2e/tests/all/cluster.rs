//! Hubs before a JetStream cluster of three, on a small scale; `prove` does the same with real data, and for longer.

use std::path::Path;
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::nats::Cluster;
use pyralog_e2e::scenario::cluster::{Plan, run};
use pyralog_e2e::{Result, generate, wait};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_with_its_connections_open_stops_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::start(folder.path(), 3).await?;
    let outcome = each_silent_in_turn(folder.path(), &cluster).await;
    outcome.map_err(|error| format!("{error}\n{}", cluster.said()).into())
}

/// As behind a partition: connections to a stopped server stand, and nothing answers on them. One of the three leads the stream, and to
/// one the hub is connected.
async fn each_silent_in_turn(folder: &Path, cluster: &Cluster) -> Result<()> {
    let mut hub = Hub::absent(folder)?;
    hub.keep_in(format!("{}?replicas=3", cluster.url("FLEET")));
    hub.up().await?;
    let agent = Options::new("board-17").upstream(hub.address).start(folder).await?;
    let data = generate::weather(7, 3_000);
    for silent in 0..cluster.count() {
        cluster.signal(silent, "STOP")?;
        let sent: Result<_> = async {
            agent.write(data.line_protocol("climate", silent * 1_000..(silent + 1) * 1_000)).await?;
            agent.drained("climate", wait::LONG).await
        }
        .await;
        cluster.signal(silent, "CONT")?;
        let account = sent.map_err(|error| format!("with server {silent} silent: {error}"))?;
        assert_eq!((account.committed, account.receipted.values().sum::<u64>()), ((silent as u64 + 1) * 1_000, 0));
    }
    // Who wakes up may lead elections for a moment, and reads are refused until there is a leader.
    let read = async || hub.records("board-17", "climate").await.map(Some);
    let stored = wait::until("records to be read", wait::LONG, read).await?;
    stored.equals(&data, 0)?;
    assert_eq!(stored.len(), 3_000);
    let account =
        wait::until("an account", wait::LONG, async || hub.account("board-17", "climate").await.map(Some)).await?;
    assert_eq!(account.iter().map(|epoch| epoch.committed).sum::<u64>(), 3_000);
    hub.verify()?;
    Ok(())
}

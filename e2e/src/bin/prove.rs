//! The proof runs on real data: every promise, a line each with its figures.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p pyralog-e2e --bin prove -- --data DIR [case ...]
//! ```
//! `DIR` holds `air-quality.csv.gz` (a column `time`, then `tag:NAME` and `TYPE:NAME`). Without `--data` a generated set of the same size
//! stands in. Exit code 1 if a promise is broken.

#![allow(clippy::print_stdout, reason = "the figures are what the program is for")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::dataset::Dataset;
use pyralog_e2e::scenario::{Figures, cluster, crash, fence, hubs, overflow, round_trip};
use pyralog_e2e::{Result, generate, rate};

/// Runs the proofs.
#[derive(Debug, Parser)]
struct Args {
    /// Folder of the data sets.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How long hubs are killed in the cases of several hubs.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    seconds: u64,
    /// How often a leader of the cluster is killed.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    leader_kills: usize,
    /// Cases to run: round-trip, overflow, crash, fence, two-hubs, three-hubs, cluster-file, cluster-memory, rate. All of them if
    /// none is named.
    cases: Vec<Case>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Case {
    RoundTrip,
    Overflow,
    Crash,
    Fence,
    TwoHubs,
    ThreeHubs,
    ClusterFile,
    ClusterMemory,
    Rate,
}

const ALL: [(Case, &str); 9] = [
    (
        Case::RoundTrip,
        "all records by HTTP and MQTT, hub killed thrice: bit-exact, in order, once, nothing written to disk",
    ),
    (Case::Overflow, "4 MiB ring, hub away: committed + receipted = accepted, VmHWM under 20 MiB"),
    (Case::Crash, "agent killed -9: new epoch, the rest of the old one lost by receipt, nothing twice"),
    (Case::Fence, "two agents with one id: the older is fenced and says so"),
    (Case::TwoHubs, "two hubs, each request to another, killed -9 at random: every record once"),
    (Case::ThreeHubs, "three hubs, likewise"),
    (
        Case::ClusterFile,
        "JetStream leaders and hubs killed in a loop, three copies in files, all restarted from disk: stored = sent - receipted",
    ),
    (
        Case::ClusterMemory,
        "JetStream leaders and hubs killed in a loop, three copies in memory: stored = sent - receipted",
    ),
    (Case::Rate, "MQTT QoS 1 acknowledged per second, at least mosquitto's"),
];

const LIMIT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<bool> {
    let data = match &args.data {
        Some(folder) => Dataset::load(&folder.join("air-quality.csv.gz"))?,
        None => generate::weather(42, 105_192),
    };
    println!("{} rows, {} columns, {} kernel", data.rows.len(), data.columns.len(), kernel());
    let mut all_passed = true;
    for (case, promise) in ALL {
        if !args.cases.is_empty() && !args.cases.contains(&case) {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let begun = Instant::now();
        let outcome = prove(case, folder.path(), &data, args).await;
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(figures) => println!("PASS {promise} [{seconds:.1} s]\n     {figures}"),
            Err(error) => {
                all_passed = false;
                println!("FAIL {promise} [{seconds:.1} s]\n     {error}");
            }
        }
    }
    Ok(all_passed)
}

async fn prove(case: Case, folder: &Path, data: &Dataset, args: &Args) -> Result<Figures> {
    let (time, kills) = (Duration::from_secs(args.seconds), args.leader_kills);
    let hubs = |hubs, seed| hubs::Size { hubs, policy: "round-robin", time, seed, limit: LIMIT };
    match case {
        Case::RoundTrip => round_trip::run(folder, data, LIMIT).await,
        Case::Overflow => {
            let size = overflow::Size { max_memory: "4MiB", max_resident: 20 << 20, rounds: 5, limit: LIMIT };
            overflow::run(folder, data, &size).await
        }
        Case::Crash => crash::run(folder, data, LIMIT).await,
        Case::Fence => fence::run(folder, data, LIMIT).await,
        Case::TwoHubs => hubs::run(folder, data, &hubs(2, 61)).await,
        Case::ThreeHubs => hubs::run(folder, data, &hubs(3, 62)).await,
        Case::ClusterFile => cluster::run(folder, data, &under_fire("file", kills)).await,
        Case::ClusterMemory => cluster::run(folder, data, &under_fire("memory", kills)).await,
        Case::Rate => rates(folder, data).await,
    }
}

fn under_fire(storage: &'static str, leader_kills: usize) -> cluster::Plan {
    cluster::Plan { seed: 42, storage, hubs: 3, agents: 4, leader_kills, limit: LIMIT }
}

/// Ours decodes and stores each publish, mosquitto discards it. By turns, the best of three, so that a neighbour's noise hits both.
async fn rates(folder: &Path, data: &Dataset) -> Result<Figures> {
    let (mut broker, mosquitto) = rate::mosquitto(folder).await?;
    let mut agent = Options::new("rate").start(folder).await?;
    let outcome = compare(mosquitto, &agent, data).await;
    let alive = (agent.process.is_running(), broker.is_running());
    outcome.map_err(|error| match alive {
        (true, true) => error,
        (false, _) => format!("{error}; the agent died and said:\n{}", agent.process.said()).into(),
        (_, false) => format!("{error}; mosquitto died and said:\n{}", broker.said()).into(),
    })
}

async fn compare(mosquitto: SocketAddr, agent: &Agent, data: &Dataset) -> Result<Figures> {
    let mut payload = String::new();
    data.rows.first().map(|row| data.json(row, &mut payload)).ok_or("no data")?;
    let mut figures = Figures::default();
    let mut slower = Vec::new();
    let mut published = 0;
    // A deep window lets a server answer many publishes at once; one of 20 is what clients use, and 1 is a plain sensor.
    for (name, connections, window, publishes) in [
        ("1 connection, 1000 in flight", 1, 1_000, 400_000),
        ("8 connections, 1000 in flight", 8, 1_000, 400_000),
        ("8 connections, 20 in flight", 8, 20, 200_000),
        ("8 connections, 1 in flight", 8, 1, 80_000),
    ] {
        let load = rate::Load { connections, publishes, window };
        let (mut ours, mut theirs) = (0.0_f64, 0.0_f64);
        for _ in 0..3 {
            theirs = theirs.max(rate::measure(mosquitto, load, &payload).await?);
            ours = ours.max(rate::measure(agent.mqtt, load, &payload).await?);
            published += load.publishes as u64;
        }
        let ratio = ours / theirs;
        figures.add(name, format!("{ours:.0}/s against mosquitto's {theirs:.0}/s: {ratio:.2}"));
        if ratio < 1.0 {
            slower.push(name);
        }
    }
    let account = agent.log("mqtt").await?;
    if account.accepted != published {
        return Err(format!("{published} publishes were acknowledged, {} records accepted", account.accepted).into());
    }
    figures.add("payload", format!("{} bytes", payload.len()));
    if slower.is_empty() { Ok(figures) } else { Err(format!("slower with {}: {figures}", slower.join(" and ")).into()) }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

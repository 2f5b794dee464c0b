//! A fleet of simulated agents against real hubs and a real cluster, all on this machine.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p pyralog-fleet -- --agents 1000 --interval 60s --for 3m --hubs 2 --nats 3 --storage memory
//! ```
//! Each agent is a real sender of the sync protocol with a connection of its own; its ring is simulated. After the steady
//! phase comes an outage of all hubs and then the storm: every agent ships at the same moment. The account is checked to the record,
//! also by SQL where the hubs have it.

#![allow(clippy::print_stdout, reason = "the figures are what the program is for")]

mod agent;
mod device;
mod figures;
mod questions;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent::{Agent, Fleet};
use clap::Parser;
use device::{Device, Model};
use figures::Figures;
use pyralog_e2e::Result;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::nats::Cluster;

/// Simulates a fleet, and says what it takes.
#[derive(Debug, Parser)]
struct Args {
    /// Agents.
    #[arg(long, default_value_t = 100)]
    agents: usize,
    /// Time between two rounds of an agent.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Records in a round of an agent.
    #[arg(long, default_value_t = 60)]
    rows: u32,
    /// How long the steady phase is measured.
    #[arg(long = "for", value_name = "TIME", default_value = "3m", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Hubs.
    #[arg(long, default_value_t = 1)]
    hubs: usize,
    /// Servers of the JetStream cluster, 1 or 3; 0 for a directory.
    #[arg(long, default_value_t = 3)]
    nats: usize,
    /// Where they keep messages: file or memory.
    #[arg(long, default_value = "memory")]
    storage: String,
    /// How long all hubs are away before the storm; 0s for no storm.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    outage: Duration,
    /// Seconds within which the storm must be over.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// Ask nothing by SQL at the end: for hubs that were built without.
    #[arg(long)]
    no_sql: bool,
}

/// What the servers took so far.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    processors: Duration,
    resident: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = match args.nats {
        0 => None,
        count => Some(Cluster::start(folder.path(), count).await?),
    };
    let store = cluster
        .as_ref()
        .map(|cluster| format!("{}?replicas={}&storage={}", cluster.url("FLEET"), cluster.count(), args.storage));
    let mut hubs = Vec::new();
    for _ in 0..args.hubs.max(1) {
        let mut hub = Hub::absent(folder.path())?;
        if let Some(store) = &store {
            hub.keep_in(store.clone());
        }
        // An agent is silent between two rounds.
        hub.set("limits.max_connections", "20000");
        hub.set("limits.idle_timeout", "10m");
        if !args.no_sql {
            hub.set("sql.timeout", "10m");
        }
        hub.up().await?;
        hubs.push(hub);
    }
    let model = Arc::new(Model::new(args.rows)?);
    println!(
        "{} agents, a segment of {} records and {} bytes every {:?}; {} hubs on {}",
        args.agents,
        args.rows,
        model.bytes(),
        args.interval,
        hubs.len(),
        store.as_deref().unwrap_or("a directory")
    );
    let fleet = Arc::new(Fleet {
        hubs: hubs.iter().map(|hub| hub.address).collect(),
        interval: args.interval,
        figures: Figures::default(),
        is_over: AtomicBool::new(false),
        flush: tokio::sync::Notify::new(),
        began: Instant::now(),
    });
    let devices: Vec<_> = (0..args.agents).map(|_| Arc::new(Device::new(Arc::clone(&model)))).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, device) in devices.iter().enumerate() {
        tasks.spawn(Agent::new(number, Arc::clone(device), args.interval).run(Arc::clone(&fleet)));
    }
    // Everybody's first round says hello, notes its schema and registers its log: no part of the steady phase.
    tokio::time::sleep(args.interval + Duration::from_secs(2)).await;
    println!("first rounds: {}", fleet.figures);
    fleet.figures.clear();
    let before = usage(&mut hubs, cluster.as_ref())?;
    tokio::time::sleep(args.duration).await;
    report("steady", &fleet.figures, before, usage(&mut hubs, cluster.as_ref())?, args.duration);
    if !args.outage.is_zero() {
        storm(args, &fleet, &mut hubs, cluster.as_ref(), &devices).await?;
    }
    fleet.is_over.store(true, Ordering::Relaxed);
    fleet.flush.notify_waiters();
    let patience = Duration::from_secs(args.patience);
    let drained = tokio::time::timeout(patience, async { while tasks.join_next().await.is_some() {} }).await;
    let (accepted, committed) = account(&devices);
    println!("account: {accepted} accepted, {committed} committed");
    if drained.is_err() || accepted != committed {
        return Err("not all was committed".into());
    }
    match (args.no_sql, hubs.first()) {
        (false, Some(hub)) => questions::ask(hub, args.agents, committed).await,
        _ => Ok(()),
    }
}

/// All hubs go, stay away, and come back to a fleet that ships at once.
async fn storm(
    args: &Args,
    fleet: &Fleet,
    hubs: &mut [Hub],
    cluster: Option<&Cluster>,
    devices: &[Arc<Device>],
) -> Result<()> {
    hubs.iter_mut().for_each(Hub::kill);
    tokio::time::sleep(args.outage).await;
    for device in devices {
        device.record();
    }
    for hub in hubs.iter_mut() {
        hub.up().await?;
    }
    fleet.figures.clear();
    let (before, began) = (usage(hubs, cluster)?, Instant::now());
    let wanted: Vec<_> = devices.iter().map(|device| device.account().0).collect();
    fleet.flush.notify_waiters();
    let mut served = vec![None; devices.len()];
    while began.elapsed() < Duration::from_secs(args.patience) && served.iter().any(Option::is_none) {
        for ((device, wanted), served) in devices.iter().zip(&wanted).zip(&mut served) {
            if served.is_none() && device.account().1 >= *wanted {
                *served = Some(began.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed();
    report("storm", &fleet.figures, before, usage(hubs, cluster)?, took);
    let mut times: Vec<_> = served.into_iter().flatten().collect();
    times.sort_unstable();
    let at =
        |share: f64| times.get((times.len() as f64 * share) as usize).or(times.last()).copied().unwrap_or_default();
    println!(
        "storm: {} of {} agents served; half after {:.1} s, 99 of 100 after {:.1} s, the last after {:.1} s",
        times.len(),
        devices.len(),
        at(0.5).as_secs_f64(),
        at(0.99).as_secs_f64(),
        at(1.0).as_secs_f64()
    );
    Ok(())
}

fn report(phase: &str, figures: &Figures, before: (Usage, Usage), after: (Usage, Usage), time: Duration) {
    let of = |what: &str, before: Usage, after: Usage| {
        let processors = after.processors.saturating_sub(before.processors).as_secs_f64() / time.as_secs_f64();
        format!("{what}: {:.1} % of a processor, {:.0} MiB", 100.0 * processors, after.resident as f64 / 1_048_576.0)
    };
    println!("{phase}, {:.0} s: {figures}", time.as_secs_f64());
    println!("  {}; {}", of("all hubs", before.0, after.0), of("all of NATS", before.1, after.1));
}

fn usage(hubs: &mut [Hub], cluster: Option<&Cluster>) -> Result<(Usage, Usage)> {
    let mut of_hubs = Usage::default();
    for process in hubs.iter_mut().filter_map(Hub::process) {
        of_hubs.processors += process.processor_time()?;
        of_hubs.resident += process.resident()?;
    }
    let mut of_nats = Usage::default();
    for process in cluster.map(Cluster::processes).unwrap_or_default() {
        of_nats.processors += process.processor_time()?;
        of_nats.resident += process.resident()?;
    }
    Ok((of_hubs, of_nats))
}

fn account(devices: &[Arc<Device>]) -> (u64, u64) {
    devices.iter().map(|device| device.account()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

//! One case under one cap, from the start of the agent to its figures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cases::{Case, Settings, Upstream};
use super::neighbour::{Neighbour, Served};
use super::sampler::{Sample, Sampler};
use super::target::Target;
use crate::Result;
use crate::agent::Agent;
use crate::hub::Hub;
use crate::process::resident_limit;
use crate::proxy::{Proxy, Weather};

/// The agent at rest, before and after, so that the curve shows where it began and what it keeps.
const REST: Duration = Duration::from_millis(500);
/// What a slow link lets through, in bytes per second.
const SLOW_LINK: u64 = 256 << 10;

/// What came of a case under a cap.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Name of the case.
    pub case: &'static str,
    /// The cap, in bytes.
    pub cap: u64,
    /// Resident memory over time.
    pub samples: Vec<Sample>,
    /// The most that was ever resident (`VmHWM`).
    pub peak: u64,
    /// What was allowed.
    pub limit: u64,
    /// How the neighbour fared.
    pub neighbour: Served,
    /// What the others were answered.
    pub answers: BTreeMap<String, u64>,
    /// Records that the agent accepted from all.
    pub accepted: u64,
}

impl Outcome {
    /// Whether the process stayed under its limit.
    pub fn is_within(&self) -> bool {
        self.peak <= self.limit
    }

    /// Whether the neighbour was served each time.
    pub fn is_fair(&self) -> bool {
        self.neighbour.failed == 0 && self.neighbour.served > 0
    }
}

/// Lets this process open as many sockets as the cases want: some open ten thousand. Without the right to it they open fewer.
pub fn raise_descriptors() {
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--nofile=20000:", "--pid", &pid]).stderr(Stdio::null()).status();
    drop(raised);
}

/// Runs `case` under `cap`.
///
/// # Errors
/// When the agent or the hub does not come up, or the agent dies.
pub async fn run(case: &Case, cap: u64) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let mut upstream = Stage::set(case.upstream, folder.path()).await?;
    let mut options = case.options(cap, folder.path())?;
    if let Some(address) = upstream.address {
        options = options.upstream(address);
    }
    let mut agent = options.start(folder.path()).await?;
    let outcome = watch(case, cap, &agent, &mut upstream).await;
    if !agent.process.is_running() {
        return Err(format!("{}: the agent died; it said:\n{}", case.name, agent.process.said()).into());
    }
    outcome
}

async fn watch(case: &Case, cap: u64, agent: &Agent, upstream: &mut Stage) -> Result<Outcome> {
    let sampler = Sampler::start(agent.process.pid());
    tokio::time::sleep(REST).await;
    let target = Target::new(agent, cap, Duration::from_secs(case.seconds))?;
    let neighbour = Neighbour::start(agent, &target, case.settings != Settings::MqttTls)?;
    let half = Duration::from_secs(case.seconds) / 2;
    let (loaded, arrived) = tokio::join!(case.load.run(&target), upstream.arrive(half));
    loaded?;
    arrived?;
    let neighbour = neighbour.stop().await;
    tokio::time::sleep(REST).await;
    let peak = agent.process.peak_memory()?;
    let accepted = agent.status().await.map_or(0, |status| accepted(&status));
    Ok(Outcome {
        case: case.name,
        cap,
        samples: sampler.stop().await,
        peak,
        limit: resident_limit(cap),
        neighbour,
        answers: target.answers.all(),
        accepted,
    })
}

fn accepted(status: &serde_json::Value) -> u64 {
    let logs = status["logs"].as_object().into_iter().flat_map(|logs| logs.values());
    logs.filter_map(|log| log["accepted"].as_u64()).sum()
}

/// What stands upstream.
struct Stage {
    /// What the agent is told.
    address: Option<SocketAddr>,
    hub: Option<Hub>,
    _link: Option<Proxy>,
}

impl Stage {
    async fn set(upstream: Upstream, folder: &Path) -> Result<Self> {
        let (mut address, mut hub, mut slow) = (None, None, None);
        if upstream != Upstream::None {
            let absent = Hub::absent(folder)?;
            address = Some(absent.address);
            if upstream == Upstream::Slow {
                let link = Proxy::to(vec![absent.address], 1).await?;
                link.set(Weather::Slow { latency: Duration::ZERO, jitter: Duration::ZERO, rate: SLOW_LINK });
                address = Some(link.address);
                slow = Some(link);
            }
            hub = Some(absent).filter(|_| upstream != Upstream::Dead);
        }
        Ok(Self { address, hub, _link: slow })
    }

    /// The hub comes after `pause`, if it is to come.
    async fn arrive(&mut self, pause: Duration) -> Result<()> {
        let Some(hub) = &mut self.hub else { return Ok(()) };
        tokio::time::sleep(pause).await;
        hub.up().await
    }
}

//! Several hubs before one store, killed and started at random while records stream: the store has each record once.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::overflow::repeated;
use super::{Figures, HTTP_LOG, ensure, send_http};
use crate::Result;
use crate::agent::{Agent, Options};
use crate::dataset::Dataset;
use crate::generate::Random;
use crate::hub::Hub;

const AGENT: &str = "board-5";

/// Rows of one write to the agent, and how often there is one.
const ROWS: usize = 100;
const GAP: Duration = Duration::from_millis(100);

/// How often the agent's status is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How a run is sized.
#[derive(Debug, Clone)]
pub struct Size {
    /// Hubs before the store.
    pub hubs: usize,
    /// `sync.upstream_policy`.
    pub policy: &'static str,
    /// How long hubs are killed while records stream.
    pub time: Duration,
    /// What the kills are drawn from.
    pub seed: u64,
    /// Bound of the wait for the last record.
    pub limit: Duration,
}

/// Runs it.
///
/// # Errors
/// When a record is missing, doubled or different in one bit, or the agent kept to one hub.
pub async fn run(folder: &Path, data: &Dataset, size: &Size) -> Result<Figures> {
    let rows = size.time.as_millis() as usize / GAP.as_millis() as usize * ROWS;
    let data = &repeated(data, rows.div_ceil(data.rows.len()));
    let mut hubs = Vec::new();
    for _ in 0..size.hubs {
        // One folder, so one store.
        hubs.push(Hub::start(folder).await?);
    }
    let urls: Vec<_> = hubs.iter().map(Hub::url).collect();
    let addresses: Vec<SocketAddr> = hubs.iter().map(|hub| hub.address).collect();
    let options = Options::new(AGENT).set("sync.upstream", &urls.join(","));
    let options = options.set("sync.upstream_policy", size.policy).set("storage.segment_rows", "256");
    let agent = options.start(folder).await?;
    let until = Instant::now() + size.time;
    let (sent, kills, used) =
        tokio::join!(stream(&agent, data, rows), kill(&mut hubs, until, size.seed), watch(&agent, until, size.hubs));
    sent?;
    let (kills, used) = (kills?, used?);
    for hub in &mut hubs {
        hub.up().await?;
    }
    let account = agent.drained(HTTP_LOG, size.limit).await?;
    ensure(account.accepted == rows as u64, || format!("sent {rows}, {account:?}"))?;
    let mut figures = Figures::default();
    for hub in &hubs {
        let epochs = hub.account(AGENT, HTTP_LOG).await?;
        let [epoch] = epochs.as_slice() else { return Err(format!("not one epoch but {epochs:?}").into()) };
        let same = (epoch.committed, epoch.lost()) == (account.committed, account.lost());
        ensure(same, || format!("the hub says {epoch:?}, the agent {account:?}"))?;
    }
    let stored = hubs.first().ok_or("no hub")?.records(AGENT, HTTP_LOG).await?;
    ensure(stored.len() as u64 == account.committed, || format!("{} records of {account:?}", stored.len()))?;
    let cells = stored.equals(data, 0)?;
    hubs.first().ok_or("no hub")?.verify()?;
    let idle = addresses.iter().zip(&used).filter(|(_, used)| !**used).map(|(address, _)| address);
    let idle: Vec<_> = idle.collect();
    ensure(idle.is_empty(), || format!("never asked: {idle:?}"))?;
    figures.add("hubs", format!("{} ({})", size.hubs, size.policy));
    figures.add("kills", kills);
    figures.add("sent", account.accepted);
    figures.add("stored", format!("{} once, {cells} cells equal", account.committed));
    figures.add("receipted", account.lost());
    Ok(figures)
}

/// Writes all rows, in time.
async fn stream(agent: &Agent, data: &Dataset, rows: usize) -> Result<()> {
    let mut ticks = tokio::time::interval(GAP);
    for from in (0..rows).step_by(ROWS) {
        ticks.tick().await;
        send_http(agent, data, from..(from + ROWS).min(rows)).await?;
    }
    Ok(())
}

/// Kills one hub after the other, at times the next before the last is back; how many.
async fn kill(hubs: &mut [Hub], until: Instant, seed: u64) -> Result<usize> {
    let mut random = Random::new(seed);
    let mut kills = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100 + random.below(400))).await;
        let victims = 1 + random.below(hubs.len() as u64) as usize;
        let first = random.below(hubs.len() as u64) as usize;
        let (count, mut down) = (hubs.len(), Vec::new());
        for index in (0..victims).map(|step| (first + step) % count) {
            let Some(hub) = hubs.get_mut(index) else { continue };
            hub.kill();
            kills += 1;
            down.push(index);
            tokio::time::sleep(Duration::from_millis(random.below(200))).await;
        }
        for index in down {
            let Some(hub) = hubs.get_mut(index) else { continue };
            hub.up().await?;
        }
    }
    Ok(kills)
}

/// Which hubs the agent was seen to use.
async fn watch(agent: &Agent, until: Instant, hubs: usize) -> Result<Vec<bool>> {
    let mut used = vec![false; hubs];
    while Instant::now() < until {
        let status = agent.status().await?;
        for (used, hub) in used.iter_mut().zip(status["sync"]["hubs"].as_array().into_iter().flatten()) {
            *used |= hub["in_use"] == true;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(used)
}

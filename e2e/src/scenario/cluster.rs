//! A cluster under fire: agents stream, hubs and the leaders of a JetStream cluster are killed over and over, and when the dust
//! has settled every record is stored once or receipted.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::overflow::repeated;
use super::{Figures, HTTP_LOG, ensure};
use crate::agent::{Agent, Options};
use crate::dataset::Dataset;
use crate::generate::Random;
use crate::hub::Hub;
use crate::nats::Cluster;
use crate::{Result, wait};

/// The stream of entries, and that of everything else.
const STREAM: &str = "FLEET";
const STATE: &str = "KV_FLEET-state";

/// Servers, and copies of everything.
const SERVERS: usize = 3;

/// Rows in one write of a feeder, and its pause after each.
const CHUNK: usize = 250;
/// The same for the agent with the smallest ring, which is to overflow.
const FLOOD: usize = 8 * CHUNK;
const PAUSE: Duration = Duration::from_millis(20);

/// Rows that a feeder sends at least, whatever happens around it.
const LEAST: usize = 2 * CHUNK;

/// How a run is sized.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides on who is killed when.
    pub seed: u64,
    /// Where servers keep messages: `file` or `memory`.
    pub storage: &'static str,
    /// Hubs before the one store.
    pub hubs: usize,
    /// Agents; the last of them has the smallest ring there is and a hub that comes late, and loses records.
    pub agents: usize,
    /// How often a leader is killed.
    pub leader_kills: usize,
    /// Bound of the wait for the last record.
    pub limit: Duration,
}

/// What happens beside the feeders.
#[derive(Debug, Default)]
struct Fire {
    is_over: AtomicBool,
    leaders: AtomicUsize,
    hubs: AtomicUsize,
}

/// Runs it on `data`, which is sent again and again, with later times, for as long as the fire lasts.
///
/// # Errors
/// When a record is missing, doubled or different, or the account is wrong by one.
pub async fn run(folder: &Path, data: &Dataset, plan: &Plan) -> Result<Figures> {
    let data = &repeated(data, (400_000 / data.rows.len().max(1)).max(1));
    let mut cluster = Cluster::start(folder, SERVERS).await?;
    let outcome = through_fire(folder, data, plan, &mut cluster).await;
    outcome.map_err(|error| format!("{error}\n{}", cluster.said()).into())
}

async fn through_fire(folder: &Path, data: &Dataset, plan: &Plan, cluster: &mut Cluster) -> Result<Figures> {
    let begun = Instant::now();
    let store = format!("{}?replicas={SERVERS}&storage={}", cluster.url(STREAM), plan.storage);
    let mut hubs = Vec::new();
    for _ in 0..plan.hubs {
        let mut hub = Hub::absent(folder)?;
        hub.keep_in(store.clone());
        hub.up().await?;
        hubs.push(hub);
    }
    let mut late = Hub::absent(folder)?;
    late.keep_in(store.clone());
    let agents = start_agents(folder, &hubs, &late, plan).await?;
    let fire = Fire::default();
    let random = &mut Random::new(plan.seed);
    let mut of_hubs = Random::new(plan.seed ^ 1);
    let (burned, hubs_burned, sent) = tokio::join!(
        burn_leaders(cluster, plan, &fire, random),
        burn_hubs(&mut hubs, &fire, &mut of_hubs),
        feed_all(&agents, data, &fire),
    );
    burned.and(hubs_burned)?;
    let mut sent = sent?;
    cluster.up().await?;
    hubs.push(late);
    for hub in &mut hubs {
        hub.up().await?;
    }
    let mut figures = Figures::default();
    figures.add("leaders killed", fire.leaders.load(Ordering::Relaxed));
    figures.add("hubs killed", fire.hubs.load(Ordering::Relaxed));
    if plan.storage == "file" {
        settle(&agents, &hubs, data, &sent, plan).await?;
        restart(cluster, &mut hubs).await?;
        // The cluster goes on from its disks.
        let calm = Fire { is_over: true.into(), ..Fire::default() };
        for (agent, sent) in agents.iter().zip(&mut sent) {
            *sent += feed(agent, data, &calm, *sent..(*sent + LEAST).min(data.rows.len()), CHUNK, LEAST).await?;
        }
        figures.add("all servers killed at once and restarted from disk", 1);
    }
    let (committed, receipted) = settle(&agents, &hubs, data, &sent, plan).await?;
    ensure(plan.agents < 2 || receipted > 0, || format!("no ring overflowed: {committed} committed of {sent:?}"))?;
    verify(&store)?;
    figures.add("sent", sent.iter().sum::<usize>());
    figures.add("stored once", committed);
    figures.add("receipted", receipted);
    figures.add("in", format!("{:.0} s", begun.elapsed().as_secs_f64()));
    Ok(figures)
}

async fn start_agents(folder: &Path, hubs: &[Hub], late: &Hub, plan: &Plan) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for index in 0..plan.agents {
        let mut options = Options::new(&name(index)).set("storage.segment_rows", "500");
        options = options.set("sync.max_batch", "65536").set("sync.upstream_policy", "round-robin");
        // Each request to another hub; the flooded agent's comes late.
        let known = if is_flooded(index, plan.agents) { std::slice::from_ref(late) } else { hubs };
        let urls: Vec<_> = known.iter().map(|hub| format!("http://{}", hub.address)).collect();
        options = options.set("sync.upstream", &urls.join(","));
        if is_flooded(index, plan.agents) {
            // Tiny segments fill it soonest.
            options = options.set("storage.max_memory", "4MiB").set("storage.segment_rows", "100");
        }
        agents.push(options.start(folder).await?);
    }
    Ok(agents)
}

/// Whether an agent has the smallest ring there is and more than it can take.
fn is_flooded(agent: usize, agents: usize) -> bool {
    agent > 0 && agent + 1 == agents
}

fn name(agent: usize) -> String {
    format!("board-{agent}")
}

/// Kills the leader of either stream, waits a moment, starts it again, and waits until all servers have caught up: of three copies
/// one may be away at a time.
async fn burn_leaders(cluster: &mut Cluster, plan: &Plan, fire: &Fire, random: &mut Random) -> Result<()> {
    let outcome = async {
        for _ in 0..plan.leader_kills {
            let stream = if random.below(3) == 0 { STATE } else { STREAM };
            let leader = wait::until("a leader", wait::LONG, async || cluster.leader(stream).await).await?;
            cluster.kill(leader);
            fire.leaders.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200 + random.below(2_000))).await;
            cluster.up().await?;
            tokio::time::sleep(Duration::from_millis(random.below(1_000))).await;
        }
        Ok(())
    };
    let outcome = outcome.await;
    fire.is_over.store(true, Ordering::Relaxed);
    outcome
}

/// Kills one hub after the other until the fire is over.
async fn burn_hubs(hubs: &mut [Hub], fire: &Fire, random: &mut Random) -> Result<()> {
    while !fire.is_over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(500 + random.below(1_500))).await;
        let index = random.below(hubs.len() as u64) as usize;
        hubs[index].kill();
        fire.hubs.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
        // A hub does not start while its cluster has no leader; whoever watches over it starts it again.
        wait::until("a hub to start", wait::LONG, async || hubs[index].up().await.map(Some)).await?;
    }
    Ok(())
}

async fn feed_all(agents: &[Agent], data: &Dataset, fire: &Fire) -> Result<Vec<usize>> {
    // Some rows are kept for after the fire.
    let rows = data.rows.len().saturating_sub(LEAST);
    let feeders = agents.iter().enumerate().map(|(index, agent)| {
        let (chunk, least) = if is_flooded(index, agents.len()) { (FLOOD, rows) } else { (CHUNK, LEAST) };
        feed(agent, data, fire, 0..rows, chunk, least)
    });
    futures_util::future::try_join_all(feeders).await
}

/// Sends rows until the fire is over, and `least` of them in any case; how many.
async fn feed(
    agent: &Agent,
    data: &Dataset,
    fire: &Fire,
    rows: Range<usize>,
    chunk: usize,
    least: usize,
) -> Result<usize> {
    let mut at = rows.start;
    while at < rows.end && (at - rows.start < least || !fire.is_over.load(Ordering::Relaxed)) {
        let end = (at + chunk).min(rows.end);
        agent.write(data.line_protocol(HTTP_LOG, at..end)).await?;
        at = end;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(at - rows.start)
}

/// All servers killed at once, and started again from what is on their disks; hubs come back to them by themselves.
async fn restart(cluster: &mut Cluster, hubs: &mut [Hub]) -> Result<()> {
    for server in 0..cluster.count() {
        cluster.kill(server);
    }
    cluster.up().await?;
    for hub in hubs {
        let what = "a hub to be ready again";
        wait::until(what, wait::LONG, async || hub.page("/readyz").await.map(Some)).await?;
    }
    Ok(())
}

/// Waits until all is shipped, and holds what is stored against what was sent; records stored and receipted.
async fn settle(agents: &[Agent], hubs: &[Hub], data: &Dataset, sent: &[usize], plan: &Plan) -> Result<(u64, u64)> {
    let (mut committed, mut receipted) = (0, 0);
    for (index, (agent, sent)) in agents.iter().zip(sent).enumerate() {
        let name = name(index);
        let account = agent.drained(HTTP_LOG, plan.limit).await?;
        ensure(account.accepted == *sent as u64, || format!("{name}: sent {sent}, {account:?}"))?;
        // Any hub tells the same.
        for hub in hubs {
            let epochs = hub.account(&name, HTTP_LOG).await?;
            let [epoch] = epochs.as_slice() else { return Err(format!("{name}: not one epoch but {epochs:?}").into()) };
            let same =
                (epoch.next_offset, epoch.committed, epoch.lost()) == (*sent as u64, account.committed, account.lost());
            ensure(same, || format!("{name}: a hub says {epoch:?}, the agent {account:?}"))?;
        }
        let epochs = hubs[0].account(&name, HTTP_LOG).await?;
        let stored = hubs[index % hubs.len()].records(&name, HTTP_LOG).await?;
        let once = stored.offsets.is_sorted_by(|a, b| a < b) && stored.len() as u64 == account.committed;
        ensure(once, || format!("{name}: {} records stored, {account:?}", stored.len()))?;
        let both = stored.offsets.iter().find(|offset| epochs.iter().any(|epoch| epoch.has_receipt_for(**offset)));
        ensure(both.is_none(), || format!("{name}: offset {both:?} is stored and receipted"))?;
        stored.equals(data, 0).map_err(|error| format!("{name}: {error}"))?;
        committed += account.committed;
        receipted += account.lost();
    }
    Ok((committed, receipted))
}

fn verify(store: &str) -> Result<()> {
    let mut command = Command::new(crate::process::binary("pyralog-hub")?);
    let out = command.args(["verify", "--decode", "--store", store]).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(()) } else { Err(format!("verify: {}: {said}", out.status).into()) }
}

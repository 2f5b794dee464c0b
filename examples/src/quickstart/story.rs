//! What happens, in order, and when the next thing happens.

use std::time::{Duration, Instant};

use super::Result;
use super::screen::Screen;
use super::sensors::Sensors;
use super::servers::{Places, Server};
use super::verdict;
use super::watch::{Snapshot, Watch};

const START: Duration = Duration::from_secs(8);
const CALM: Duration = Duration::from_secs(5);
/// The outage ends when so many records are lost, or when this is over.
const ENOUGH_LOST: u64 = 30_000;
const OUTAGE: Duration = Duration::from_secs(12);
const RECOVERY: Duration = Duration::from_secs(2);
/// After an outage of this length the agent's next attempt may be half a minute away: its waits double, to spare the hub.
const DRAIN: Duration = Duration::from_secs(36);
const LOOK: Duration = Duration::from_millis(200);

struct Stage {
    screen: Screen,
    watch: Watch,
    agent: Server,
    hub: Option<Server>,
    sensors: Option<Sensors>,
}

/// Runs the whole story; whether every sum was right.
pub(super) async fn run(keep: bool) -> Result<bool> {
    // An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15)).build()?;
    let folder = tempfile::Builder::new().prefix("pyralog-quickstart-").tempdir()?;
    let places = Places::new(folder.path())?;
    let (hub, agent) = (places.start_hub()?, places.start_agent()?);
    let watch = Watch::new(client.clone(), &places);
    let mut stage = Stage { screen: Screen::new(), watch, agent, hub: Some(hub), sensors: None };
    stage.screen.title(&places);
    stage.wait_until_ready().await?;
    tokio::select! {
        told = stage.tell(&places, client) => told?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted; both servers are stopped".into()),
    }
    let Stage { mut screen, watch, mut agent, hub, sensors } = stage;
    let Some((mut hub, sensors)) = hub.zip(sensors) else { return Err("the story ended too early".into()) };
    let acknowledged = sensors.stop().await?;
    let verdict = verdict::reach(&watch, &acknowledged, DRAIN, |snapshot| {
        screen.show("The sensors have stopped; the rest is shipped", snapshot)
    })
    .await?;
    screen.close();
    let right = verdict.print(screen.is_terminal());
    if keep {
        screen.urls(&places);
        tokio::select! {
            ended = agent.wait() => ended?,
            ended = hub.wait() => ended?,
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    Ok(right)
}

impl Stage {
    async fn tell(&mut self, places: &Places, client: reqwest::Client) -> Result<()> {
        self.sensors = Some(Sensors::start(places, client));
        self.scene("Sensors publish over MQTT and HTTP; the agent ships once a second", CALM, |_| false).await?;
        if let Some(hub) = self.hub.take() {
            hub.kill().await?;
        }
        let enough = |snapshot: &Snapshot| snapshot.logs.values().map(|log| log.receipted).sum::<u64>() >= ENOUGH_LOST;
        self.scene("The hub is killed; the ring fills, then overflows: oldest records go first", OUTAGE, enough)
            .await?;
        self.hub = Some(places.start_hub()?);
        self.scene("The hub is back; the agent resumes where the hub's last commit was", RECOVERY, |_| false).await
    }

    /// Shows what goes on until `limit` is over or `enough` has happened.
    async fn scene(&mut self, title: &str, limit: Duration, enough: impl Fn(&Snapshot) -> bool) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            tokio::time::sleep(LOOK).await;
            self.agent.check()?;
            if let Some(hub) = &mut self.hub {
                hub.check()?;
            }
            if let Some(sensors) = self.sensors.take_if(|sensors| sensors.broken()) {
                sensors.stop().await?;
                return Err("a sensor gave up".into());
            }
            let snapshot = self.watch.snapshot().await?;
            self.screen.show(title, &snapshot);
            if enough(&snapshot) {
                break;
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.watch.ready().await {
            self.agent.check()?;
            if begun.elapsed() > START {
                return Err(format!("the servers do not answer: {error}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

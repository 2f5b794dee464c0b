//! One agent's place: the process that is there at present, its links to the hubs and to its sensors, its writers, and what is
//! known of its lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;

use super::oracle::Lives;
use super::writers::{Kind, Notes, TOPIC, Target, Writer};
use crate::account::LogStatus;
use crate::agent::{Agent, Options};
use crate::generate::Random;
use crate::process::resident_limit;
use crate::proxy::{Proxy, Weather};
use crate::{Result, wait};

/// How long an agent that is about to be killed may take to tell where it stands.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Longest time that a flood may take to fill a ring, and longest that is waited when writers are hindered.
const FLOOD: Duration = Duration::from_secs(20);
const FLOOD_HINDERED: Duration = Duration::from_secs(4);

/// A drain has to sit out the longest wait after failures in a row.
const DRAIN: Duration = Duration::from_secs(150);

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Hubs { "hubs" } else { "sensors" })
    }
}

/// The sides that an agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// To the hubs.
    Hubs,
    /// To its sensors.
    Sensors,
}

/// The place.
#[derive(Debug)]
pub struct Slot {
    /// The agent's id.
    pub id: String,
    /// The way to the hubs.
    link: Proxy,
    /// Whether its JSON writer writes as much as it can, and what the ring had lost before, if it could tell.
    flood: watch::Sender<bool>,
    lost_before: Option<u64>,
    /// What was written, by log.
    pub notes: BTreeMap<&'static str, Arc<Notes>>,
    /// Its lives so far.
    pub lives: Lives,
    /// The most resident memory of any life.
    pub peak: u64,
    /// Lives that took more than they may.
    pub over_cap: BTreeSet<u64>,
    /// The ways that sensors have to this life: HTTP and MQTT. Each life has its own, so that nothing that was sent to one arrives in
    /// the next.
    sensors: Vec<Proxy>,
    weather: Weather,
    random: Random,
    options: Options,
    cap: u64,
    agent: Option<Agent>,
    target: watch::Sender<Option<Target>>,
    writers: JoinSet<Result<()>>,
}

impl Slot {
    /// An agent under a cap of `cap` bytes, not started yet, and its writers, who rest while somebody holds `gate`.
    pub fn new(id: &str, link: Proxy, token: &Path, cap: u64, gate: &Arc<RwLock<()>>, mut random: Random) -> Self {
        let route =
            format!("[[mqtt.route]]\ntopic = \"{TOPIC}\"\nlog = \"mqtt\"\nformat = \"json\"\ntags = [\"unit\"]\n");
        let options = Options::new(id).upstream(link.address).toml(&route);
        let options = options.set("sync.timeout", "1s").set("sync.token_file", &token.display().to_string());
        let options = options.set("storage.max_memory", &cap.to_string()).set("storage.segment_rows", "512");
        let (target, flood) = (watch::channel(None).0, watch::channel(false).0);
        let (mut notes, mut writers) = (BTreeMap::new(), JoinSet::new());
        for kind in Kind::ALL {
            let own = Arc::<Notes>::default();
            notes.insert(kind.log(), Arc::clone(&own));
            let (target, flood, gate) = (target.subscribe(), flood.subscribe(), Arc::clone(gate));
            let random = Random::new(random.below(u64::MAX));
            writers.spawn(Writer { kind, target, flood, gate, notes: own, random }.run());
        }
        let (lives, id) = (Lives::default(), id.to_owned());
        Self {
            id,
            link,
            flood,
            lost_before: None,
            notes,
            lives,
            peak: 0,
            over_cap: BTreeSet::new(),
            sensors: Vec::new(),
            weather: Weather::Clear,
            random,
            options,
            cap,
            agent: None,
            target,
            writers,
        }
    }

    /// Starts a new life.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&mut self, folder: &Path) -> Result<()> {
        let agent = self.options.start(folder).await?;
        let status = agent.status().await?;
        let incarnation = status["incarnation"].as_str().ok_or("the status names no incarnation")?;
        self.lives.incarnations.push(incarnation.to_owned());
        let life = self.lives.incarnations.len() as u64;
        let mut ways = Vec::new();
        for address in [agent.http, agent.mqtt] {
            let way = Proxy::to(vec![address], self.random.below(u64::MAX)).await?;
            way.set(self.weather);
            ways.push(way.address);
            self.sensors.push(way);
        }
        if let [http, mqtt] = ways[..] {
            self.target.send_replace(Some(Target { life, http, mqtt }));
        }
        self.agent = Some(agent);
        Ok(())
    }

    /// Ends its life, as `kill -9` does.
    ///
    /// # Errors
    /// When it was dead already.
    pub async fn kill(&mut self) -> Result<()> {
        self.weigh()?;
        if let Ok(status) = tokio::time::timeout(LAST_WORDS, self.accounts()).await {
            self.learn(&status?);
        }
        self.agent = None;
        self.sensors.clear();
        self.target.send_replace(None);
        Ok(())
    }

    /// Changes the weather on one side of it.
    pub fn set(&mut self, side: Side, weather: Weather) {
        if side == Side::Sensors {
            self.weather = weather;
        }
        self.links(side).for_each(|link| link.set(weather));
    }

    /// Resets all connections on one side of it.
    pub fn reset(&self, side: Side) {
        self.links(side).for_each(Proxy::reset);
    }

    fn links(&self, side: Side) -> impl Iterator<Item = &Proxy> {
        match side {
            Side::Hubs => std::slice::from_ref(&self.link).iter(),
            Side::Sensors => self.sensors.iter(),
        }
    }

    /// Its process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().ok_or_else(|| format!("{} is not running", self.id).into())
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        self.agent.as_ref().map_or_else(|| "not running".to_owned(), |agent| agent.process.said())
    }

    /// Cuts it off from its hubs, and lets it be written to as fast as it goes.
    pub async fn flood(&mut self) {
        let lost = tokio::time::timeout(LAST_WORDS, self.lost()).await;
        self.lost_before = lost.ok().and_then(Result::ok);
        self.set(Side::Hubs, Weather::Away);
        self.flood.send_replace(true);
    }

    /// Waits until the ring has lost something, and ends the flood. If writers are `hindered`, it need not lose anything.
    ///
    /// # Errors
    /// When they are not, and it loses nothing all the same.
    pub async fn ebb(&mut self, hindered: bool) -> Result<()> {
        let limit = if hindered { FLOOD_HINDERED } else { FLOOD };
        let before = self.lost_before.take().unwrap_or_default();
        let lost = wait::until("a flooded ring to lose something", limit, async || {
            let lost = tokio::time::timeout(LAST_WORDS, self.lost()).await.map_err(|_| "no status")??;
            Ok((lost > before).then_some(()))
        });
        let lost = lost.await;
        self.flood.send_replace(false);
        self.set(Side::Hubs, Weather::Clear);
        if hindered { Ok(()) } else { lost }
    }

    /// How many records it has lost in this life.
    async fn lost(&self) -> Result<u64> {
        Ok(self.accounts().await?.values().map(LogStatus::lost).sum())
    }

    /// Waits until it has nothing pending, and checks its own account. The writers must rest.
    ///
    /// # Errors
    /// When it cannot be drained in time, or accepted another number of records than it acknowledged.
    pub async fn drain(&mut self) -> Result<()> {
        self.weigh()?;
        let words = wait::until("the agent to be drained", DRAIN, async || {
            let status = self.agent()?.status().await?;
            // A life that has not been heard of has not ended the one before.
            let met = status["epoch"].is_u64() && status["sync"]["last_error"].is_null();
            let accounts = self.accounts().await?;
            let pending: u64 = accounts.values().map(|account| account.pending).sum();
            if met && pending == 0 { Ok(Some(accounts)) } else { Err(format!("{pending} pending; {status}").into()) }
        });
        let accounts = words.await.map_err(|error| format!("{}: {error}", self.id))?;
        self.learn(&accounts);
        let life = self.lives.incarnations.len() as u64;
        for (log, notes) in &self.notes {
            let account = accounts.get(*log).cloned().unwrap_or_default();
            let ledger = notes.ledger();
            let (acked, unknown) = ledger.count(ledger.of_life(life));
            if account.accepted < acked || account.accepted > acked + unknown {
                let sent = format!("{acked} were acknowledged and {unknown} are of unknown fate");
                return Err(format!("{}, log {log}: {account:?}, and {sent}", self.id).into());
            }
        }
        self.lives.drained = true;
        Ok(())
    }

    /// Whether a writer has given up, and why.
    ///
    /// # Errors
    /// The writer's words.
    pub fn writers_are_well(&mut self) -> Result<()> {
        match self.writers.try_join_next() {
            None => Ok(()),
            Some(ended) => Err(format!("a writer of {} ended: {ended:?}", self.id).into()),
        }
    }

    async fn accounts(&self) -> Result<BTreeMap<&'static str, LogStatus>> {
        let status = self.agent()?.status().await?;
        let of = |kind: Kind| Ok((kind.log(), LogStatus::read(&status["logs"][kind.log()])?));
        Kind::ALL.into_iter().map(of).collect()
    }

    fn learn(&mut self, accounts: &BTreeMap<&'static str, LogStatus>) {
        let life = self.lives.incarnations.len() as u64;
        for (log, account) in accounts {
            self.lives.committed.insert((life, *log), account.committed);
        }
    }

    /// Looks at its memory, the most that it ever had. Too much of it breaks a promise, but not the account: the run goes on.
    fn weigh(&mut self) -> Result<()> {
        let peak = self.agent()?.process.peak_memory()?;
        self.peak = self.peak.max(peak);
        if peak > resident_limit(self.cap) {
            self.over_cap.insert(self.lives.incarnations.len() as u64);
        }
        Ok(())
    }
}

//! All processes of a run: agents with their links and writers, two hubs, and the disk that the hubs share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::sync::RwLock;

use super::act::Who;
use super::oracle::{Oracle, Totals};
use super::slot::Slot;
use super::space::{Disk, Space};
use crate::generate::Random;
use crate::hub::Hub;
use crate::process::binary;
use crate::proxy::Proxy;
use crate::{Result, python};

/// Hubs before the store.
pub const HUBS: usize = 2;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Size {
    /// How many agents.
    pub agents: usize,
    /// Bytes of memory that each agent may use for data.
    pub max_memory: u64,
}

/// The processes.
#[derive(Debug)]
pub struct World {
    /// The agents.
    pub agents: Vec<Slot>,
    /// The hubs.
    pub hubs: Vec<Hub>,
    /// Starts of processes after the first ones.
    pub restarts: u64,
    /// The most resident memory of any hub.
    pub hub_peak: u64,
    /// Answers of hubs to hellos and batches, by what they say.
    pub replies: BTreeMap<String, u64>,
    folder: PathBuf,
    space: Option<Space>,
    /// Whether the hubs' disk is not well.
    sick: bool,
    gate: Arc<RwLock<()>>,
    oracle: Oracle,
    tokens: Vec<String>,
}

impl World {
    /// Starts everything, with its files in `folder`.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(folder: &Path, size: &Size, random: &mut Random) -> Result<Self> {
        let (mut hubs, gate) = (Vec::new(), Arc::new(RwLock::new(())));
        for _ in 0..HUBS {
            hubs.push(Hub::absent(folder)?);
        }
        let store = hubs.first().map(|hub| hub.store.clone()).unwrap_or_default();
        let space = Space::open(&store).await?;
        let ids: Vec<String> = (0..size.agents).map(|number| format!("board-{number}")).collect();
        let mut tokens = Vec::new();
        for id in &ids {
            std::fs::write(folder.join(format!("{id}.token")), token(folder, id, "sync", &mut tokens).await?)?;
        }
        let reader = token(folder, "*", "read", &mut tokens).await?;
        for hub in &mut hubs {
            hub.authorize(&reader)?;
        }
        let mut world = Self {
            agents: Vec::new(),
            hubs,
            restarts: 0,
            hub_peak: 0,
            replies: BTreeMap::new(),
            folder: folder.to_owned(),
            space,
            sick: false,
            gate,
            oracle: Oracle::default(),
            tokens,
        };
        world.write_tokens(None)?;
        world.start_hubs().await?;
        let addresses: Vec<_> = world.hubs.iter().map(|hub| hub.address).collect();
        for id in &ids {
            let link = Proxy::to(addresses.clone(), random.below(u64::MAX)).await?;
            let token = folder.join(format!("{id}.token"));
            let own = Random::new(random.below(u64::MAX));
            world.agents.push(Slot::new(id, link, &token, size.max_memory, &world.gate, own));
        }
        for agent in 0..world.agents.len() {
            world.start_one(Who::Agent(agent)).await?;
        }
        world.restarts = 0;
        Ok(world)
    }

    /// Whether the hubs' disk can be made read-only and full.
    pub fn has_disk(&self) -> bool {
        self.space.is_some()
    }

    /// An agent's place.
    ///
    /// # Errors
    /// When there is none.
    pub fn slot(&mut self, agent: usize) -> Result<&mut Slot> {
        self.agents.get_mut(agent).ok_or_else(|| "no such agent".into())
    }

    /// Starts a process, if it does not run. A hub may refuse to come up over a disk that is not well, and is left alone then.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_one(&mut self, who: Who) -> Result<()> {
        match who {
            Who::Agent(agent) if self.slot(agent)?.agent().is_err() => {
                self.restarts += 1;
                let folder = self.folder.clone();
                self.slot(agent)?.start(&folder).await
            }
            Who::Hub(number) if self.hub(number)?.process().is_none() => {
                let started = self.start_hub(number).await;
                if self.sick { Ok(()) } else { started }
            }
            _ => Ok(()),
        }
    }

    /// Starts the hubs that do not run.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start_hubs(&mut self) -> Result<()> {
        for number in 0..self.hubs.len() {
            self.start_one(Who::Hub(number)).await?;
        }
        Ok(())
    }

    async fn start_hub(&mut self, number: usize) -> Result<()> {
        self.restarts += 1;
        let mut command = inside(self.space.as_ref(), &binary("pyralog-hub")?);
        let tokens = self.folder.join("tokens");
        let hub = self.hub(number)?;
        command.args(["serve", "--listen", &hub.address.to_string(), "--tokens"]).arg(tokens);
        command.arg("--store").arg(&hub.store).env("PYRALOG_SYNC__RETRY_AFTER", "1s");
        hub.run(command).await
    }

    fn hub(&mut self, number: usize) -> Result<&mut Hub> {
        self.hubs.get_mut(number).ok_or_else(|| "no such hub".into())
    }

    /// Kills a process, if it runs.
    ///
    /// # Errors
    /// When there is none of this number.
    pub async fn kill(&mut self, who: Who) -> Result<()> {
        match who {
            Who::Agent(agent) if self.slot(agent)?.agent().is_ok() => self.slot(agent)?.kill().await,
            Who::Agent(_) => Ok(()),
            Who::Hub(number) => {
                self.ask_hub(number).await;
                self.hub(number)?.kill();
                Ok(())
            }
        }
    }

    /// Sends a process a signal, if it runs.
    ///
    /// # Errors
    /// When there is no way to send it.
    pub fn signal(&mut self, who: Who, signal: &str) -> Result<()> {
        match who {
            Who::Agent(agent) => self.slot(agent)?.agent().map_or(Ok(()), |agent| agent.process.signal(signal)),
            Who::Hub(number) => self.hub(number)?.process().map_or(Ok(()), |process| process.signal(signal)),
        }
    }

    /// Changes the hubs' disk.
    ///
    /// # Errors
    /// When there is no such disk, or the system refuses.
    pub async fn disk(&mut self, disk: Disk) -> Result<()> {
        self.space.as_ref().ok_or("the hubs have no disk of their own")?.set(disk).await?;
        self.sick = disk != Disk::Well;
        Ok(())
    }

    /// Writes the tokens file, without an agent's token if one is named.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_tokens(&self, without: Option<usize>) -> Result<()> {
        let lines = self.tokens.iter().enumerate().filter(|(line, _)| Some(*line) != without);
        let text: String = lines.map(|(_, line)| format!("{line}\n")).collect();
        // At once, so that a hub never reads half of it.
        std::fs::write(self.folder.join("tokens.new"), text)?;
        std::fs::rename(self.folder.join("tokens.new"), self.folder.join("tokens"))?;
        Ok(())
    }

    /// Lets the writers rest, waits until everything is shipped, and holds the hub's records against what was sent.
    ///
    /// # Errors
    /// A broken promise.
    pub async fn reckon(&mut self) -> Result<Totals> {
        let gate = Arc::clone(&self.gate);
        let _resting = gate.write().await;
        for slot in &mut self.agents {
            slot.writers_are_well()?;
            slot.drain().await?;
        }
        for hub in 0..self.hubs.len() {
            self.ask_hub(hub).await;
        }
        let mut oracle = std::mem::take(&mut self.oracle);
        let totals = self.check(&mut oracle).await;
        self.oracle = oracle;
        self.agents.iter_mut().for_each(|slot| slot.lives.drained = false);
        totals
    }

    /// The last reckoning: everything is read once more from the beginning, and the store is verified.
    ///
    /// # Errors
    /// A broken promise.
    pub async fn reckon_all(&mut self) -> Result<Totals> {
        self.oracle = Oracle::default();
        let totals = self.reckon().await?;
        let mut command = inside(self.space.as_ref(), &binary("pyralog-hub")?);
        let store = self.hubs.first().map(|hub| hub.store.clone()).unwrap_or_default();
        command.args(["verify", "--decode", "--store"]).arg(store);
        python::output("pyralog-hub verify", command).await?;
        Ok(totals)
    }

    async fn check(&self, oracle: &mut Oracle) -> Result<Totals> {
        let mut all = Totals::default();
        for (number, slot) in self.agents.iter().enumerate() {
            let hub = self.hubs.get(number % self.hubs.len().max(1)).ok_or("no hub")?;
            for (log, notes) in &slot.notes {
                let totals = oracle.check(hub, &slot.id, log, &slot.lives, notes).await?;
                all.add(totals);
            }
        }
        Ok(all)
    }

    /// Learns what a hub counted in this life, and how much memory it took.
    async fn ask_hub(&mut self, number: usize) {
        let Some(hub) = self.hubs.get_mut(number) else { return };
        let peak = hub.process().and_then(|process| process.peak_memory().ok()).unwrap_or_default();
        self.hub_peak = self.hub_peak.max(peak);
        let page = tokio::time::timeout(std::time::Duration::from_secs(1), hub.page("/metrics")).await;
        let Ok(Ok(page)) = page else { return };
        let mut counted = BTreeMap::new();
        for line in page.lines() {
            let words = line.strip_prefix("pyralog_hub_sync_replies_total{result=\"");
            if let Some((result, count)) = words.and_then(|rest| rest.split_once("\"} ")) {
                counted.insert(result.to_owned(), count.trim().parse().unwrap_or_default());
            }
        }
        self.counted(number, counted);
    }

    fn counted(&mut self, hub: usize, counts: BTreeMap<String, u64>) {
        // A hub counts from 0 in each life: what it said last of this life is replaced by what it says now.
        let life =
            self.hubs.get_mut(hub).and_then(|hub| hub.process().map(|process| process.pid())).unwrap_or_default();
        for (result, count) in counts {
            self.replies.insert(format!("{result} {life}"), count);
        }
    }

    /// Answers of all hubs, by what they say.
    pub fn replies(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (key, count) in &self.replies {
            let word = key.split(' ').next().unwrap_or_default().to_owned();
            *sums.entry(word).or_default() += count;
        }
        sums
    }

    /// Writes what every process said into the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_logs(&mut self) -> Result<()> {
        for slot in &self.agents {
            std::fs::write(self.folder.join(format!("{}.log", slot.id)), slot.said())?;
        }
        for (number, hub) in self.hubs.iter_mut().enumerate() {
            let said = hub.process().map(|process| process.said()).unwrap_or_default();
            std::fs::write(self.folder.join(format!("hub-{number}.log")), said)?;
        }
        // The disk ends with this process; what is on it may be the whole point.
        if self.space.is_some() {
            let kept = self.folder.join("store-kept");
            let store = self.hubs.first().map(|hub| hub.store.clone()).unwrap_or_default();
            inside(self.space.as_ref(), Path::new("cp")).arg("-r").arg(store).arg(kept).status()?;
        }
        Ok(())
    }
}

fn inside(space: Option<&Space>, program: &Path) -> Command {
    space.map_or_else(|| Command::new(program), |space| space.command(program))
}

/// Makes a token; its line in the tokens file goes to `lines`.
async fn token(folder: &Path, agent: &str, scope: &str, lines: &mut Vec<String>) -> Result<String> {
    let file = folder.join("token");
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new(binary("pyralog-hub")?);
    command.args(["token", "new", "--agent", agent, "--scope", scope, "--tokens"]).arg(&file);
    let token = python::output("pyralog-hub token new", command).await?;
    lines.push(std::fs::read_to_string(&file)?.trim().to_owned());
    Ok(token.trim().to_owned())
}

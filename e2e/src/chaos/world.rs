//! All processes of a run: agents with their links and writers, two hubs, and the disk that the hubs share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::sync::RwLock;

use super::faults::Fault;
use super::oracle::{Oracle, Totals};
use super::slot::Slot;
use super::space::Space;
use crate::generate::Random;
use crate::hub::Hub;
use crate::process::binary;
use crate::proxy::Proxy;
use crate::{Result, python};

/// Hubs before the store.
const HUBS: usize = 2;

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
            world.start_agent(agent).await?;
        }
        world.restarts = 0;
        Ok(world)
    }

    /// Whether the hubs' disk can be made read-only and full.
    pub fn has_disk(&self) -> bool {
        self.space.is_some()
    }

    /// Starts a new life of an agent.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_agent(&mut self, agent: usize) -> Result<()> {
        self.restarts += 1;
        let folder = self.folder.clone();
        self.slot(agent)?.start(&folder).await
    }

    /// Kills an agent.
    ///
    /// # Errors
    /// When it was dead already.
    pub async fn kill_agent(&mut self, agent: usize) -> Result<()> {
        self.slot(agent)?.kill().await
    }

    /// Stops an agent, or lets it go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop_agent(&mut self, agent: usize, stop: bool) -> Result<()> {
        self.slot(agent)?.agent()?.process.signal(if stop { "STOP" } else { "CONT" })
    }

    fn slot(&mut self, agent: usize) -> Result<&mut Slot> {
        self.agents.get_mut(agent).ok_or_else(|| "no such agent".into())
    }

    /// Starts the hubs that do not run.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start_hubs(&mut self) -> Result<()> {
        for hub in &mut self.hubs {
            if hub.process().is_some() {
                continue;
            }
            self.restarts += 1;
            let program = binary("pyralog-hub")?;
            let mut command = inside(self.space.as_ref(), &program);
            command.args(["serve", "--listen", &hub.address.to_string(), "--tokens"]).arg(self.folder.join("tokens"));
            command.arg("--store").arg(&hub.store).env("PYRALOG_SYNC__RETRY_AFTER", "1s");
            hub.run(command).await?;
        }
        Ok(())
    }

    /// Kills a hub.
    pub async fn kill_hub(&mut self, hub: usize) {
        self.ask_hub(hub).await;
        if let Some(hub) = self.hubs.get_mut(hub) {
            hub.kill();
        }
    }

    /// Stops one hub or all, or lets them go on.
    ///
    /// # Errors
    /// When there is no way to send a signal.
    pub fn stop_hubs(&mut self, one: Option<usize>, stop: bool) -> Result<()> {
        for (number, hub) in self.hubs.iter_mut().enumerate() {
            if one.is_none_or(|one| one == number)
                && let Some(process) = hub.process()
            {
                process.signal(if stop { "STOP" } else { "CONT" })?;
            }
        }
        Ok(())
    }

    /// Makes the hubs' disk as the fault has it, or well again.
    ///
    /// # Errors
    /// When there is no such disk, or the system refuses.
    pub async fn disk(&self, fault: Fault, on: bool) -> Result<()> {
        let space = self.space.as_ref().ok_or("the hubs have no disk of their own")?;
        if fault == Fault::Full { space.full(on).await } else { space.read_only(on).await }
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

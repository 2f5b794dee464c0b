//! What must hold at every moment: looked at while things go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use pyralog_agent::ring::{ReadError, ReadRange, Ring};
use pyralog_hub::account;
use pyralog_hub::store::SharedStore;
use pyralog_hub::verify::{Scope, verify};

use crate::disk::Disk;
use crate::hubs::AGENT_ID;
use crate::ledger::{self, Incarnation, Ledger};
use crate::rows;
use crate::world::World;

/// Bytes by which a budget may be over its cap: a segment's bookkeeping, a published schema, a packer's scratch.
const FORCED: u64 = 512 << 10;

/// Looks at one agent.
#[derive(Debug)]
pub struct Watcher {
    incarnation: Incarnation,
    ring: Ring,
    /// Of each log: its cursor, and how often the store had been put back when that was seen.
    cursors: Mutex<BTreeMap<Arc<str>, (u64, u64)>>,
}

impl Watcher {
    /// Looks at the ring of an incarnation.
    pub fn new(incarnation: Incarnation, ring: Ring) -> Self {
        Self { incarnation, ring, cursors: Mutex::default() }
    }

    /// A short look: no cursor went back, the budget holds.
    pub fn look(&self, world: &World) {
        let back = self.cursors(&world.ledger.lock());
        match back {
            Ok(back) => world.add("cursors that went back with the store", back),
            Err(what) => world.fail(what),
        }
        let budget = self.ring.budget();
        let over = budget.used().saturating_sub(budget.cap());
        world.most("bytes over a budget's cap, at most", over);
        if over > FORCED {
            world.fail(format!("{} of {} bytes of the budget in use", budget.used(), budget.cap()));
        }
    }

    /// How many cursors went back, as they may when the store did.
    fn cursors(&self, ledger: &Ledger) -> Result<u64, String> {
        let (mut cursors, mut back) = (self.cursors.lock(), 0);
        for log in self.ring.sync_logs() {
            let now = log.cursor.next_offset;
            let (before, seen) = cursors.get(&log.name).copied().unwrap_or_default();
            let life = ledger.life(&self.incarnation);
            let floor = life.and_then(|life| life.logs.get(&*log.name)).map_or(0, |log| log.floor);
            // Once for each time that the store went back, and not below what it had then.
            let may_go_back = ledger.restores() > seen && now >= floor;
            if now < before && !may_go_back {
                return Err(format!("the cursor of {} went back from {before} to {now}", log.name));
            }
            let seen = if now < before { ledger.restores() } else { seen };
            back += u64::from(now < before);
            cursors.insert(Arc::clone(&log.name), (now, seen));
        }
        Ok(back)
    }

    /// A long look: the equation, log by log, against what the oracle knows was accepted.
    pub fn account(&self, world: &World) -> Result<(), String> {
        #[cfg(debug_assertions)]
        self.ring.check_invariants();
        let ledger = world.ledger.lock();
        let life = ledger.life(&self.incarnation).ok_or("an unknown agent")?;
        let logs = self.ring.logs();
        for log in &logs {
            let account = log.account;
            let sum = account.committed + account.pending + account.receipted.iter().sum::<u64>();
            let known = life.logs.get(&*log.name).map_or(0, |log| log.rows.len() as u64);
            if account.accepted != sum || account.accepted != known || log.head != known {
                return Err(format!(
                    "agent {}: {}: {account:?}, head {}, accepted {known}",
                    life.number, log.name, log.head
                ));
            }
        }
        match life.logs.iter().find(|(name, log)| !log.rows.is_empty() && logs.iter().all(|l| *l.name != ***name)) {
            Some((name, _)) => Err(format!("agent {}: the log {name} is gone", life.number)),
            None => Ok(()),
        }
    }
}

impl Watcher {
    /// Reads all that the ring holds, as a client on the device would: whatever comes is what was accepted, in order.
    pub fn read(&self, world: &World) -> Result<(), String> {
        for log in self.ring.sync_logs() {
            let Some(mut reader) = self.ring.read(&log.name, ReadRange::default()) else { continue };
            let mut next = 0;
            loop {
                let chunk = match reader.next_chunk() {
                    Ok(Some(chunk)) => chunk,
                    // Under a tiny cap there may be no room to decode a segment.
                    Ok(None) | Err(ReadError::Memory(_)) => break,
                    Err(error) => return Err(error.to_string()),
                };
                let kept = rows::keep(&chunk.batch, &chunk.schema)?;
                let ledger = world.ledger.lock();
                for at in chunk.rows.clone() {
                    let offset = chunk.base + at as u64;
                    let accepted = ledger.accepted(&self.incarnation, &log.name, offset);
                    if offset < next || accepted.is_some_and(|accepted| kept.get(at) != Some(&accepted)) {
                        return Err(format!(
                            "the device reads another record at {offset} of {} than it took",
                            log.name
                        ));
                    }
                    next = offset + 1;
                }
                world.add("records read on the device", chunk.rows.len() as u64);
            }
        }
        Ok(())
    }
}

/// Looks at the store as it is now: gap-free, whole, and nothing in it that was never accepted or that was acknowledged and
/// is gone.
pub fn store(world: &World) {
    let store = Disk::store(world, None);
    ledger::learn_epochs(world);
    let look = async { look(world, store).await };
    // The onlooker's store answers at once, so that what it sees is one moment.
    let result = look.now_or_never().unwrap_or_else(|| Err("the onlooker's store made it wait".into()));
    world.check(result);
    world.count("looks at the store");
}

async fn look(world: &World, store: SharedStore) -> Result<(), String> {
    let mut fault = None;
    let scope = Scope::default();
    let faults = verify(&*store, &scope, |finding| {
        if let Some(found) = &finding.fault {
            fault.get_or_insert_with(|| format!("{}: {}", found.name, found.reason));
        }
    });
    if faults.await.map_err(|error| error.to_string())? > 0 {
        return Err(format!("the store is damaged: {}", fault.unwrap_or_default()));
    }
    let logs = store.logs(AGENT_ID, None, usize::MAX).await.map_err(|error| error.to_string())?;
    for log in logs {
        let account = account::log(&*store, AGENT_ID, &log).await.map_err(|error| error.to_string())?;
        let ledger = world.ledger.lock();
        for epoch in account.epochs {
            let life = ledger.opener(epoch.epoch).and_then(|opener| ledger.life(&opener)).ok_or("an unknown epoch")?;
            // A log that was opened and took nothing is unknown to the ledger.
            let known = life.logs.get(&log).map(|log| (log.rows.len() as u64, log.acknowledged));
            let ((accepted, said), next) = (known.unwrap_or_default(), epoch.next_offset);
            if next > accepted || next < said {
                return Err(format!(
                    "{log}, epoch {}: the hub has {next}, acknowledged {said}, accepted were {accepted}",
                    epoch.epoch
                ));
            }
        }
    }
    Ok(())
}

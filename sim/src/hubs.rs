//! The hubs: real sessions, which may die between any two operations of their store and come back knowing nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyralog_hub::session::Sessions;
use pyralog_sync_protocol::AgentId;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::disk::Disk;
use crate::ledger;
use crate::trace::{Event, digest};
use crate::world::{World, guarded, spawn};

/// The id of the one device.
pub const AGENT_ID: &str = "board-17";

/// Requests that a hub works on at once; beyond, a caller is turned away as the real door does.
const MAX_RUNNING: usize = 64;

/// One hub.
#[derive(Default)]
pub struct Hub {
    /// `None` while it is down.
    sessions: Option<Sessions>,
    running: JoinSet<()>,
    generation: u64,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("up", &self.sessions.is_some()).finish_non_exhaustive()
    }
}

/// A request at a hub.
pub struct Work {
    /// The answer, when it comes.
    pub answer: oneshot::Receiver<Vec<u8>>,
    /// Stops the work.
    pub task: AbortHandle,
}

/// Starts all hubs.
pub fn start(world: &World) {
    let mut hubs: Vec<Hub> = Vec::new();
    hubs.resize_with(world.plan.terms.len(), Hub::default);
    *world.hubs.lock() = hubs;
    (0..world.plan.terms.len()).for_each(|hub| up(world, hub));
}

/// Starts a hub if it is down.
pub fn up(world: &World, hub: usize) {
    let terms = world.plan.terms[hub];
    let store = Disk::store(world, Some(hub));
    if let Some(down) = world.hubs.lock().get_mut(hub).filter(|hub| hub.sessions.is_none()) {
        down.sessions = Some(Sessions::new(store, terms));
        world.note(Event::HubUp(hub));
    }
}

/// Kills a hub; it comes back after a while.
pub fn crash(world: &World, hub: usize, why: &'static str) {
    let (dead, generation) = {
        let mut hubs = world.hubs.lock();
        let Some(hub) = hubs.get_mut(hub).filter(|hub| hub.sessions.is_some()) else { return };
        hub.generation += 1;
        hub.sessions = None;
        (std::mem::take(&mut hub.running), hub.generation)
    };
    world.count("hub crashes");
    world.add("requests that died with their hub", dead.len() as u64);
    world.note(Event::HubDown(hub, why));
    // Dropping the set stops its tasks.
    drop(dead);
    let away = {
        let mut chance = world.chance.lock();
        let longest = *chance.pick(&[Duration::from_millis(50), Duration::from_secs(2), Duration::from_secs(20)]);
        chance.within(longest)
    };
    let world = Arc::clone(world);
    let handle = Arc::clone(&world);
    spawn(&handle, async move {
        sleep(away).await;
        if world.hubs.lock().get(hub).is_some_and(|hub| hub.generation == generation) {
            up(&world, hub);
        }
    });
}

/// Lets all hubs go, which ends what they work on.
pub fn end(world: &World) {
    let hubs = std::mem::take(&mut *world.hubs.lock());
    drop(hubs);
}

/// Gives a hub something to do that nobody waits for, if it is up and has a place free. It dies with the hub.
pub fn employ(world: &World, hub: usize, work: impl Future<Output = ()> + Send + 'static) {
    let mut hubs = world.hubs.lock();
    if let Some(hub) = hubs.get_mut(hub).filter(|hub| hub.sessions.is_some() && hub.running.len() < MAX_RUNNING) {
        hub.running.spawn(guarded(world, work));
    }
}

/// Hands a request to a hub; `None` if it is down.
pub fn serve(world: &World, hub: usize, id: u64, hello: bool, body: Bytes) -> Option<Work> {
    let mut hubs = world.hubs.lock();
    let it = hubs.get_mut(hub)?;
    let sessions = it.sessions.clone()?;
    while it.running.try_join_next().is_some() {}
    if it.running.len() >= MAX_RUNNING {
        return None;
    }
    world.note(Event::Arrive(id, hub));
    let (send, answer) = oneshot::channel();
    let (world, handle) = (Arc::clone(world), world);
    let work = async move {
        let Ok(agent) = AgentId::new(AGENT_ID) else { return };
        let now = world.clocks.lock().hub(hub, world.elapsed());
        let outcome = match hello {
            true => Box::pin(sessions.hello(&agent, &body, now)).await,
            false => Box::pin(sessions.batch(&agent, &body, now)).await,
        };
        ledger::learn_epochs(&world);
        let result = world.ledger.lock().answered(hello, &body, &outcome);
        world.check(result);
        let reply = outcome.reply.encode();
        world.note(Event::Answer(id, ledger::word(&outcome.reply), digest(&reply)));
        world.count(ledger::kind(&outcome.reply));
        // Nobody may be waiting any more.
        let _ = send.send(reply);
    };
    let task = it.running.spawn(guarded(handle, work));
    Some(Work { answer, task })
}

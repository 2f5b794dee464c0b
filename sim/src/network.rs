//! The network between an agent and the hubs: it delays, loses, doubles, damages, and breaks off.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyralog_agent::sync::{Exchange, Link};
use pyralog_sync_protocol::Failure;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::hubs::{self, Work};
use crate::meddler::{Change, meddle};
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::trace::{Event, digest};
use crate::watch::Watcher;
use crate::world::{World, spawn};

type Answer = Result<Vec<u8>, Failure>;

/// An agent's way to the hubs.
pub struct SimLink {
    world: World,
    watcher: Arc<Watcher>,
}

/// What will become of a message and its answer.
struct Journey {
    id: u64,
    hub: usize,
    there: Duration,
    back: Duration,
    lost: bool,
    lost_reply: bool,
    reset: bool,
    foreign: bool,
    /// What the batch says is changed, with its checksums.
    meddled: Option<Change>,
    /// Flip bits of the request, or of the answer.
    corrupt: Option<bool>,
    cancels: bool,
    /// The request arrives once more, at this hub, after this time.
    ghost: Option<(usize, Duration)>,
    chance: Random,
}

impl SimLink {
    /// A link whose every exchange is looked at by `watcher`.
    pub fn new(world: World, watcher: Arc<Watcher>) -> Self {
        Self { world, watcher }
    }
}

impl Link for SimLink {
    fn exchange(&self, hello: bool, message: Bytes) -> Exchange {
        let world = Arc::clone(&self.world);
        self.watcher.look(&world);
        let journey = Journey::draw(&world, hello);
        let id = journey.id;
        let what = if hello { "hello" } else { "batch" };
        world.count(if hello { "hellos" } else { "batches" });
        world.note(Event::Send(id, what, message.len(), digest(&message), journey.hub));
        let (send, answer) = oneshot::channel();
        spawn(&world, carry(Arc::clone(&world), journey, hello, message, send));
        Box::pin(async move {
            let answer = async {
                match answer.await {
                    Ok(answer) => answer,
                    // Lost on the way: nobody will ever say so.
                    Err(_) => pending().await,
                }
            };
            let late = || Failure::Transport("the hub did not answer in time".into());
            let answer = timeout(world.plan.timeout, answer).await.unwrap_or_else(|_| Err(late()));
            world.note(Event::Hear(id, answer.is_ok()));
            answer
        })
    }
}

impl Journey {
    fn draw(world: &World, hello: bool) -> Self {
        let mut weather = world.weather.lock().network;
        if world.sabotage == Sabotage::DamagingLink {
            weather.corrupt = 333;
        }
        let mut chance = world.network_chance.lock();
        let hubs = world.plan.terms.len() as u64;
        let delay = |chance: &mut Random| {
            let slow = chance.chance(weather.slow);
            if slow { chance.within(weather.longest) } else { Duration::from_millis(chance.below(6)) }
        };
        let ghost = chance.chance(weather.duplicate).then(|| {
            let longest = if chance.chance(500) { weather.longest_ghost } else { Duration::from_secs(2) };
            (chance.below(hubs) as usize, chance.within(longest))
        });
        Self {
            id: world.next(),
            hub: chance.below(hubs) as usize,
            there: delay(&mut chance),
            back: delay(&mut chance),
            lost: chance.chance(weather.lose),
            lost_reply: chance.chance(weather.lose_reply),
            reset: chance.chance(weather.reset),
            foreign: chance.chance(weather.foreign),
            meddled: if hello { None } else { world.meddler.lock().next(weather.meddle, &mut chance) },
            corrupt: chance.chance(weather.corrupt).then(|| chance.chance(500)),
            cancels: chance.chance(weather.cancel),
            ghost,
            chance: chance.fork(),
        }
    }
}

/// Carries a message to its hub and the answer back.
async fn carry(world: World, mut journey: Journey, hello: bool, body: Bytes, mut send: oneshot::Sender<Answer>) {
    let id = journey.id;
    if let Some((hub, after)) = journey.ghost {
        spawn(&world, haunt(Arc::clone(&world), id, hub, after, hello, body.clone()));
    }
    sleep(journey.there).await;
    if journey.foreign {
        world.count("answers of a proxy");
        world.note(Event::Fate(id, "a proxy answers"));
        return drop(send.send(Err(foreign(&mut journey.chance))));
    }
    if journey.lost || world.window(journey.hub).cut {
        world.count("lost requests");
        world.note(Event::Fate(id, "the request is lost"));
        return;
    }
    let body = match journey.meddled {
        Some(change) => meddled(&world, id, change, &mut journey.chance, body),
        None => body,
    };
    let body = match journey.corrupt {
        Some(true) => damage(&world, id, &mut journey.chance, &body),
        _ => body,
    };
    let Some(mut work) = hubs::serve(&world, journey.hub, id, hello, body) else {
        world.count("refused connections");
        world.note(Event::Fate(id, "nobody listens"));
        return drop(send.send(Err(Failure::Transport("connection refused".into()))));
    };
    if journey.reset {
        sleep(journey.back).await;
        world.count("resets");
        world.note(Event::Fate(id, "the connection breaks"));
        hang_up(&world, &journey, &work);
        return drop(send.send(Err(Failure::Transport("connection reset".into()))));
    }
    let answer = tokio::select! {
        biased;
        answer = &mut work.answer => answer,
        () = send.closed() => {
            world.note(Event::Fate(id, "the agent hangs up"));
            return hang_up(&world, &journey, &work);
        }
    };
    // A hub that died with the request says nothing: its connections close.
    let Ok(reply) = answer else {
        return drop(send.send(Err(Failure::Transport("the hub closed the connection".into()))));
    };
    sleep(journey.back).await;
    if journey.lost_reply || world.window(journey.hub).cut {
        world.count("lost answers");
        world.note(Event::Fate(id, "the answer is lost"));
        return;
    }
    let reply = match journey.corrupt {
        Some(false) => damage(&world, id, &mut journey.chance, &reply.into()).to_vec(),
        _ => reply,
    };
    // The agent may have crashed.
    let _ = send.send(Ok(reply));
}

/// Delivers a request once more; nobody waits for its answer.
async fn haunt(world: World, id: u64, hub: usize, after: Duration, hello: bool, body: Bytes) {
    let epochs = world.ledger.lock().incarnations();
    sleep(after).await;
    if world.window(hub).cut {
        return;
    }
    world.count("duplicates");
    if world.ledger.lock().incarnations() > epochs {
        world.count("duplicates of old incarnations");
    }
    world.note(Event::Fate(id, "the request comes again"));
    // It runs to its end without anybody.
    drop(hubs::serve(&world, hub, id, hello, body));
}

fn hang_up(world: &World, journey: &Journey, work: &Work) {
    if journey.cancels {
        world.count("cancelled requests");
        work.task.abort();
    }
}

fn foreign(chance: &mut Random) -> Failure {
    let retry_after = chance.chance(500).then(|| Duration::from_secs(chance.below(8)));
    let code = *chance.pick(&[502, 503, 504, 429, 401]);
    Failure::Status { code, message: "not the hub".into(), retry_after }
}

fn meddled(world: &World, id: u64, change: Change, chance: &mut Random, body: Bytes) -> Bytes {
    match meddle(&body, change, chance) {
        Some(changed) => {
            world.count("batches that were meddled with");
            world.note(Event::Fate(id, "somebody changes the batch"));
            changed.into()
        }
        None => body,
    }
}

/// Flips up to three bits, or cuts the end off: what a checksum of 32 bits sees for certain, or a length.
fn damage(world: &World, id: u64, chance: &mut Random, bytes: &Bytes) -> Bytes {
    world.count("damaged messages");
    world.note(Event::Fate(id, "bytes are damaged"));
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() || chance.chance(200) {
        let len = chance.below(bytes.len() as u64) as usize;
        bytes.truncate(len);
        return bytes.into();
    }
    // Within one byte, so that no two flips can undo each other.
    let at = chance.below(bytes.len() as u64) as usize;
    bytes[at] ^= chance.between(1, 255) as u8;
    bytes.into()
}

impl std::fmt::Debug for SimLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimLink")
    }
}

//! What becomes of one operation of the store.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use object_store::{Error, Result};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{Disk, Platter};
use crate::hubs;
use crate::trace::Event;
use crate::world::{DiskState, World, spawn};

/// How long an operation hangs at most.
const FREEZE: Duration = Duration::from_secs(50);

/// An operation that is asked for.
pub(super) struct Ask {
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) writes: bool,
}

/// What will become of it.
struct Fate {
    takes: Duration,
    end: End,
    /// It goes on without the hub.
    detached: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// It did not happen.
    Failed,
    /// The store is full, read-only or away.
    Refused,
    /// It happened, and is said to have failed.
    Unsaid,
    /// It is said to have failed, and happens after this time.
    Late(Duration),
    CrashBefore,
    CrashAfter,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unsaid => "done, said to have failed",
            Self::Late(_) => "said to have failed, will be done",
            Self::CrashBefore => "the hub dies before it",
            Self::CrashAfter => "the hub dies after it",
        }
    }
}

impl Disk {
    /// Does `act` to the platter, or fails, as chance has it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        ask: Ask,
        act: impl FnOnce(&mut Platter) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(hub) = self.hub else { return act(&mut self.world.platter.lock()) };
        let world = &self.world;
        // What was asked of a store before it was put back to what it was once does not reach it any more.
        let age = world.platter.lock().age();
        let act = move |platter: &mut Platter| if platter.age() == age { act(platter) } else { Err(failed("find")) };
        let fate = fate(world, hub, ask.writes);
        world.count("disk operations");
        if world.weather.lock().events.turn > Duration::ZERO {
            world.count("disk operations in the storm");
        }
        world.note(Event::Disk(hub, ask.what, ask.name, fate.end.name()));
        if !matches!(fate.end, End::Late(_)) && !fate.detached {
            pass(fate.takes).await;
        }
        match fate.end {
            End::Done if fate.detached => self.apart(fate.takes, act).await.unwrap_or_else(|| Err(failed("finish"))),
            End::Done => act(&mut world.platter.lock()),
            End::Failed => {
                world.count("failed operations");
                Err(failed("reach"))
            }
            End::Refused => {
                world.count("refused operations");
                Err(failed("write to"))
            }
            End::Unsaid => {
                let happened = act(&mut world.platter.lock()).is_ok();
                world.add("failed-but-happened writes", u64::from(happened && ask.writes));
                Err(failed("hear of"))
            }
            End::Late(after) => {
                world.count("late writes");
                let (world, other) = (Arc::clone(world), Arc::clone(world));
                spawn(&world, async move {
                    sleep(after).await;
                    let _ = act(&mut other.platter.lock());
                });
                Err(failed("wait for"))
            }
            End::CrashBefore => self.crash(hub, ask.what).await,
            End::CrashAfter => {
                let _ = act(&mut world.platter.lock());
                self.crash(hub, ask.what).await
            }
        }
    }

    /// Whether a read breaks off in the middle of its object.
    pub(super) fn breaks_off(&self) -> bool {
        let chance = self.world.weather.lock().disk.fail / 4;
        self.hub.is_some() && self.world.disk_chance.lock().chance(chance)
    }

    /// Does it in a task of its own, as a server does, whether or not the hub is still there.
    async fn apart<T: Send + 'static>(
        &self,
        takes: Duration,
        act: impl FnOnce(&mut Platter) -> Result<T> + Send + 'static,
    ) -> Option<Result<T>> {
        let (done, wait) = oneshot::channel();
        let world = Arc::clone(&self.world);
        spawn(&self.world, async move {
            pass(takes).await;
            let result = act(&mut world.platter.lock());
            if done.send(result).is_err() {
                world.count("writes that outlived their hub");
            }
        });
        wait.await.ok()
    }

    async fn crash<T>(&self, hub: usize, what: &'static str) -> T {
        self.world.count(if what == "put" { "hub crashes at a write" } else { "hub crashes at a read" });
        hubs::crash(&self.world, hub, "at an operation of its store");
        // The task is gone as soon as it gives way.
        pending().await
    }
}

/// Lets time pass; none at all is still a point at which others may go first.
async fn pass(takes: Duration) {
    if takes.is_zero() {
        tokio::task::yield_now().await;
    } else {
        sleep(takes).await;
    }
}

fn fate(world: &World, hub: usize, writes: bool) -> Fate {
    let state = world.window(hub).disk;
    let weather = world.weather.lock().disk;
    let mut chance = world.disk_chance.lock();
    let slow = chance.chance(weather.slow);
    let frozen = chance.chance(weather.freeze);
    let takes = if frozen {
        world.stir();
        Duration::from_secs(2) + chance.within(FREEZE)
    } else if slow {
        chance.within(weather.longest)
    } else {
        Duration::from_millis(chance.below(4) / 2)
    };
    let away = state == DiskState::Away || (writes && state != DiskState::Usual);
    let draw = chance.below(1_000);
    let detached = writes && chance.chance(weather.detached);
    let later = chance.within(weather.longest * 2);
    let mut from = 0;
    let mut drawn = |share: u64| {
        from += share;
        draw < from && draw + share >= from
    };
    let end = if away {
        End::Refused
    } else if drawn(weather.fail) {
        End::Failed
    } else if drawn(weather.unsaid) {
        End::Unsaid
    } else if drawn(weather.crash) {
        if draw.is_multiple_of(2) { End::CrashBefore } else { End::CrashAfter }
    } else if drawn(weather.late) && writes {
        End::Late(later)
    } else {
        End::Done
    };
    Fate { takes, end, detached: detached && end == End::Done }
}

/// An error of a store, in its words.
pub(super) fn failed(what: &str) -> Error {
    Error::Generic { store: "simulated", source: format!("cannot {what} the disk").into() }
}

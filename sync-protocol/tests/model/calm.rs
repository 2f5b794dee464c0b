//! What becomes of a world in which nothing goes wrong any more.
//!
//! From a state on, only the calm steps are taken, in a fixed order, until nothing is left to do. Which step is next depends on
//! the state alone, and every calm step is one of the model's actions; so where it ends is a function of the state, and states
//! that are known to come to rest need not be followed again. Asking this of every reachable state is therefore exact, for
//! this one schedule: it does not say that every fair schedule ends, but that no state is beyond recovery.

use crate::actions::{Action, How};
use crate::shared::fingerprint;
use crate::world::{Model, World, log_names};
use pyralog_sync_protocol::SenderState;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Steps after which a world that has not come to rest counts as one that never will.
const MAX_STEPS: usize = 2_000;

/// Worlds, by fingerprint, from which calm steps lead to a good end.
#[derive(Default)]
pub struct Known(Mutex<HashSet<u64>>);

/// Whether calm steps lead from `world` to rest, with every accepted record committed or receipted.
pub fn comes_to_rest(model: &Model, world: &World) -> bool {
    let mut way = Vec::new();
    let mut world = world.clone();
    for _ in 0..MAX_STEPS {
        let here = fingerprint(&world);
        if model.at_rest.open().contains(&here) {
            model.at_rest.open().extend(way);
            return true;
        }
        way.push(here);
        let Some(action) = next(model, &world) else {
            let good = is_settled(model, &world);
            if good {
                model.at_rest.open().extend(way);
            }
            return good;
        };
        match action.apply(model, &world) {
            Some(next) => world = next,
            None => return false,
        }
    }
    false
}

impl Known {
    fn open(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next calm step: hubs finish what they have, letters arrive, then each agent in turn does what it wants to.
fn next(model: &Model, world: &World) -> Option<Action> {
    if !world.store.unwritten.is_empty() {
        return Some(Action::WriteLate);
    }
    if !world.jobs.is_empty() {
        return Some(Action::Step { job: 0, how: How::Well });
    }
    if !world.letters.is_empty() {
        return Some(Action::Deliver { letter: 0, again: false });
    }
    for (agent, state) in world.agents.iter().enumerate() {
        let Some(life) = &state.life else { continue };
        if life.in_flight {
            return Some(Action::GiveUp { agent });
        }
        let status = life.sender.status();
        let shipped = log_names(&model.bounds)
            .iter()
            .all(|log| state.heads.get(log).copied().unwrap_or_default() == state.cursor(log).next);
        match status.state {
            SenderState::Fenced => {}
            SenderState::Idle if shipped && status.epoch.is_some() => {}
            _ => return Some(Action::Poll { agent }),
        }
    }
    None
}

/// Whether a world at rest is as it should be: the newest epoch belongs to an agent that lives and has every record committed or
/// receipted, as it knows; every other living agent has so, too, or knows that it is fenced; and every older epoch has ended.
fn is_settled(model: &Model, world: &World) -> bool {
    let stored = &world.store.store;
    let Some((newest, _)) = stored.epochs.last_key_value() else { return false };
    let owner = stored.incarnation(*newest);
    let Ok(counts) = stored.check() else { return false };
    let done = |index: usize| {
        let agent = &world.agents[index];
        let Some(life) = &agent.life else { return false };
        let Some(epoch) = life.sender.status().epoch else { return false };
        log_names(&model.bounds).iter().all(|log| {
            let (committed, lost) = counts.get(&(epoch, log.clone())).copied().unwrap_or_default();
            let cursor = agent.cursor(log);
            (cursor.committed(), cursor.lost()) == (committed, lost)
                && committed + lost == agent.heads.get(log).copied().unwrap_or_default()
        })
    };
    let mut owner_lives = false;
    for (index, agent) in world.agents.iter().enumerate() {
        let Some(life) = &agent.life else { continue };
        let owns = owner == Some(agent.incarnation);
        owner_lives |= owns;
        let fenced = life.sender.status().state == SenderState::Fenced;
        // A twin that has nothing to ship any more need not find out that it is fenced.
        if !(fenced && !owns || done(index)) {
            return false;
        }
    }
    owner_lives && stored.epochs.keys().filter(|epoch| *epoch < newest).all(|epoch| stored.closed.contains(epoch))
}

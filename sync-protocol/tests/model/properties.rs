//! What must hold in every state: the invariants I1 to I6 of the protocol.

use crate::actions::Action;
use crate::calm;
use crate::peers::ring::Ring;
use crate::peers::store::Fault;
use crate::world::{Agent, Model, World, log_names};
use pyralog_sync_protocol::entry::Entry;
use pyralog_sync_protocol::{Cursor, Epoch, Incarnation, LogName, SenderState};
use stateright::Property;

pub const GAP_FREE: &str = "I1: the hub's log is gap-free";
pub const ONCE: &str = "I2: no offset is committed twice, and nothing stored ever changes";
pub const DURABLE: &str = "I3: what an answer said is durable";
pub const NEWEST: &str = "I4: nothing is committed to an epoch that has ended";
pub const NOT_FENCED: &str = "I4: the newest incarnation is not fenced";
pub const BALANCED: &str = "I5: accepted = committed + pending + receipted, as the ring counts";
pub const COUNTED: &str = "I5: the hub's counts are those of its entries";
pub const NEVER_MORE: &str = "I5: nothing is committed or receipted that was not accepted";
pub const HEARD: &str = "I5: what an answered hello of a crashed agent told of is accounted for";
pub const AUTHENTIC: &str = "I6: at each offset stands what the epoch's incarnation accepted there";
pub const AT_REST: &str = "I6: when faults end, everything is committed or receipted";
/// Not an invariant: that the world is one in which the above could be violated.
pub const REACHED: &str = "the world reaches what it is there for";

impl stateright::Model for Model {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        Action::all(self, world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        action.apply(self, world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(GAP_FREE, |_, world| !has(world, &[Fault::Gap])),
            Property::always(ONCE, |_, world| !has(world, &[Fault::Overlap]) && !world.store.rewritten),
            Property::always(DURABLE, durable),
            Property::always(NEWEST, |_, world: &World| {
                let stored = &world.store.store;
                !has(world, &[Fault::AfterTheEnd]) && stored.closed.iter().all(|epoch| stored.has_ended(*epoch))
            }),
            Property::always(NOT_FENCED, newest_is_not_fenced),
            Property::always(BALANCED, balanced),
            Property::always(COUNTED, |_, world| !has(world, &[Fault::Count])),
            Property::always(NEVER_MORE, never_more),
            Property::always(HEARD, heard),
            Property::always(AUTHENTIC, |_, world| !has(world, &[Fault::Foreign, Fault::Chain])),
            Property::always(AT_REST, calm::comes_to_rest),
            Property::sometimes(REACHED, |model, world| (model.bounds.reaches)(world)),
        ]
    }
}

fn has(world: &World, faults: &[Fault]) -> bool {
    world.store.fault.is_some_and(|fault| faults.contains(&fault))
}

/// The epoch that the store gave to an incarnation.
fn epoch_of(world: &World, incarnation: Incarnation) -> Option<Epoch> {
    let stored = &world.store.store;
    stored.epochs.keys().copied().find(|epoch| stored.incarnation(*epoch) == Some(incarnation))
}

/// Each cursor that an agent was given is that of an entry in the store.
fn durable(model: &Model, world: &World) -> bool {
    world.agents.iter().all(|agent| {
        let logs = log_names(&model.bounds).into_iter().filter(|log| agent.cursor(log) != Cursor::default());
        let mut logs = logs.peekable();
        if logs.peek().is_none() {
            return true;
        }
        let Some(epoch) = epoch_of(world, agent.incarnation) else { return false };
        logs.all(|log| {
            let cursor = agent.cursor(&log);
            let chain = world.store.store.entries.get(&(epoch, log));
            let entries =
                chain.into_iter().flat_map(|chain| chain.values()).filter_map(|entry| Entry::decode(entry).ok());
            entries.map(|entry| entry.tip.cursor).any(|stored| stored == cursor)
        })
    })
}

fn newest_is_not_fenced(_: &Model, world: &World) -> bool {
    let stored = &world.store.store;
    let owner = stored.epochs.keys().next_back().and_then(|epoch| stored.incarnation(*epoch));
    world
        .agents
        .iter()
        .filter(|agent| Some(agent.incarnation) == owner)
        .all(|agent| agent.life.as_ref().is_none_or(|life| life.sender.status().state != SenderState::Fenced))
}

fn balanced(model: &Model, world: &World) -> bool {
    world.agents.iter().all(|agent| {
        let Some(life) = &agent.life else { return true };
        let ring = Ring::new(life.logs.clone(), usize::MAX, model.bounds.rows);
        ring.books().into_iter().all(|(log, books)| {
            books.balance() && books.accepted == head(agent, &log) && books.cursor == life.sender.cursor(&log)
        })
    })
}

/// Every chain ends at or below the head of its incarnation.
fn never_more(_: &Model, world: &World) -> bool {
    let stored = &world.store.store;
    stored.entries.keys().all(|(epoch, log)| {
        let owner = stored.incarnation(*epoch);
        let head = world.agents.iter().find(|agent| Some(agent.incarnation) == owner).map(|agent| head(agent, log));
        stored.tip(*epoch, log).cursor.next <= head.unwrap_or_default()
    })
}

fn head(agent: &Agent, log: &LogName) -> u64 {
    agent.heads.get(log).copied().unwrap_or_default()
}

/// Once the epoch of a crashed agent has ended, its chains reach to what its answered hellos had told of.
fn heard(_: &Model, world: &World) -> bool {
    let stored = &world.store.store;
    world.agents.iter().filter(|agent| agent.life.is_none()).all(|agent| {
        let epoch = epoch_of(world, agent.incarnation).filter(|epoch| stored.closed.contains(epoch));
        let Some(epoch) = epoch else { return true };
        agent.heard.iter().all(|(log, head)| stored.tip(epoch, log).cursor.next >= *head)
    })
}

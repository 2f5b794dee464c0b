//! What can happen in a world, and what comes of it.

use crate::bounds::Bounds;
use crate::breaks::{self, Break};
use crate::peers::ring::Ring;
use crate::peers::truth;
use crate::shared::Shared;
use crate::world::{Content, Letter, Model, World, log_names};
use pyralog_sync_protocol::frame::BatchAck;
use pyralog_sync_protocol::{Action as Wanted, Cursor, Failure, LogName, SenderState, Source};
use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that happens. Agents, letters and jobs are named by their places in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A sensor's record comes in.
    Append { agent: usize, log: usize },
    /// The oldest segment of a log leaves the ring.
    Evict { agent: usize, log: usize },
    /// RAM fails.
    Damage { agent: usize, log: usize },
    /// The sender's wait, if it had one, is over: do what it says.
    Poll { agent: usize },
    /// Much is pending.
    Demand { agent: usize },
    /// The agent waits no longer for the answer.
    GiveUp { agent: usize },
    /// The process dies, and another one starts.
    CrashAgent { agent: usize },
    /// Another process with the same id starts beside those that run.
    StartTwin,
    /// A letter arrives; `again`: and will arrive once more.
    Deliver { letter: usize, again: bool },
    /// A letter never arrives.
    Lose { letter: usize },
    /// A hub takes the next step of a request.
    Step { job: usize, how: How },
    /// A hub dies.
    CrashHub { job: usize },
    /// A broken hub at last does what it had said was done.
    WriteLate,
}

/// How an operation of the store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Well,
    /// It did not happen, and its caller hears of a failure.
    FailsBefore,
    /// It happened, and its caller hears of a failure all the same.
    FailsAfter,
    /// It created something, and its caller hears that something was there.
    Echoes,
}

impl Action {
    /// What happens in spite of everything: the actions of a world in which nothing goes wrong any more.
    pub fn all(model: &Model, world: &World, actions: &mut Vec<Self>) {
        let (bounds, left) = (&model.bounds, world.left);
        for (agent, state) in world.agents.iter().enumerate() {
            let Some(life) = &state.life else { continue };
            for log in 0..bounds.logs {
                if left.appends > 0 {
                    actions.push(Self::Append { agent, log });
                }
                if left.evictions > 0 {
                    actions.push(Self::Evict { agent, log });
                }
                if left.damages > 0 {
                    actions.push(Self::Damage { agent, log });
                }
            }
            if life.in_flight {
                if left.give_ups > 0 || !world.hopes(agent) {
                    actions.push(Self::GiveUp { agent });
                }
            } else {
                actions.push(Self::Poll { agent });
            }
            if left.demands > 0 {
                actions.push(Self::Demand { agent });
            }
            if left.agent_crashes > 0 {
                actions.push(Self::CrashAgent { agent });
            }
        }
        if left.twins > 0 {
            actions.push(Self::StartTwin);
        }
        Self::of_the_network(model, world, actions);
        Self::of_hubs(world, actions);
    }

    fn of_the_network(model: &Model, world: &World, actions: &mut Vec<Self>) {
        for (letter, content) in world.letters.iter().enumerate() {
            // Two that are alike lead to the same worlds.
            if letter > 0 && world.letters[letter - 1] == *content {
                continue;
            }
            let is_reply = matches!(content.content, Content::Reply(_));
            if is_reply || world.has_place(content.agent, &model.bounds) {
                actions.push(Self::Deliver { letter, again: false });
                // Of a second copy of an answer nobody would know: the first one ends the exchange.
                if world.left.duplicates > 0 && !is_reply {
                    actions.push(Self::Deliver { letter, again: true });
                }
            }
            if world.left.losses > 0 {
                actions.push(Self::Lose { letter });
            }
        }
    }

    fn of_hubs(world: &World, actions: &mut Vec<Self>) {
        let left = world.left;
        for job in 0..world.jobs.len() {
            if job > 0 && world.jobs[job - 1] == world.jobs[job] {
                continue;
            }
            actions.push(Self::Step { job, how: How::Well });
            if left.store_failures > 0 {
                actions.push(Self::Step { job, how: How::FailsBefore });
                actions.push(Self::Step { job, how: How::FailsAfter });
            }
            if left.echoes > 0 {
                actions.push(Self::Step { job, how: How::Echoes });
            }
            if left.hub_crashes > 0 {
                actions.push(Self::CrashHub { job });
            }
        }
        if !world.store.unwritten.is_empty() {
            actions.push(Self::WriteLate);
        }
    }

    /// The world after this; `None` when nothing changes.
    pub fn apply(self, model: &Model, before: &World) -> Option<World> {
        let bounds = &model.bounds;
        let mut world = before.clone();
        match self {
            Self::Append { agent, log } => {
                world.left.appends -= 1;
                world.append(agent, &log_names(bounds)[log], bounds);
            }
            Self::Evict { agent, log } => {
                world.left.evictions -= 1;
                let log = &log_names(bounds)[log];
                world.with_agent(agent, bounds, |_, ring| ring.evict(log)).filter(|evicted| *evicted)?;
            }
            Self::Damage { agent, log } => {
                world.left.damages -= 1;
                let log = &log_names(bounds)[log];
                world.with_agent(agent, bounds, |_, ring| ring.damage(log)).filter(|damaged| *damaged)?;
            }
            Self::Poll { agent } => world.poll(agent, model),
            Self::Demand { agent } => {
                world.left.demands -= 1;
                world.with_agent(agent, bounds, |sender, _| sender.handle_demand());
            }
            Self::GiveUp { agent } => {
                world.left.give_ups -= u8::from(world.hopes(agent));
                world.give_up(agent, model);
            }
            Self::CrashAgent { agent } => {
                world.left.agent_crashes -= 1;
                world.end_exchange(agent);
                world.agents[agent].change(|agent| agent.life = None);
                world.start_agent(bounds);
            }
            Self::StartTwin => {
                world.left.twins -= 1;
                world.start_agent(bounds);
            }
            Self::Deliver { letter, again } => {
                world.left.duplicates -= u8::from(again);
                world.deliver(letter, again, bounds);
            }
            Self::Lose { letter } => {
                world.left.losses -= 1;
                world.letters.remove(letter);
            }
            Self::Step { job, how } => world.step(job, how, model)?,
            Self::CrashHub { job } => {
                world.left.hub_crashes -= 1;
                world.jobs.remove(job);
                world.store.change(|stored| stored.unwritten.clear());
            }
            Self::WriteLate => world.store.change(|stored| {
                for step in std::mem::take(&mut stored.unwritten) {
                    stored.store.take(&step);
                }
                stored.fault = stored.store.check().err();
            }),
        }
        world.sort();
        (world != *before).then_some(world)
    }
}

impl World {
    fn append(&mut self, index: usize, log: &LogName, bounds: &Bounds) {
        let incarnation = self.agents[index].incarnation;
        self.with_agent(index, bounds, |_, ring| ring.append(log, |offset| truth(incarnation, log, offset)));
        self.agents[index].change(|agent| *agent.heads.entry(log.clone()).or_default() += 1);
    }

    fn poll(&mut self, agent: usize, model: &Model) {
        let bounds = &model.bounds;
        let wanted = self.with_agent(agent, bounds, |sender, ring| {
            // To the end of a pause; every other wait is over at once.
            let mut wanted = sender.poll(bounds.pause, ring);
            if model.broken == Some(Break::SessionKept)
                && matches!(wanted, Wanted::Hello(_))
                && let Some(ack) = breaks::remembered(sender, ring, bounds)
            {
                sender.handle_reply(bounds.pause, &ack.encode(), ring);
                wanted = sender.poll(bounds.pause, ring);
            }
            if wanted == Wanted::Seal {
                ring.seal_all();
            }
            let heads: BTreeMap<_, _> = ring.logs().into_iter().map(|log| (log.log, log.head)).collect();
            (wanted, heads)
        });
        let Some((wanted, heads)) = wanted else { return };
        let (content, telling) = match wanted {
            Wanted::Hello(bytes) => (Content::Hello(bytes.into()), Some(heads)),
            Wanted::Batch(bytes) => (Content::Batch(bytes.into()), None),
            Wanted::Wait { .. } | Wanted::Seal => return,
        };
        self.agents[agent].change(|agent| {
            if let Some(life) = &mut agent.life {
                (life.in_flight, life.telling) = (true, telling);
            }
        });
        self.letters.push(Shared::new(Letter { agent, current: true, content }));
    }

    fn give_up(&mut self, agent: usize, model: &Model) {
        let batch = self.agents[agent].life.as_ref().is_some_and(|life| life.telling.is_none());
        self.end_exchange(agent);
        self.with_agent(agent, &model.bounds, |sender, ring| {
            if batch && model.broken == Some(Break::AgentGuesses) {
                let ack = BatchAck { pause: Duration::ZERO, cursors: guess(ring) };
                return sender.handle_reply(Duration::ZERO, &ack.encode(), ring);
            }
            // In the words of a hub that is busy, so that two reasons to wait do not make two states.
            sender.handle_failure(Duration::ZERO, Failure::Transport("busy: away".into()));
        });
    }

    fn deliver(&mut self, letter: usize, again: bool, bounds: &Bounds) {
        let taken = match again {
            true => self.letters[letter].clone(),
            false => self.letters.remove(letter),
        };
        let agent = taken.agent;
        let Content::Reply(bytes) = &taken.content else { return self.accept(&taken, bounds) };
        let told = self.agents[agent].life.as_ref().and_then(|life| life.telling.clone());
        self.end_exchange(agent);
        let was_heard = self.with_agent(agent, bounds, |sender, ring| {
            sender.handle_reply(Duration::ZERO, bytes, ring);
            let status = sender.status();
            status.state == SenderState::Sending && status.last_error.is_none()
        });
        if let (Some(true), Some(told)) = (was_heard, told) {
            self.agents[agent].change(|agent| agent.heard = told);
        }
    }
}

/// What an agent would believe that takes no answer for a good one.
fn guess(ring: &Ring) -> Vec<(LogName, Cursor)> {
    let at = |head| Cursor { next: head, ..Cursor::default() };
    ring.logs().into_iter().map(|log| (log.log, at(log.head))).collect()
}

//! The single things that happen in a round: a process is stopped or killed, a link changes, a disk is full.

use std::fmt;

use super::slot::Side;
use super::space::Disk;
use super::world::World;
use crate::Result;
use crate::proxy::Weather;

/// One of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// An agent.
    Agent(usize),
    /// A hub.
    Hub(usize),
}

/// A single thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A process is stopped, as by SIGSTOP.
    Stop(Who),
    /// It goes on.
    Continue(Who),
    /// It is killed, as by `kill -9`.
    Kill(Who),
    /// It is started.
    Start(Who),
    /// The links on one side of all agents change.
    Weather(Side, Weather),
    /// The open connections on one side of all agents are reset.
    Reset(Side),
    /// An agent loses its hubs, and more is written than its ring can hold.
    Flood(usize),
    /// The end of that, once the ring has lost something.
    Ebb(usize),
    /// The hubs' disk changes.
    Disk(Disk),
    /// The token of this agent is not in the hubs' file; with none, all are.
    Revoke(Option<usize>),
}

impl Act {
    /// Does it. What others have done already, such as to kill the process that is to be stopped, is nothing; with
    /// `hindered` a flood need not fill a ring.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn happen(self, world: &mut World, hindered: bool) -> Result<()> {
        match self {
            Self::Stop(who) => world.signal(who, "STOP"),
            Self::Continue(who) => world.signal(who, "CONT"),
            Self::Kill(who) => world.kill(who).await,
            Self::Start(who) => world.start_one(who).await,
            Self::Weather(side, weather) => {
                world.agents.iter_mut().for_each(|agent| agent.set(side, weather));
                Ok(())
            }
            Self::Reset(side) => {
                world.agents.iter().for_each(|agent| agent.reset(side));
                Ok(())
            }
            Self::Flood(agent) => {
                world.slot(agent)?.flood().await;
                Ok(())
            }
            Self::Ebb(agent) => world.slot(agent)?.ebb(hindered).await,
            Self::Disk(disk) => world.disk(disk).await,
            Self::Revoke(agent) => world.write_tokens(agent),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(number) => write!(f, "agent {number}"),
            Self::Hub(number) => write!(f, "hub {number}"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop(who) => write!(f, "stop {who}"),
            Self::Continue(who) => write!(f, "continue {who}"),
            Self::Kill(who) => write!(f, "kill {who}"),
            Self::Start(who) => write!(f, "start {who}"),
            Self::Weather(side, weather) => write!(f, "links to {side} {weather:?}"),
            Self::Reset(side) => write!(f, "reset links to {side}"),
            Self::Flood(agent) => write!(f, "flood agent {agent}"),
            Self::Ebb(agent) => write!(f, "end the flood of agent {agent}"),
            Self::Disk(disk) => write!(f, "disk {disk:?}"),
            Self::Revoke(Some(agent)) => write!(f, "revoke the token of agent {agent}"),
            Self::Revoke(None) => write!(f, "all tokens are good"),
        }
    }
}

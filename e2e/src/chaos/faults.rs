//! What goes wrong in a round. Each fault comes, holds for a while, and goes; nothing waits for its effects to be over.

use std::time::Duration;

use super::slot::Side;
use super::world::World;
use crate::Result;
use crate::generate::Random;
use crate::proxy::Weather;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Fault {
    /// `kill -9` of an agent, which comes back with an empty ring.
    KillAgent,
    /// `kill -9` of one hub, or of both.
    KillHub,
    /// `kill -9` of agents and hubs at once.
    KillAll,
    /// An agent is stopped for longer than its exchanges may take.
    StopAgent,
    /// The hubs are stopped for that long.
    StopHub,
    /// All connections between agent and hub are reset, again and again.
    Reset,
    /// A link with delays, jitter and little bandwidth.
    Slow,
    /// Connections stay open and nothing comes through.
    Stall,
    /// Each connection is cut after some bytes.
    Cut,
    /// What the agent sends arrives, and the hubs' answers are lost.
    Deaf,
    /// As `reset`, between the agents and their sensors.
    SensorReset,
    /// As `slow`, between the agents and their sensors.
    SensorSlow,
    /// As `stall`, between the agents and their sensors.
    SensorStall,
    /// As `cut`, between the agents and their sensors: requests that are half there.
    SensorCut,
    /// What sensors send arrives, and the agents' answers are lost.
    SensorDeaf,
    /// The hubs cannot be reached while more is written than the ring can hold.
    Flood,
    /// The hubs' disk becomes read-only.
    ReadOnly,
    /// The hubs' disk is full.
    Full,
    /// The agent's token is taken out of the hubs' tokens file, and put back.
    Revoke,
}

impl Fault {
    /// Its name on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it needs a disk of the hubs' own.
    pub fn needs_disk(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Full)
    }

    /// Where it happens, if it is a fault of links.
    fn side(self) -> Side {
        match self {
            Self::SensorReset | Self::SensorSlow | Self::SensorStall | Self::SensorCut | Self::SensorDeaf => {
                Side::Sensors
            }
            _ => Side::Hubs,
        }
    }
}

/// Longer than an exchange of the agents may take.
pub const TOO_LONG: Duration = Duration::from_millis(1_400);

/// How long hubs take at most to read a changed tokens file.
const TOKENS_READ: Duration = Duration::from_millis(2_100);

/// Longest time that a flood may take to fill a ring.
const FLOOD: Duration = Duration::from_secs(20);

/// Lets `fault` happen.
///
/// # Errors
/// When something does not come back.
pub async fn inject(world: &mut World, fault: Fault, random: &mut Random) -> Result<()> {
    let agent = random.below(world.agents.len() as u64) as usize;
    let short = Duration::from_millis(100 + random.below(500));
    match fault {
        Fault::KillAgent | Fault::KillHub | Fault::KillAll => kill(world, fault, agent, short, random).await,
        Fault::StopAgent => {
            world.stop_agent(agent, true)?;
            tokio::time::sleep(TOO_LONG).await;
            world.stop_agent(agent, false)
        }
        Fault::StopHub => {
            let one = (random.below(3) > 0).then(|| random.below(2) as usize);
            world.stop_hubs(one, true)?;
            tokio::time::sleep(TOO_LONG).await;
            world.stop_hubs(one, false)
        }
        Fault::Reset | Fault::SensorReset => {
            for _ in 0..3 + random.below(8) {
                world.agents.iter().for_each(|agent| agent.reset(fault.side()));
                tokio::time::sleep(Duration::from_millis(20 + random.below(120))).await;
            }
            Ok(())
        }
        Fault::Slow | Fault::SensorSlow => {
            let (latency, jitter) = (Duration::from_millis(random.below(40)), Duration::from_millis(random.below(80)));
            let slow = Weather::Slow { latency, jitter, rate: 8_192 << random.below(6) };
            weather(world, fault, slow, short * 2).await
        }
        Fault::Stall | Fault::SensorStall => weather(world, fault, Weather::Stalled, TOO_LONG).await,
        Fault::Cut | Fault::SensorCut => {
            let after = 64 << random.below(10);
            world.agents.iter().for_each(|agent| agent.reset(fault.side()));
            weather(world, fault, Weather::Cut(after + random.below(after)), short * 2).await
        }
        Fault::Deaf | Fault::SensorDeaf => weather(world, fault, Weather::Deaf(random.below(200)), short * 2).await,
        Fault::Flood => flood(world, agent).await,
        Fault::ReadOnly | Fault::Full => {
            world.disk(fault, true).await?;
            tokio::time::sleep(short * 2).await;
            world.disk(fault, false).await
        }
        Fault::Revoke => {
            world.write_tokens(Some(agent))?;
            tokio::time::sleep(TOKENS_READ + short).await;
            world.write_tokens(None)
        }
    }
}

/// Ends processes, and starts them again.
async fn kill(world: &mut World, fault: Fault, agent: usize, short: Duration, random: &mut Random) -> Result<()> {
    match fault {
        Fault::KillAgent => {
            if random.below(2) == 0 {
                // What is sent meanwhile is on its way when the end comes.
                world.stop_agent(agent, true)?;
                tokio::time::sleep(short / 4).await;
            }
            world.kill_agent(agent).await?;
            tokio::time::sleep(short / 4).await;
            world.start_agent(agent).await
        }
        Fault::KillHub => {
            let both = random.below(3) == 0;
            let first = random.below(2) as usize;
            let killed: Vec<_> = (0..world.hubs.len()).filter(|hub| both || *hub == first).collect();
            for hub in &killed {
                world.kill_hub(*hub).await;
            }
            tokio::time::sleep(short).await;
            world.start_hubs().await
        }
        _ => {
            for hub in 0..world.hubs.len() {
                world.kill_hub(hub).await;
            }
            for agent in 0..world.agents.len() {
                world.kill_agent(agent).await?;
            }
            // Which side is back first makes a difference.
            if random.below(2) == 0 {
                world.start_hubs().await?;
            }
            for agent in 0..world.agents.len() {
                world.start_agent(agent).await?;
            }
            tokio::time::sleep(short / 2).await;
            world.start_hubs().await
        }
    }
}

async fn weather(world: &mut World, fault: Fault, weather: Weather, hold: Duration) -> Result<()> {
    world.agents.iter_mut().for_each(|agent| agent.set(fault.side(), weather));
    tokio::time::sleep(hold).await;
    world.agents.iter_mut().for_each(|agent| agent.set(fault.side(), Weather::Clear));
    Ok(())
}

/// Cuts an agent off and writes until its ring has lost something.
async fn flood(world: &mut World, agent: usize) -> Result<()> {
    let Some(slot) = world.agents.get_mut(agent) else { return Ok(()) };
    let before = slot.lost().await?;
    slot.set(Side::Hubs, Weather::Away);
    slot.flood.send_replace(true);
    let lost = crate::wait::until("a flooded ring to lose something", FLOOD, async || {
        Ok((slot.lost().await? > before).then_some(()))
    });
    let lost = lost.await;
    slot.flood.send_replace(false);
    slot.set(Side::Hubs, Weather::Clear);
    lost
}

//! What goes wrong in a round: kinds of faults, and the acts that each consists of. A fault comes, holds for a while, and goes.

use std::time::Duration;

use super::act::{Act, Who};
use super::slot::Side;
use super::space::Disk;
use super::world::HUBS;
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

    /// What it takes hold of, a bit each; faults that share nothing can happen at once.
    pub fn takes(self) -> u8 {
        match self {
            Self::KillAgent | Self::StopAgent => AGENT,
            Self::KillHub | Self::StopHub => HUB,
            Self::KillAll => AGENT | HUB,
            Self::Reset | Self::Slow | Self::Stall | Self::Cut | Self::Deaf | Self::Flood => 4,
            Self::SensorReset | Self::SensorSlow | Self::SensorStall | Self::SensorCut | Self::SensorDeaf => SENSORS,
            Self::ReadOnly | Self::Full => 16,
            Self::Revoke => 32,
        }
    }

    /// Whether it can keep an agent from being written to.
    pub fn hinders_writers(self) -> bool {
        self.takes() & (AGENT | SENSORS) != 0
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

    /// What happens, and when, from `at` on.
    pub fn draw(self, agents: u64, at: Duration, random: &mut Random) -> Vec<(Duration, Act)> {
        let agent = random.below(agents.max(1)) as usize;
        let short = millis(random, 100, 500);
        match self {
            Self::KillAgent | Self::KillHub | Self::KillAll => self.kill(agents, agent, at, short, random),
            Self::StopAgent | Self::StopHub => {
                let stopped = match self {
                    Self::StopAgent => vec![Who::Agent(agent)],
                    _ => some_hubs(random),
                };
                let acts =
                    stopped.into_iter().flat_map(|who| [(at, Act::Stop(who)), (at + TOO_LONG, Act::Continue(who))]);
                acts.collect()
            }
            Self::Reset | Self::SensorReset => {
                let (mut time, side) = (at, self.side());
                let mut next = || {
                    time += millis(random, 20, 120);
                    (time, Act::Reset(side))
                };
                (0..3 + short.as_millis() % 8).map(|_| next()).collect()
            }
            Self::Slow | Self::SensorSlow => {
                let (latency, jitter) = (millis(random, 0, 40), millis(random, 0, 80));
                self.weather(Weather::Slow { latency, jitter, rate: 8_192 << random.below(6) }, at, short * 2)
            }
            Self::Stall | Self::SensorStall => self.weather(Weather::Stalled, at, TOO_LONG),
            Self::Cut | Self::SensorCut => {
                let after = 64 << random.below(10);
                let mut acts = self.weather(Weather::Cut(after + random.below(after)), at, short * 2);
                // What is open has passed many bytes.
                acts.insert(0, (at, Act::Reset(self.side())));
                acts
            }
            Self::Deaf | Self::SensorDeaf => self.weather(Weather::Deaf(random.below(200)), at, short * 2),
            Self::Flood => vec![(at, Act::Flood(agent)), (at + short, Act::Ebb(agent))],
            Self::ReadOnly => vec![(at, Act::Disk(Disk::ReadOnly)), (at + short * 2, Act::Disk(Disk::Well))],
            Self::Full => vec![(at, Act::Disk(Disk::Full)), (at + short * 2, Act::Disk(Disk::Well))],
            Self::Revoke => vec![(at, Act::Revoke(Some(agent))), (at + TOKENS_READ + short, Act::Revoke(None))],
        }
    }

    fn weather(self, weather: Weather, at: Duration, hold: Duration) -> Vec<(Duration, Act)> {
        let side = self.side();
        vec![(at, Act::Weather(side, weather)), (at + hold, Act::Weather(side, Weather::Clear))]
    }

    /// Ends processes, and starts them again.
    fn kill(
        self,
        agents: u64,
        agent: usize,
        at: Duration,
        short: Duration,
        random: &mut Random,
    ) -> Vec<(Duration, Act)> {
        match self {
            Self::KillAgent => {
                let who = Who::Agent(agent);
                // Stopped first: what is sent meanwhile is on its way when the end comes.
                let stop = (random.below(2) == 0).then_some((at, Act::Stop(who)));
                let killed = at + short / 4;
                stop.into_iter().chain([(killed, Act::Kill(who)), (killed + short / 4, Act::Start(who))]).collect()
            }
            Self::KillHub => {
                let acts = |who| [(at, Act::Kill(who)), (at + short, Act::Start(who))];
                some_hubs(random).into_iter().flat_map(acts).collect()
            }
            _ => {
                let hubs = || (0..HUBS).map(Who::Hub);
                let agents = || (0..agents as usize).map(Who::Agent);
                // Which side is back first makes a difference.
                let hubs_back = if random.below(2) == 0 { at } else { at + short / 2 };
                let starts = hubs().map(|who| (hubs_back, Act::Start(who)));
                let mut acts: Vec<_> = hubs().chain(agents()).map(|who| (at, Act::Kill(who))).collect();
                acts.extend(starts);
                acts.extend(agents().map(|who| (at, Act::Start(who))));
                acts
            }
        }
    }
}

/// Bits of what faults take hold of.
const AGENT: u8 = 1;
const HUB: u8 = 2;
const SENSORS: u8 = 8;

/// Longer than an exchange of the agents may take.
const TOO_LONG: Duration = Duration::from_millis(1_400);

/// How long hubs take at most to read a changed tokens file.
const TOKENS_READ: Duration = Duration::from_millis(2_100);

/// `from` milliseconds, and less than `more` on top.
pub fn millis(random: &mut Random, from: u64, more: u64) -> Duration {
    Duration::from_millis(from + random.below(more))
}

/// One of the hubs, or all.
fn some_hubs(random: &mut Random) -> Vec<Who> {
    let one = random.below(HUBS as u64) as usize;
    let all = random.below(3) == 0;
    (0..HUBS).filter(|hub| all || *hub == one).map(Who::Hub).collect()
}

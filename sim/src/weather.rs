//! How bad the world is. Chances are in 1,000; the times between great events are averages.

use std::time::Duration;

use crate::plan::Profile;
use crate::random::Random;

/// What may happen to a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    /// The request never arrives.
    pub lose: u64,
    /// The answer never arrives.
    pub lose_reply: u64,
    /// The request arrives once more, up to `longest_ghost` later.
    pub duplicate: u64,
    /// The connection breaks after the request was taken.
    pub reset: u64,
    /// Something in between answers that is not the hub: a proxy with a 5xx.
    pub foreign: u64,
    /// Something changes what a batch says, and makes its checksums right again.
    pub meddle: u64,
    /// Some bits of the request or the answer flip.
    pub corrupt: u64,
    /// The hub drops what it was doing when its client hangs up.
    pub cancel: u64,
    /// The message is slow rather than quick.
    pub slow: u64,
    /// Longest delay of a slow message.
    pub longest: Duration,
    /// Longest delay of a duplicate.
    pub longest_ghost: Duration,
}

/// What may happen to an operation of the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk {
    /// It fails and did not happen.
    pub fail: u64,
    /// It happens, and is said to have failed.
    pub unsaid: u64,
    /// A write is said to have failed, and happens later.
    pub late: u64,
    /// It takes long.
    pub slow: u64,
    /// Longest time of a slow one.
    pub longest: Duration,
    /// It hangs, for up to a minute, while the world goes on.
    pub freeze: u64,
    /// A write goes on when the hub that asked for it is gone.
    pub detached: u64,
    /// The hub crashes right before the operation, or right after it.
    pub crash: u64,
}

/// Average times between great events; zero: never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Events {
    /// An agent dies and another is started.
    pub agent_crash: Duration,
    /// A second agent with the same id is started beside the first.
    pub twin: Duration,
    /// An agent is stopped as it should be, and started again.
    pub agent_restart: Duration,
    /// A hub dies.
    pub hub_crash: Duration,
    /// Some hubs cannot be reached for a while.
    pub partition: Duration,
    /// The store is full, read-only or away for a while.
    pub disk_window: Duration,
    /// A clock jumps.
    pub clock_jump: Duration,
    /// Much comes in at once.
    pub burst: Duration,
    /// A backup of the store is taken.
    pub backup: Duration,
    /// The store is put back to what it was at the last backup, or emptied if there was none.
    pub restore: Duration,
    /// A hub deletes what is beyond some limit.
    pub trim: Duration,
    /// The weather turns, from a squall to a lull or back.
    pub turn: Duration,
}

/// All of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Messages.
    pub network: Network,
    /// Operations of the store.
    pub disk: Disk,
    /// Great events.
    pub events: Events,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Weather {
    /// The weather of a profile, a little different each time.
    pub fn of(profile: Profile, random: &mut Random) -> Self {
        let mut weather = match profile {
            Profile::Calm => return Self::default(),
            Profile::Storm => Self { network: ROUGH, disk: SHAKY, events: EVENTFUL },
            Profile::TinyMemory => Self {
                network: Network { lose: 60, ..ROUGH },
                disk: Disk { crash: 5, ..SHAKY },
                events: Events { partition: seconds(25), burst: seconds(10), agent_crash: seconds(100), ..EVENTFUL },
            },
            Profile::DiskTrouble => Self {
                network: Network { lose: 20, lose_reply: 20, ..ROUGH },
                disk: Disk { fail: 15, unsaid: 30, late: 18, slow: 40, detached: 500, crash: 14, ..SHAKY },
                events: Events { disk_window: seconds(20), hub_crash: seconds(20), ..EVENTFUL },
            },
            Profile::Clock => Self {
                network: Network { lose: 20, ..ROUGH },
                disk: Disk { crash: 5, ..SHAKY },
                events: Events { clock_jump: seconds(5), ..EVENTFUL },
            },
            Profile::Backup => Self {
                network: Network { lose: 40, ..ROUGH },
                disk: SHAKY,
                events: Events { backup: seconds(40), restore: seconds(60), agent_crash: seconds(60), ..EVENTFUL },
            },
            Profile::Restarts => Self {
                network: ROUGH,
                disk: SHAKY,
                events: Events { agent_crash: seconds(6), twin: seconds(20), ..EVENTFUL },
            },
        };
        // Some histories lack some faults: what one fault hides, another may need.
        let Network { lose, corrupt, meddle, .. } = &mut weather.network;
        for chance in [lose, corrupt, meddle, &mut weather.disk.fail] {
            *chance = if random.chance(300) { 0 } else { *chance };
        }
        if random.chance(300) {
            weather.events.trim = Duration::ZERO;
        }
        weather.network.cancel = *random.pick(&[0, 100, 800]);
        weather
    }
}

impl Weather {
    /// The same world between two squalls: what goes wrong does so much less often.
    pub fn lull(mut self) -> Self {
        let Network { lose, lose_reply, duplicate, reset, foreign, meddle, corrupt, slow, .. } = &mut self.network;
        for chance in [lose, lose_reply, duplicate, reset, foreign, meddle, corrupt, slow] {
            *chance /= 6;
        }
        let Disk { fail, unsaid, late, slow, freeze, crash, .. } = &mut self.disk;
        for chance in [fail, unsaid, late, slow, freeze, crash] {
            *chance /= 6;
        }
        self
    }
}

const ROUGH: Network = Network {
    lose: 80,
    lose_reply: 150,
    duplicate: 300,
    reset: 80,
    foreign: 15,
    meddle: 60,
    corrupt: 40,
    cancel: 500,
    slow: 150,
    longest: seconds(6),
    longest_ghost: seconds(90),
};

const SHAKY: Disk =
    Disk { fail: 8, unsaid: 14, late: 6, slow: 20, longest: seconds(6), freeze: 10, detached: 300, crash: 10 };

const EVENTFUL: Events = Events {
    agent_crash: seconds(35),
    twin: seconds(80),
    agent_restart: seconds(60),
    hub_crash: seconds(20),
    partition: seconds(40),
    disk_window: seconds(60),
    clock_jump: seconds(30),
    burst: seconds(30),
    backup: Duration::ZERO,
    restore: Duration::ZERO,
    trim: seconds(7),
    turn: seconds(5),
};

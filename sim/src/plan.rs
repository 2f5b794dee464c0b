//! What a history is made of: everything that the seed decides before the first event.

use std::time::Duration;

use pyralog_agent::ring::{EvictionPolicy, RingConfig};
use pyralog_segment::Encoding;
use pyralog_sync_protocol::receiver::Terms;

use crate::random::Random;
use crate::weather::Weather;

/// A kind of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Nothing fails: what fails here is broken.
    Calm,
    /// A little of everything.
    Storm,
    /// Outages, bursts of large records and hardly any memory.
    TinyMemory,
    /// Disks that fail, fill up, answer late or not at all.
    DiskTrouble,
    /// Clocks that jump.
    Clock,
    /// Agents that hardly live long enough to say hello, often two of them at once.
    Restarts,
    /// A store that is restored from a backup, or emptied, while agents live.
    Backup,
}

impl Profile {
    /// Every profile, and how many of 100 histories have it.
    pub const ALL: [(Self, u64); 7] = [
        (Self::Calm, 5),
        (Self::Storm, 30),
        (Self::TinyMemory, 20),
        (Self::DiskTrouble, 20),
        (Self::Clock, 5),
        (Self::Restarts, 15),
        (Self::Backup, 5),
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Storm => "storm",
            Self::TinyMemory => "tiny-memory",
            Self::DiskTrouble => "disk-trouble",
            Self::Clock => "clock",
            Self::Restarts => "restarts",
            Self::Backup => "backup",
        }
    }

    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(profile, _)| profile).find(|profile| profile.name() == name)
    }

    fn draw(random: &mut Random) -> Self {
        let mut at = random.below(Self::ALL.iter().map(|(_, share)| share).sum());
        for (profile, share) in Self::ALL {
            if at < share {
                return profile;
            }
            at -= share;
        }
        Self::Storm
    }
}

/// The readings that come in.
#[derive(Debug, Clone)]
pub struct Work {
    /// Names of logs that are written to.
    pub logs: Vec<&'static str>,
    /// Most records of a burst.
    pub burst: u64,
    /// Time between bursts, on average.
    pub gap: Duration,
    /// Chance in 1,000 that a record holds a large value.
    pub bulky: u64,
    /// Largest such value, in bytes.
    pub bulk: u64,
    /// Chance in 1,000 that a record has a field of an unusual name or type.
    pub odd: u64,
}

/// One history, as planned.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all of it comes from.
    pub seed: u64,
    /// Its kind.
    pub profile: Profile,
    /// How long things go wrong.
    pub storm: Duration,
    /// How, at that time.
    pub weather: Weather,
    /// What each hub offers.
    pub terms: Vec<Terms>,
    /// The agents' ring.
    pub ring: RingConfig,
    /// Time between rounds of the agents' sync.
    pub interval: Duration,
    /// How long one of their exchanges may take.
    pub timeout: Duration,
    /// Bytes at which a batch is full.
    pub max_batch: u32,
    /// Pending bytes at which a round begins early.
    pub threshold: u64,
    /// How slow their packer is at most.
    pub packing: Duration,
    /// What they take in.
    pub work: Work,
}

impl Plan {
    /// The history of `seed`; its profile is drawn too unless it is given.
    pub fn new(seed: u64, profile: Option<Profile>) -> Self {
        let mut random = Random::new(seed, "plan");
        let drawn = Profile::draw(&mut random);
        let profile = profile.unwrap_or(drawn);
        let ring = ring(profile, &mut random);
        let work = work(profile, &mut random);
        let hubs = *random.pick(&[1, 2, 2, 3, 3]);
        let terms = std::iter::repeat_with(|| terms(profile, &mut random)).take(hubs).collect();
        Self {
            seed,
            profile,
            storm: Duration::from_secs(random.between(40, 160)),
            weather: Weather::of(profile, &mut random),
            terms,
            ring,
            interval: Duration::from_millis(*random.pick(&[500, 1_500, 4_000])),
            timeout: Duration::from_millis(*random.pick(&[1_500, 4_000, 30_000])),
            max_batch: *random.pick(&[600, 4_000, 64_000]),
            threshold: *random.pick(&[500, 4_000, 1 << 20]),
            packing: Duration::from_millis(*random.pick(&[0, 20, 3_000])),
            work,
        }
    }
}

fn ring(profile: Profile, random: &mut Random) -> RingConfig {
    let tiny = profile == Profile::TinyMemory;
    RingConfig {
        // Below what the product takes (`RingConfig::MIN_MEMORY`), so that few records fill it.
        max_memory: if tiny { random.between(96, 256) << 10 } else { *random.pick(&[512 << 10, 4 << 20]) },
        eviction_policy: if random.chance(250) { EvictionPolicy::Reject } else { EvictionPolicy::Fifo },
        eviction_watermark: *random.pick(&[0.5, 0.9, 1.0]),
        segment_rows: if random.chance(50) { 1 } else { *random.pick(&[8, 16, 64]) },
        segment_age: Duration::from_secs(*random.pick(&[1, 10, 600])),
        encoding: if random.chance(300) { Encoding::ArrowZstd } else { Encoding::Packed },
        max_logs: if random.chance(100) { 2 } else { 1_024 },
        max_columns: if random.chance(60) { 6 } else { 512 },
        ..RingConfig::default()
    }
}

fn work(profile: Profile, random: &mut Random) -> Work {
    let all = ["climate", "vibration", "mesures de l'air/été", "host", "x"];
    let tiny = profile == Profile::TinyMemory;
    Work {
        logs: all[..random.between(1, all.len() as u64) as usize].to_vec(),
        burst: *random.pick(&[1, 3, 8]),
        gap: Duration::from_millis(*random.pick(&[1_500, 3_000, 6_000])),
        bulky: if tiny { *random.pick(&[200, 700]) } else { *random.pick(&[0, 5, 30]) },
        bulk: *random.pick(&[300, 3_000, 9_000]),
        odd: *random.pick(&[0, 20, 200]),
    }
}

fn terms(profile: Profile, random: &mut Random) -> Terms {
    let calm = profile == Profile::Calm;
    Terms {
        max_batch: if !calm && random.chance(200) { 4 << 10 } else { 1 << 20 },
        pause: Duration::from_millis(if random.chance(200) { 700 } else { 0 }),
        retry_after: Duration::from_secs(random.between(1, 5)),
    }
}

//! What an agent knows of its devices: for each life of each, where it stands.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::message::{Hello, Numbered, Refusal};
use crate::limits::{SIDECAR_MAX_BOOTS, SIDECAR_MAX_DEVICES};

/// All devices that have said hello in this lifetime of the agent, whichever link they are on.
///
/// Nothing is forgotten but lives of a device that are older than its newest four: two links on which the same
/// life speaks, one of them stale, still give each record once.
#[derive(Debug, Default)]
pub struct Sessions {
    devices: BTreeMap<String, Device>,
}

/// What is known of one device.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Its lives, the one that spoke last at the end; never empty.
    lives: Vec<Life>,
    /// Records that the sink took, of all its lives.
    pub records: u64,
    /// Records that came again, and were acknowledged again.
    pub duplicates: u64,
    /// Records that the device dropped before it had an acknowledgement. What it says at a life's first hello counts in full.
    pub dropped: u64,
    /// Hellos that began a life.
    pub boots: u64,
}

/// One life of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Names it.
    pub boot: u64,
    /// The sequence number of the first record that is not taken.
    pub next: u64,
    /// Unix nanoseconds at which it began, as far as is known.
    pub began: i64,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the next one.
    Due,
    /// It was taken before.
    Duplicate,
    /// Records before it are missing.
    Gap,
}

impl Sessions {
    /// None yet.
    pub const fn new() -> Self {
        Self { devices: BTreeMap::new() }
    }

    /// The devices by name.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = (&str, &Device)> {
        self.devices.iter().map(|(name, device)| (name.as_str(), device))
    }

    /// Whether a device is known.
    pub fn knows(&self, device: &str) -> bool {
        self.devices.contains_key(device)
    }

    /// Takes note of a hello that came at `arrival` (Unix ns), and gives the next sequence number.
    pub(super) fn hello(&mut self, hello: &Hello<'_>, arrival: i64) -> Result<u64, Refusal> {
        if !self.devices.contains_key(hello.device) {
            if self.devices.len() >= SIDECAR_MAX_DEVICES {
                return Err(Refusal::TooManyDevices);
            }
            self.devices.insert(hello.device.into(), Device::default());
        }
        let Some(device) = self.devices.get_mut(hello.device) else { return Err(Refusal::UnknownSession) };
        let began = began(arrival, hello.now);
        let mut life = match device.lives.iter().position(|life| life.boot == hello.boot) {
            // Its buffer would go on before what we have: this is no continuation.
            Some(at) if hello.head < device.lives[at].next => return Err(Refusal::BootReused),
            Some(at) => device.lives.remove(at),
            None => {
                device.boots += 1;
                device.dropped = device.dropped.saturating_add(hello.dropped);
                Life { boot: hello.boot, next: hello.oldest, began }
            }
        };
        device.dropped = device.dropped.saturating_add(hello.oldest.saturating_sub(life.next));
        life.next = life.next.max(hello.oldest);
        life.began = began;
        if device.lives.len() >= SIDECAR_MAX_BOOTS {
            device.lives.remove(0);
        }
        device.lives.push(life);
        Ok(life.next)
    }

    /// The device and its life; `None` if either is unknown or forgotten.
    pub(super) fn life(&mut self, device: &str, boot: u64) -> Option<(&mut Device, usize)> {
        let device = self.devices.get_mut(device)?;
        let at = device.lives.iter().position(|life| life.boot == boot)?;
        Some((device, at))
    }
}

impl Device {
    /// The life that said hello last.
    pub fn life(&self) -> Option<&Life> {
        self.lives.last()
    }

    pub(super) fn at(&mut self, at: usize) -> &mut Life {
        &mut self.lives[at]
    }

    /// Looks at a record's number. What the device no longer has is noted as dropped and no longer waited for.
    pub(super) fn judge(&mut self, at: usize, record: &Numbered<'_>) -> Verdict {
        let life = &mut self.lives[at];
        if record.sequence < life.next {
            self.duplicates += 1;
            return Verdict::Duplicate;
        }
        self.dropped = self.dropped.saturating_add(record.oldest.saturating_sub(life.next));
        life.next = life.next.max(record.oldest);
        if record.sequence == life.next { Verdict::Due } else { Verdict::Gap }
    }

    pub(super) fn took(&mut self, at: usize) {
        self.lives[at].next += 1;
        self.records += 1;
    }
}

impl Life {
    /// The Unix time of `since_boot` microseconds, for something that arrived at `arrival`. Nothing happens after it
    /// has arrived: what would, shows that the hello by which the beginning is known was under way for longer, and
    /// moves the beginning.
    pub(super) fn unix(&mut self, since_boot: u64, arrival: i64) -> i64 {
        self.began = self.began.min(began(arrival, since_boot));
        self.began.saturating_add(nanos(since_boot))
    }
}

/// When something began that at `arrival` was `age` microseconds old.
fn began(arrival: i64, age: u64) -> i64 {
    arrival.saturating_sub(nanos(age))
}

fn nanos(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX).saturating_mul(1_000)
}

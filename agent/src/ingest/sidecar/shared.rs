//! What all links share, and what the status shows of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use pyralog_sync_protocol::sidecar::{LinkCounters, Sessions};
use serde::Serialize;

use super::endpoint::Endpoint;
use crate::ingest::intake::Intake;
use crate::ring::{Clock, Reservation};
use pyralog_service::LogGate;

/// What all links work with.
pub(super) struct Shared {
    pub(super) intake: Arc<Intake>,
    pub(super) clock: Clock,
    pub(super) status: Arc<SidecarStatus>,
    pub(super) max_connections: usize,
    pub(super) log: LogGate,
    /// Memory of the table of devices.
    _held: Reservation,
}

impl Shared {
    pub(super) fn new(
        intake: Arc<Intake>,
        clock: Clock,
        status: Arc<SidecarStatus>,
        max_connections: usize,
        held: Reservation,
    ) -> Self {
        Self { intake, clock, status, max_connections, log: LogGate::default(), _held: held }
    }
}

/// The state of the sidecar: devices, links, counts.
#[derive(Debug, Default)]
pub struct SidecarStatus {
    pub(super) state: Mutex<State>,
    counts: [AtomicU64; Counter::ALL.len()],
    next_link: AtomicU64,
}

/// What is changed together. Appends to the ring are made under its lock, so that a life that speaks on two links is
/// heard in order.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sessions: Sessions,
    listens: BTreeMap<String, Listen>,
    /// Who speaks on which link.
    links: HashMap<u64, Option<String>>,
    heard: BTreeMap<String, Instant>,
}

#[derive(Debug, Default)]
struct Listen {
    state: &'static str,
    last_error: Option<String>,
}

/// What is counted over all links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Good frames.
    Frames,
    /// Frames that were damaged, or none.
    Damaged,
    /// Frames of another version or unknown kind.
    Unknown,
    /// Gaps after which a device was asked to go back.
    Gaps,
    /// Records for which the ring had no room.
    Full,
    /// Connections for which there was no place or memory.
    TurnedAway,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Frames, Self::Damaged, Self::Unknown, Self::Gaps, Self::Full, Self::TurnedAway];
}

/// The section `sidecar` of the status document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SidecarView {
    /// Sockets and serial lines, as configured.
    pub listen: BTreeMap<String, ListenView>,
    /// Open links.
    pub links: usize,
    /// Frames that were damaged, or none.
    pub damaged: u64,
    /// Devices that said hello in this lifetime of the agent.
    pub devices: BTreeMap<String, DeviceView>,
}

/// A socket or serial line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenView {
    /// `listening`, `open` or `waiting` (for a device that is not there).
    pub state: &'static str,
    /// Why it waits.
    pub last_error: Option<String>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceView {
    /// Links on which it speaks.
    pub links: usize,
    /// Seconds since it was heard.
    pub heard_s: f64,
    /// Its present life, in hexadecimal.
    pub boot: String,
    /// Lives that it began since the agent started.
    pub boots: u64,
    /// The sequence number that comes next.
    pub next: u64,
    /// Records taken in.
    pub records: u64,
    /// Records that came again.
    pub duplicates: u64,
    /// Records that it dropped before they were acknowledged.
    pub dropped: u64,
}

impl SidecarStatus {
    /// What was counted so far.
    pub fn count(&self, counter: Counter) -> u64 {
        self.counts.get(counter as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Open links.
    pub fn links(&self) -> usize {
        self.state.lock().links.len()
    }

    /// Records taken in, come again, and dropped, of all devices.
    pub fn totals(&self) -> [u64; 3] {
        let state = self.state.lock();
        let devices = state.sessions.devices().map(|(_, device)| [device.records, device.duplicates, device.dropped]);
        devices.fold([0; 3], |sum, more| [sum[0] + more[0], sum[1] + more[1], sum[2].saturating_add(more[2])])
    }

    /// The section of the status; `None` if nothing is listened to.
    pub fn view(&self) -> Option<SidecarView> {
        let state = self.state.lock();
        if state.listens.is_empty() {
            return None;
        }
        let listen = state.listens.iter().map(|(name, listen)| {
            (name.clone(), ListenView { state: listen.state, last_error: listen.last_error.clone() })
        });
        let devices = state.sessions.devices().map(|(name, device)| {
            let view = DeviceView {
                links: state.links.values().filter(|speaker| speaker.as_deref() == Some(name)).count(),
                heard_s: state.heard.get(name).map_or(0.0, |at| at.elapsed().as_secs_f64()),
                boot: device.life().map_or_else(String::new, |life| format!("{:016x}", life.boot)),
                boots: device.boots,
                next: device.life().map_or(0, |life| life.next),
                records: device.records,
                duplicates: device.duplicates,
                dropped: device.dropped,
            };
            (name.to_owned(), view)
        });
        Some(SidecarView {
            listen: listen.collect(),
            links: state.links.len(),
            damaged: self.count(Counter::Damaged),
            devices: devices.collect(),
        })
    }

    /// A serial line that is waited for, and why: the first, if there are more.
    pub fn trouble(&self) -> Option<String> {
        let state = self.state.lock();
        state.listens.iter().find_map(|(name, listen)| Some(format!("{name}: {}", listen.last_error.as_ref()?)))
    }

    pub(super) fn listens_at(&self, endpoints: &[Endpoint]) {
        let mut state = self.state.lock();
        for endpoint in endpoints {
            let word = if matches!(endpoint, Endpoint::Unix(_)) { "listening" } else { "waiting" };
            state.listens.insert(endpoint.to_string(), Listen { state: word, last_error: None });
        }
    }

    /// Notes that a line is open or why it is not; says whether that is news.
    pub(super) fn line(&self, name: &str, trouble: Option<&str>) -> bool {
        let mut state = self.state.lock();
        let Some(listen) = state.listens.get_mut(name) else { return true };
        let word = if trouble.is_some() { "waiting" } else { "open" };
        let is_news = listen.state != word || listen.last_error.as_deref() != trouble;
        *listen = Listen { state: word, last_error: trouble.map(str::to_owned) };
        is_news
    }

    pub(super) fn add(&self, counter: Counter, more: u64) {
        if let Some(count) = self.counts.get(counter as usize) {
            count.fetch_add(more, Relaxed);
        }
    }

    /// Adds what a link counted since `before`.
    pub(super) fn add_link(&self, before: LinkCounters, now: LinkCounters) {
        self.add(Counter::Frames, now.frames - before.frames);
        self.add(Counter::Damaged, now.damaged - before.damaged);
        self.add(Counter::Unknown, now.unknown - before.unknown);
        self.add(Counter::Gaps, now.gaps - before.gaps);
        self.add(Counter::Full, now.full - before.full);
    }

    /// A place among at most `most` links, `None` if they are all taken. Serial lines have theirs without being asked.
    pub(super) fn enter(self: &Arc<Self>, most: usize) -> Option<LinkPlace> {
        let mut state = self.state.lock();
        if state.links.len() >= most {
            return None;
        }
        let number = self.next_link.fetch_add(1, Relaxed);
        state.links.insert(number, None);
        Some(LinkPlace { status: Arc::clone(self), number })
    }
}

impl State {
    /// Notes who speaks on a link; says whether that is somebody else than before.
    pub(super) fn heard(&mut self, link: u64, speaker: Option<&str>, now: Instant) -> bool {
        if let Some(speaker) = speaker {
            match self.heard.get_mut(speaker) {
                Some(at) => *at = now,
                None => drop(self.heard.insert(speaker.to_owned(), now)),
            }
        }
        match self.links.get_mut(&link) {
            Some(known) if known.as_deref() != speaker => {
                *known = speaker.map(str::to_owned);
                true
            }
            _ => false,
        }
    }
}

/// A link's place, given up when it is dropped.
#[derive(Debug)]
pub(super) struct LinkPlace {
    status: Arc<SidecarStatus>,
    pub(super) number: u64,
}

impl Drop for LinkPlace {
    fn drop(&mut self) {
        self.status.state.lock().links.remove(&self.number);
    }
}

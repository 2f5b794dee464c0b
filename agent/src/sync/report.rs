//! What the sync driver tells the rest of the agent, and what it can be asked for.

use crate::ring::Now;
use parking_lot::Mutex;
use pyralog_supervision::Beat;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What the sync driver is doing, in the words of the status document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncState {
    /// No upstream is configured.
    #[default]
    Off,
    /// Waiting for the next round.
    Idle,
    /// In a round.
    Sending,
    /// Waiting after a failure.
    Backoff,
    /// Ended: a newer process with the same agent id took over.
    Fenced,
}

impl SyncState {
    /// The word of the status document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Idle => "idle",
            Self::Sending => "sending",
            Self::Backoff => "backoff",
            Self::Fenced => "fenced",
        }
    }
}

/// One of the hubs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HubReport {
    /// Its URL, without a password.
    pub url: String,
    /// Whether it was the last that was asked.
    pub in_use: bool,
    /// Why the last request to it failed; `None` after one that succeeded.
    pub last_error: Option<String>,
}

/// A moment's view of the sync driver.
#[derive(Debug, Clone, Default)]
pub struct SyncReport {
    /// What it is doing.
    pub state: SyncState,
    /// The epoch that the hub gave this incarnation.
    pub epoch: Option<u32>,
    /// Why the last exchange failed, in words; `None` after one that succeeded.
    pub last_error: Option<String>,
    /// When the next attempt is due.
    pub next_attempt: Option<Instant>,
    /// What the hub's clock showed when our [`Clock`](crate::ring::Clock) began, Unix nanoseconds; `None` before the first answer to a hello.
    pub hub_began_ns: Option<i64>,
    /// Requests sent, whatever came of them.
    pub requests: u64,
    /// Bytes of request bodies sent.
    pub bytes_sent: u64,
    /// Exchanges that failed or were refused.
    pub failures: u64,
}

impl SyncReport {
    /// How far the hub's clock is ahead of ours, nanoseconds; too small by the time that its last answer to a hello was under
    /// way, at most by the round trip.
    pub fn hub_offset_ns(&self, now: Now) -> Option<i64> {
        let passed = i64::try_from(now.mono.as_nanos()).unwrap_or(i64::MAX);
        Some(self.hub_began_ns?.saturating_add(passed).saturating_sub(now.unix_ns))
    }

    /// Time until the next attempt; `None` when none is planned.
    pub fn next_attempt_in(&self) -> Option<Duration> {
        self.next_attempt.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// Shared between the sync driver and those who watch or hurry it. One per agent; without an upstream it stays `off`.
#[derive(Debug, Default)]
pub struct SyncShared {
    report: Mutex<SyncReport>,
    hubs: Mutex<Vec<HubReport>>,
    requests: AtomicU64,
    bytes_sent: AtomicU64,
    failures: AtomicU64,
    pub(super) flush: Notify,
    pub(super) beat: Beat,
}

impl SyncShared {
    /// For a driver whose loop is watched; it rests when the driver ends.
    pub fn watched(beat: Beat) -> Self {
        Self { beat, ..Self::default() }
    }

    /// What the driver is doing now.
    pub fn report(&self) -> SyncReport {
        let mut report = self.report.lock().clone();
        report.requests = self.requests.load(Ordering::Relaxed);
        report.bytes_sent = self.bytes_sent.load(Ordering::Relaxed);
        report.failures = self.failures.load(Ordering::Relaxed);
        report
    }

    /// The hubs, in the order of the configuration.
    pub fn hubs(&self) -> Vec<HubReport> {
        self.hubs.lock().clone()
    }

    /// Asks the driver to ship all that the ring holds and then to end: the process is about to stop. Intake must have
    /// stopped, or there is no end. Bound the wait for the driver: a hub that is away keeps it trying.
    pub fn flush(&self) {
        self.flush.notify_one();
    }

    pub(super) fn set(&self, report: SyncReport) {
        *self.report.lock() = report;
    }

    pub(super) fn set_hubs(&self, hubs: Vec<HubReport>) {
        *self.hubs.lock() = hubs;
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

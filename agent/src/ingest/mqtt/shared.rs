//! What all connections of one endpoint share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    budget::ConnectionBudget,
    config::MqttServerConfig,
    counters::{MqttCounters, Tally},
    session::Sessions,
};
use crate::{ingest::PublishSink, records::Records};

/// What all connections of one endpoint share.
pub(super) struct Shared {
    pub(super) config: MqttServerConfig,
    pub(super) sink: Arc<dyn PublishSink>,
    pub(super) budget: Arc<dyn ConnectionBudget>,
    pub(super) sessions: Sessions,
    pub(super) counters: MqttCounters,
    pub(super) log: LogGate,
    next_connection: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: MqttServerConfig, sink: Arc<dyn PublishSink>, budget: Arc<dyn ConnectionBudget>) -> Self {
        let sessions = Sessions::new(config.max_sessions);
        Self {
            config,
            sink,
            budget,
            sessions,
            counters: MqttCounters::default(),
            log: LogGate::default(),
            next_connection: AtomicU64::new(1),
        }
    }

    /// A number for a connection; none comes twice.
    pub(super) fn number(&self) -> u64 {
        self.next_connection.fetch_add(1, Relaxed)
    }
}

/// What a connection works with for the length of one turn: all of it lent, so that an idle connection holds none.
pub(super) struct Turn<'a> {
    pub(super) shared: &'a Shared,
    pub(super) now: Instant,
    pub(super) scratch: &'a mut Records,
    /// Where answers are written.
    pub(super) out: &'a mut Vec<u8>,
    pub(super) tally: Tally,
}

impl<'a> Turn<'a> {
    pub(super) fn new(shared: &'a Shared, now: Instant, scratch: &'a mut Records, out: &'a mut Vec<u8>) -> Self {
        Self { shared, now, scratch, out, tally: Tally::default() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.counters.add(&mut self.tally);
    }
}

/// Lets through a few log lines a second: what peers do must not fill the journal.
#[derive(Debug, Default)]
pub(super) struct LogGate {
    state: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    held_back: u64,
}

impl LogGate {
    const LINES: u32 = 5;
    const SPAN: Duration = Duration::from_secs(1);

    /// Whether a line may be written now, and if so how many were held back since the last.
    pub(super) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let window = state.get_or_insert(Window { began: now, lines: 0, held_back: 0 });
        if now.saturating_duration_since(window.began) >= Self::SPAN {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines >= Self::LINES {
            window.held_back += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_log_lines_is_thinned_and_counted() {
        let gate = LogGate::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(passed, 5);
        assert_eq!(gate.pass(start + Duration::from_secs(1)), Some(95));
    }
}

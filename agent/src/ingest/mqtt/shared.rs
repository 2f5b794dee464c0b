//! What all connections of one endpoint share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::RwLock;
use pyralog_service::LogGate;

use super::{
    access::Access,
    budget::ConnectionBudget,
    config::MqttServerConfig,
    counters::{MqttCounters, Tally},
    session::Sessions,
};
use crate::{ingest::PublishSink, records::Records};

/// What all connections of one endpoint share.
pub(super) struct Shared {
    pub(super) config: MqttServerConfig,
    /// At first that of `config`; replaced when the configuration is read again.
    pub(super) access: RwLock<Access>,
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
            access: RwLock::new(config.access.clone()),
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

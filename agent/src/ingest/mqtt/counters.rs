//! What the endpoint counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one endpoint since it was made. All but `connections` only grow.
#[derive(Debug, Default)]
pub struct MqttCounters {
    connections: AtomicU64,
    accepted: AtomicU64,
    turned_away: AtomicU64,
    unauthorized: AtomicU64,
    shut_out: AtomicU64,
    received: AtomicU64,
    acked: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

/// What one turn of a connection adds; kept apart so that the shared counters are touched once a turn, not once a message.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
}

impl MqttCounters {
    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Connections that were let in.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that were closed at once because of `max_connections` or the memory cap.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// CONNECT packets with a wrong name or password.
    pub fn unauthorized(&self) -> u64 {
        self.unauthorized.load(Relaxed)
    }

    /// CONNECT packets whose password was not looked at: too many wrong ones came from their host.
    pub fn shut_out(&self) -> u64 {
        self.shut_out.load(Relaxed)
    }

    /// Messages that came in and that the sink took, will messages among them; a QoS 2 message counts once.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Messages that were acknowledged as taken: PUBACK and PUBREC.
    pub fn acked(&self) -> u64 {
        self.acked.load(Relaxed)
    }

    /// Messages that were not taken: too large, or the ring stayed full.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Connections closed because the peer broke the protocol.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Relaxed)
    }

    pub(super) fn open(&self) {
        self.accepted.fetch_add(1, Relaxed);
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn close(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(super) fn turn_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(super) fn deny(&self) {
        self.unauthorized.fetch_add(1, Relaxed);
    }

    pub(super) fn shut(&self) {
        self.shut_out.fetch_add(1, Relaxed);
    }

    pub(super) fn misbehaved(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    pub(super) fn took_will(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    pub(super) fn refused_will(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn add(&self, tally: &mut Tally) {
        for (counter, value) in [
            (&self.received, &mut tally.received),
            (&self.acked, &mut tally.acked),
            (&self.refused, &mut tally.refused),
        ] {
            if *value > 0 {
                counter.fetch_add(std::mem::take(value), Relaxed);
            }
        }
    }
}

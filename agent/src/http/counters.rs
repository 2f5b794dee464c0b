//! What the HTTP server counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct HttpCounters {
    connections: AtomicU64,
    turned_away: AtomicU64,
    unauthorized: AtomicU64,
    shut_out: AtomicU64,
    body_bytes: AtomicU64,
    refused: AtomicU64,
    answers: [AtomicU64; 5],
}

impl HttpCounters {
    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Connections that were closed at once because of the memory cap or a failed TLS handshake.
    pub fn turned_away_total(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Requests without a good token.
    pub fn unauthorized_total(&self) -> u64 {
        self.unauthorized.load(Relaxed)
    }

    /// Requests whose token was not looked at: too many wrong ones came from their host.
    pub fn shut_out_total(&self) -> u64 {
        self.shut_out.load(Relaxed)
    }

    /// Bytes of request bodies, as sent.
    pub fn body_bytes_total(&self) -> u64 {
        self.body_bytes.load(Relaxed)
    }

    /// Lines, records and values of writes that were not stored.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Answers by class of status (`1xx` to `5xx`).
    pub fn answers_total(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(self.answers.iter().map(|count| count.load(Relaxed)))
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(super) fn turn_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(super) fn unauthorized(&self) {
        self.unauthorized.fetch_add(1, Relaxed);
    }

    pub(super) fn shut_out(&self) {
        self.shut_out.fetch_add(1, Relaxed);
    }

    pub(super) fn body(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn refused(&self, count: u64) {
        self.refused.fetch_add(count, Relaxed);
    }

    pub(super) fn answered(&self, status: StatusCode) {
        if let Some(count) = self.answers.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

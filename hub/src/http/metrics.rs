//! Counters for Prometheus. No label carries a name from the wire, so their number is fixed.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::App;
use super::caller::Asker;
use super::reply::Failure;
use crate::auth::tokens::Scope;
use crate::retention::Round;
use crate::session::Done;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    result: &'static str,
}

/// What the hub counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    replies: Family<Word, Counter>,
    unauthorized: Counter,
    received_bytes: Counter,
    entries: Counter,
    stored_bytes: Counter,
    records: Counter,
    receipted: Counter,
    store_failures: Counter,
    records_read: Counter,
    damaged: Counter,
    connections: Gauge,
    tls_failures: Counter,
    unread: Counter,
    shut_out: Counter,
    deleted_entries: Counter,
    deleted_bytes: Counter,
    deleted_records: Counter,
    retention_stops: Counter,
    queries: Family<Word, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("pyralog_hub"),
            replies: Family::default(),
            unauthorized: Counter::default(),
            received_bytes: Counter::default(),
            entries: Counter::default(),
            stored_bytes: Counter::default(),
            records: Counter::default(),
            receipted: Counter::default(),
            store_failures: Counter::default(),
            records_read: Counter::default(),
            damaged: Counter::default(),
            connections: Gauge::default(),
            tls_failures: Counter::default(),
            unread: Counter::default(),
            shut_out: Counter::default(),
            deleted_entries: Counter::default(),
            deleted_bytes: Counter::default(),
            deleted_records: Counter::default(),
            retention_stops: Counter::default(),
            queries: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("sync_replies", "Answers to hellos and batches, by what they say", self.replies.clone());
        registry.register(
            "unauthorized",
            "Requests of agents without a valid token or certificate",
            self.unauthorized.clone(),
        );
        registry.register("received_bytes", "Bytes of hellos and batches as received", self.received_bytes.clone());
        registry.register("committed_entries", "Entries created in the store", self.entries.clone());
        registry.register("committed_bytes", "Bytes of entries created in the store", self.stored_bytes.clone());
        registry.register("committed_records", "Records committed", self.records.clone());
        registry.register("receipted_records", "Records receipted as lost", self.receipted.clone());
        registry.register(
            "store_failures",
            "Requests told to come back: the store failed",
            self.store_failures.clone(),
        );
        registry.register("read_records", "Records sent to readers", self.records_read.clone());
        registry.register("damaged_entries", "Damaged entries met while reading", self.damaged.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("tls_failures", "Connections that ended in the TLS handshake", self.tls_failures.clone());
        registry.register(
            "unread_answers",
            "Connections closed because the client did not take its answer",
            self.unread.clone(),
        );
        registry.register(
            "shut_out",
            "Requests not looked at, since too many wrong tokens came from their host",
            self.shut_out.clone(),
        );
        registry.register(
            "deleted_entries",
            "Entries that this hub deleted by retention",
            self.deleted_entries.clone(),
        );
        registry.register("deleted_bytes", "Bytes of those entries", self.deleted_bytes.clone());
        registry.register("deleted_records", "Records in those entries", self.deleted_records.clone());
        registry.register(
            "retention_stops",
            "Logs in which retention met damage and went no further, and rounds that ended since the store failed",
            self.retention_stops.clone(),
        );
        registry.register("sql_queries", "SQL queries, by how they ended", self.queries.clone());
    }

    #[cfg(feature = "sql")]
    pub(super) fn queried(&self, result: &'static str) {
        self.queries.get_or_create(&Word { result }).inc();
    }

    pub(super) fn deleted(&self, round: &Round) {
        let done = &round.trimmed;
        self.deleted_entries.inc_by(done.entries);
        self.deleted_bytes.inc_by(done.bytes);
        self.deleted_records.inc_by(done.records);
        self.retention_stops.inc_by(done.stuck.len() as u64 + u64::from(round.failure.is_some()));
    }

    pub(super) fn replied(&self, result: &'static str) {
        self.replies.get_or_create(&Word { result }).inc();
    }

    pub(super) fn unauthorized(&self) {
        self.unauthorized.inc();
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.inc_by(bytes as u64);
    }

    pub(super) fn done(&self, done: &Done) {
        self.entries.inc_by(done.entries);
        self.stored_bytes.inc_by(done.bytes);
        self.records.inc_by(done.records);
        self.receipted.inc_by(done.receipted);
    }

    pub(super) fn store_failed(&self) {
        self.store_failures.inc();
    }

    pub(super) fn read(&self, records: u64) {
        self.records_read.inc_by(records);
    }

    pub(super) fn damaged(&self) {
        self.damaged.inc();
    }

    pub(super) fn tls_failed(&self) {
        self.tls_failures.inc();
    }

    pub(super) fn unread(&self) {
        self.unread.inc();
    }

    pub(super) fn shut_out(&self) {
        self.shut_out.inc();
    }

    pub(super) fn connections(&self) -> &Gauge {
        &self.connections
    }
}

pub(super) async fn metrics(State(app): State<App>, Asker(caller): Asker) -> Result<Response, Failure> {
    app.admit(&caller, Scope::Read, None)?;
    let mut body = String::new();
    text::encode(&mut body, &app.inner.metrics.registry)
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

//! The HTTP endpoint: readings in, records, status and metrics out.
//!
//! Every wait has a limit and every byte that a client makes us hold is charged to the ring's budget.

mod auth;
mod counters;
mod error;
mod intake;
mod lobby;
mod logs;
mod marked;
mod page;
mod post;
mod records;
mod reply;
mod router;
mod server;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub use auth::Access;
pub use counters::HttpCounters;
pub use error::ApiError;
pub use lobby::MAX_WAITING;
pub use router::router;
pub use server::{ServerConfig, serve};

use crate::metrics::Metrics;
use crate::ring::{Clock, Ring};
use crate::status::StatusSource;

/// What the handlers work with. Clones share everything.
#[derive(Debug, Clone)]
pub struct Api {
    /// The ring that takes and gives records.
    pub ring: Ring,
    /// Its clock.
    pub clock: Clock,
    /// Who may use the API.
    pub access: Arc<Access>,
    /// Limits of one request.
    pub limits: Limits,
    /// The status document.
    pub status: Arc<StatusSource>,
    /// The text of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What is counted here.
    pub counters: Arc<HttpCounters>,
    /// Turns true when the agent stops: then `/readyz` says so.
    pub stopping: tokio::sync::watch::Receiver<bool>,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body, as sent and unpacked.
    pub max_body: u64,
    /// Longest pause within a body.
    pub body_timeout: Duration,
}

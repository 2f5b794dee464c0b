//! The hub's HTTP side: agents send, readers read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use pyralog_sync_protocol::receiver::Terms;
use tokio::sync::{Mutex, Semaphore};

use crate::auth::tokens::Scope;
use crate::auth::{Auth, Caller, Denied};
use crate::config::Config;
use crate::session::Sessions;
use crate::store::SharedStore;

mod activity;
mod agents;
mod caller;
mod door;
mod health;
mod metrics;
mod page;
mod query;
mod records;
mod reply;
pub(crate) mod server;
mod sync;

pub use metrics::Metrics;

/// What every handler works with.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    store: SharedStore,
    sessions: Sessions,
    auth: Auth,
    metrics: Metrics,
    /// A permit for each batch or hello in work.
    in_flight: Semaphore,
    /// A permit for each record stream.
    reads: Arc<Semaphore>,
    max_batch: usize,
    request_timeout: Duration,
    retry_after: Duration,
    readiness: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl App {
    /// The hub that `config` describes, before `store`.
    pub fn new(config: &Config, store: SharedStore, auth: Auth) -> Self {
        let limits = &config.limits;
        let terms = Terms {
            max_batch: u32::try_from(limits.max_batch).unwrap_or(u32::MAX),
            pause: config.sync.pause,
            retry_after: config.sync.retry_after,
        };
        let inner = Inner {
            sessions: Sessions::new(Arc::clone(&store), terms),
            store,
            auth,
            metrics: Metrics::default(),
            in_flight: Semaphore::new(limits.max_in_flight),
            reads: Arc::new(Semaphore::new(limits.max_reads)),
            max_batch: usize::try_from(limits.max_batch).unwrap_or(usize::MAX),
            request_timeout: limits.request_timeout,
            retry_after: config.sync.retry_after,
            readiness: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether `caller` may do `scope` to `agent`; `None` asks for all agents.
    fn admit(&self, caller: &Caller, scope: Scope, agent: Option<&str>) -> Result<(), Denied> {
        let checked = self.inner.auth.check(caller, scope, agent);
        if matches!(checked, Err(Denied::ShutOut { .. })) {
            self.inner.metrics.shut_out();
        }
        checked
    }

    /// Looks at the tokens file now.
    pub(crate) fn look(&self) {
        self.inner.auth.look();
    }

    /// All routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/sync/{agent}/hello", post(sync::hello))
            .route("/v1/sync/{agent}/batch", post(sync::batch))
            .route("/v1/agents", get(agents::list))
            .route("/v1/agents/{agent}", get(agents::agent))
            .route("/v1/agents/{agent}/logs/{log}", get(agents::log))
            .route("/v1/agents/{agent}/logs/{log}/records", get(records::records))
            .route("/metrics", get(metrics::metrics))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/", get(page::page))
            .fallback(reply::no_such_path)
            .method_not_allowed_fallback(reply::no_such_method)
            // Bodies are read by the sync handlers alone, within their own limit.
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }
}

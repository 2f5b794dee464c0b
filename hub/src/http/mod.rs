//! The hub's HTTP side: agents send, readers read.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use live::{Live, terms};
use parking_lot::RwLock;
use tokio::sync::Mutex;

use crate::auth::tokens::{Scope, TokensError};
use crate::auth::{Auth, Caller, Denied};
use crate::config::Config;
use crate::session::Sessions;
use crate::store::SharedStore;

mod activity;
mod agents;
mod caller;
mod door;
mod health;
mod live;
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
    live: RwLock<Arc<Live>>,
    readiness: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl App {
    /// The hub that `config` describes, before `store`.
    pub fn new(config: &Config, store: SharedStore, auth: Auth) -> Self {
        let inner = Inner {
            sessions: Sessions::new(Arc::clone(&store), terms(config, &*store)),
            store,
            auth,
            metrics: Metrics::default(),
            live: RwLock::new(Arc::new(Live::new(config, None))),
            readiness: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What requests go by from now on.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.inner.live.read())
    }

    /// Goes by `config` from now on, as far as that can change: who may, limits, and what agents are offered.
    ///
    /// # Errors
    /// When the tokens are no good; then nothing has changed.
    pub(crate) fn reload(&self, old: &Config, config: &Config) -> Result<(), TokensError> {
        if old.tokens != config.tokens {
            self.inner.auth.change(config.tokens.clone())?;
        }
        let mut live = self.inner.live.write();
        *live = Arc::new(Live::new(config, Some(&live)));
        self.inner.sessions.offer(terms(config, &*self.inner.store));
        Ok(())
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

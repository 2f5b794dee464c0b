//! The hub's HTTP side: agents send, readers read.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use live::{Live, terms};
use parking_lot::RwLock;
use tokio::sync::{Mutex, Notify};

use crate::auth::tokens::{Scope, TokensError};
use crate::auth::{Auth, Caller, Denied};
use crate::config::Config;
use crate::retention::{RetentionConfig, Round};
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
#[cfg(feature = "sql")]
mod sql;
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
    reloaded: Notify,
    readiness: Mutex<Option<(Instant, Result<(), String>)>>,
    #[cfg(feature = "sql")]
    sql: sql::Sql,
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
            reloaded: Notify::new(),
            readiness: Mutex::new(None),
            #[cfg(feature = "sql")]
            sql: sql::Sql::new(config),
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
        if old.retention != config.retention {
            self.inner.reloaded.notify_one();
        }
        Ok(())
    }

    /// The store that it stands before.
    pub(crate) fn store(&self) -> SharedStore {
        Arc::clone(&self.inner.store)
    }

    /// What is to be kept from now on.
    pub(crate) fn retention(&self) -> RetentionConfig {
        self.live().retention.clone()
    }

    /// Completes when what is to be kept may have changed since the last call.
    pub(crate) async fn retention_changed(&self) {
        self.inner.reloaded.notified().await;
    }

    /// Counts what a round of retention did.
    pub(crate) fn deleted(&self, round: &Round) {
        self.inner.metrics.deleted(round);
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
        let router = Router::new();
        #[cfg(feature = "sql")]
        let router = router.route("/v1/sql", post(sql::sql));
        router
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

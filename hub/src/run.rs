//! Starts a hub inside any program: the binary, the quickstart, tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pyralog_supervision::Pulse;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::auth::Auth;
use crate::auth::tokens::TokensError;
use crate::config::Config;
use crate::http::{App, server};
use crate::retention;
use crate::store::{self, OpenError, SharedStore, StoreError, StoreUrl};
use crate::tls::{Tls, TlsError};

/// A hub at work. Dropping it lets it go on; [`stop`](Self::stop) ends it.
pub struct Running {
    address: SocketAddr,
    app: App,
    tls: Option<Arc<Tls>>,
    store: String,
    stop: Arc<Notify>,
    task: JoinHandle<bool>,
    keeper: AbortHandle,
    pulse: Pulse,
    began: Instant,
}

/// Why a hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tokens are not usable: the configuration's fault.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The certificates are not usable: the configuration's fault.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store is not fit for a hub: the configuration's fault.
    #[error("{0}")]
    Unfit(String),
    /// The store does not open.
    #[error("{0}; {1}")]
    Store(StoreError, &'static str),
    /// The address is not to be had.
    #[error("cannot listen on {address}: {reason}; is another hub running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: String,
    },
}

/// Starts the hub that `config` describes, on its own store.
pub async fn start(config: &Config) -> Result<Running, StartError> {
    let auth = Auth::open(config.tokens.clone())?;
    let store = store::open(&config.store).await.map_err(|error| match (error, &config.store) {
        (OpenError::Unfit(reason), _) => StartError::Unfit(reason),
        (OpenError::Store(error), StoreUrl::Directory(_)) => {
            StartError::Store(error, "check that the directory exists and that this user may write to it")
        }
        (OpenError::Store(error), _) => {
            StartError::Store(error, "check that it is up, and reachable from this machine")
        }
    })?;
    start_on(config, auth, store).await
}

/// Starts a hub on a store that is open already.
pub async fn start_on(config: &Config, auth: Auth, store: SharedStore) -> Result<Running, StartError> {
    let tls =
        config.tls.files().map(|files| Tls::open(files, config.tls.max_connection_age)).transpose()?.map(Arc::new);
    let auth = auth.with_certificates(config.tls.client_ca.is_some());
    let fail = |error: std::io::Error| StartError::Listen { address: config.listen, reason: error.to_string() };
    let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let stop = Arc::new(Notify::new());
    let name = store.address();
    let app = App::new(config, store, auth);
    let (max_connections, grace) = (config.limits.max_connections, config.shutdown_grace);
    let stopping = Arc::clone(&stop);
    let (serving, doors) = (app.clone(), tls.clone());
    let (mut pulse, began) = (Pulse::default(), Instant::now());
    let life = server::Life { beat: pulse.watch("accept"), began };
    let task = tokio::spawn(async move {
        server::serve(listener, serving, doors, max_connections, grace, life, async move { stopping.notified().await })
            .await
    });
    // It may be ended between any two steps: the next round of any hub finishes.
    let keeper = tokio::spawn(retention::keep(app.clone())).abort_handle();
    Ok(Running { address, app, tls, store: name, stop, task, keeper, pulse, began })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Looks at the files of tokens and certificates now; otherwise they are looked at every few seconds, while there
    /// are clients.
    pub fn look_at_files(&self) {
        self.app.look();
        if let Some(tls) = &self.tls {
            tls.look();
        }
    }

    /// Goes by `new` instead of `old` from now on, as far as that can change: [`Config::reloaded`] says what does. Requests in
    /// work and open connections go on by what they began with.
    ///
    /// # Errors
    /// When the tokens are no good; then nothing has changed.
    pub fn reload(&self, old: &Config, new: &Config) -> Result<(), StartError> {
        Ok(self.app.reload(old, new)?)
    }

    /// The loops without which it serves nobody; their time is what has passed since [`Self::began`].
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Its store's address.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Takes no more requests and waits for those in work, within the grace of the configuration. Says whether all of
    /// them came to their end.
    pub async fn stop(self) -> bool {
        // One permit is kept, so a server that has not looked yet will see it.
        self.stop.notify_one();
        self.keeper.abort();
        self.task.await.unwrap_or(false)
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).field("store", &self.store).finish_non_exhaustive()
    }
}

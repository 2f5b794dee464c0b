//! Ships the ring's logs to a hub: a thin driver around [`pyralog_sync_protocol::Sender`].
//!
//! The driver owns the socket and the clock. Its loop only gathers what happened; what follows from it is decided by the
//! sender. One exchange is under way at a time. Its [`Link`] and the runtime's clock are all that it knows of the world, so
//! that a simulation can bring its own.

mod client;
mod driver;
mod hubs;
mod link;
mod report;
mod roster;
mod source;

pub use client::{ClientError, HubClient};
pub use driver::{drive, run};
pub use link::{Exchange, Link, Packing};
pub use report::{HubReport, SyncReport, SyncShared, SyncState};
pub use roster::UpstreamPolicy;

use pyralog_sync_protocol::AgentId;
use std::path::PathBuf;
use std::time::Duration;

use pyralog_service::tls::client::ClientTls;
use pyralog_service::without_password;

/// How an agent reaches its hubs and how often. `Debug` hides passwords in URLs.
#[derive(Clone)]
pub struct SyncConfig {
    /// The base URLs of hubs before one store, `http://` or `https://`.
    pub upstream: Vec<String>,
    /// Which of them is asked.
    pub policy: UpstreamPolicy,
    /// The agent's name.
    pub agent_id: AgentId,
    /// Time between rounds.
    pub interval: Duration,
    /// Bytes at which a batch is full; a segment that is larger goes alone.
    pub max_batch: u32,
    /// Packed bytes not committed yet at which a round begins before its time.
    pub threshold: u64,
    /// A file that holds the bearer token for the hub.
    pub token_file: Option<PathBuf>,
    /// Whom an `https://` hub must be vouched for by, and who we are there.
    pub tls: ClientTls,
    /// How long one exchange may take.
    pub timeout: Duration,
}

impl SyncConfig {
    /// The defaults for an agent and its hubs: a round a minute, batches of 1 MiB.
    pub fn new(upstream: Vec<String>, agent_id: AgentId) -> Self {
        Self {
            upstream,
            policy: UpstreamPolicy::default(),
            agent_id,
            interval: Duration::from_secs(60),
            max_batch: 1 << 20,
            threshold: 4 << 20,
            token_file: None,
            tls: ClientTls::default(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for SyncConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let debug = &mut f.debug_struct("SyncConfig");
        let upstream: Vec<_> = self.upstream.iter().map(|url| without_password(url)).collect();
        debug.field("upstream", &upstream).field("policy", &self.policy).field("agent_id", &self.agent_id);
        debug.field("token_file", &self.token_file).field("tls", &self.tls).finish_non_exhaustive()
    }
}

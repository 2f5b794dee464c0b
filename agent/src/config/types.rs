//! The typed configuration: what the rest of the agent is started from. The keys are explained in
//! `examples/config/agent.toml`; here stand the units and invariants.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pyralog_service::tls::Pair;
use pyralog_service::tls::client::ClientTls;
use pyralog_service::without_password;

use super::secret::Secret;
use crate::ingest::route::RouteSpec;
use crate::ingest::sidecar::Endpoint;
use crate::ingest::subscriber::SubscribeSpec;
use crate::ring::RingConfig;
use crate::sync::UpstreamPolicy;

/// Everything the agent can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this agent at the hub: 1 to 64 of `[A-Za-z0-9._-]`.
    pub agent_id: String,
    /// How long a stop may take to ship what is pending.
    pub shutdown_grace: Duration,
    /// The ring.
    pub storage: RingConfig,
    /// The MQTT endpoint, subscriptions and routes.
    pub mqtt: Mqtt,
    /// The HTTP endpoint.
    pub http: Http,
    /// Where firmware hands in its records.
    pub sidecar: Sidecar,
    /// Readings of the machine itself.
    pub host: Host,
    /// The way upstream.
    pub sync: Sync,
    /// Logging.
    pub log: Log,
}

/// MQTT in both directions.
#[derive(Debug, Clone)]
pub struct Mqtt {
    /// Whether the agent listens.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// TLS instead of plain TCP.
    pub tls: Option<Pair>,
    /// Connections at a time.
    pub max_connections: u32,
    /// Bytes of one packet.
    pub max_packet: u64,
    /// Lets anyone publish, even from other machines.
    pub allow_anonymous: bool,
    /// Who may publish; empty: anyone who reaches the listener.
    pub users: Vec<MqttUser>,
    /// Brokers to read from.
    pub subscribe: Vec<SubscribeSpec>,
    /// How topics map to logs, first match first.
    pub routes: Vec<RouteSpec>,
}

/// Links to firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// Sockets and serial lines; none: the sidecar is off.
    pub listen: Vec<Endpoint>,
    /// Permission bits of the sockets.
    pub mode: u32,
    /// Connections to the sockets at a time.
    pub max_connections: u32,
}

/// Name and password of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttUser {
    /// Name.
    pub name: String,
    /// Password, from `password` or `password_file`.
    pub password: Secret,
}

/// The HTTP endpoint.
#[derive(Debug, Clone)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// TLS instead of plain TCP.
    pub tls: Option<Pair>,
    /// Tokens that open the API, from `tokens` and `token_file`; empty: anyone who reaches the listener.
    pub tokens: Vec<Secret>,
    /// Lets anyone in, even from other machines.
    pub allow_anonymous: bool,
    /// Bytes of one request body, both as sent and unpacked.
    pub max_body: u64,
    /// Connections at a time.
    pub max_connections: u32,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may pause within a body.
    pub body_timeout: Duration,
}

/// Readings of the machine itself.
#[derive(Debug, Clone)]
pub struct Host {
    /// Whether to take them; false also when the interval is zero.
    pub enabled: bool,
    /// How often.
    pub interval: Duration,
}

/// The way upstream. `Debug` hides passwords in URLs.
#[derive(Clone)]
pub struct Sync {
    /// URLs of hubs before one store; none: nothing is sent.
    pub upstream: Vec<String>,
    /// Which of them is asked.
    pub upstream_policy: UpstreamPolicy,
    /// How often pending records are sent.
    pub interval: Duration,
    /// Pending bytes that are sent without waiting for the interval.
    pub size_threshold: u64,
    /// Bytes of one upload.
    pub max_batch: u64,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// File with the bearer token; read again before it is used, so that it can be exchanged.
    pub token_file: Option<PathBuf>,
    /// Whom an `https://` hub must be vouched for by, and who we are there.
    pub tls: ClientTls,
}

impl std::fmt::Debug for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let upstream = self.upstream.iter().map(|url| without_password(url)).collect::<Vec<_>>();
        let debug = &mut f.debug_struct("Sync");
        debug.field("upstream", &upstream).field("interval", &self.interval).field("max_batch", &self.max_batch);
        debug.field("token_file", &self.token_file).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// Level, or directives such as `info,pyralog_agent::ingest=debug`.
    pub level: String,
    /// How lines look.
    pub style: LogStyle,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// `Journal` under systemd, else `Terminal`.
    Auto,
    /// With time and, on a terminal, colour.
    Terminal,
    /// Without time: the journal has its own.
    Journal,
}

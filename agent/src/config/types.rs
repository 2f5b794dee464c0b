//! The typed configuration: what the rest of the agent is started from. The keys are explained in
//! `examples/config/agent.toml`; here stand the units and invariants.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// Everything the agent can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this agent at the hub: 1 to 64 of `[A-Za-z0-9._-]`.
    pub agent_id: String,
    /// How long a stop may take to ship what is pending.
    pub shutdown_grace: Duration,
    /// The ring.
    pub storage: Storage,
    /// The MQTT endpoint, subscriptions and routes.
    pub mqtt: Mqtt,
    /// The HTTP endpoint.
    pub http: Http,
    /// Readings of the machine itself.
    pub host: Host,
    /// The way upstream.
    pub sync: Sync,
    /// Logging.
    pub log: Log,
}

/// The ring and its cap.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Bytes that all data may hold.
    pub max_memory: u64,
    /// What happens when the ring is full.
    pub eviction_policy: EvictionPolicy,
    /// Share of `max_memory` at which eviction begins.
    pub eviction_watermark: f64,
    /// Rows at which an open segment is sealed.
    pub segment_rows: u32,
    /// Age at which an open segment is sealed.
    pub segment_age: Duration,
    /// Bytes at which an open segment is sealed.
    pub max_segment_bytes: u64,
    /// How sealed segments are packed.
    pub encoding: EncodingName,
    /// Logs that may exist.
    pub max_logs: u32,
    /// Columns that one log may have.
    pub max_columns: u32,
}

/// What a full ring does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// Drops the oldest segments and receipts them.
    Fifo,
    /// Refuses new records.
    Reject,
}

/// How sealed segments are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodingName {
    /// Our column container, the smallest.
    Packed,
    /// Arrow IPC with zstd.
    ArrowZstd,
}

/// Certificate and key of a TLS listener, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// MQTT in both directions.
#[derive(Debug, Clone)]
pub struct Mqtt {
    /// Whether the agent listens.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// TLS instead of plain TCP.
    pub tls: Option<Tls>,
    /// Connections at a time.
    pub max_connections: u32,
    /// Bytes of one packet.
    pub max_packet: u64,
    /// Lets anyone publish, even from other machines.
    pub allow_anonymous: bool,
    /// Who may publish; empty: anyone who reaches the listener.
    pub users: Vec<MqttUser>,
    /// Brokers to read from.
    pub subscribe: Vec<Subscribe>,
    /// How topics map to logs, first match first.
    pub routes: Vec<Route>,
}

/// Name and password of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttUser {
    /// Name.
    pub name: String,
    /// Password, from `password` or `password_file`.
    pub password: Secret,
}

/// One broker to subscribe at.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// Topic filters; never empty.
    pub topics: Vec<String>,
    /// Client id; default: made from the agent id.
    pub client_id: Option<String>,
    /// User name at the broker.
    pub username: Option<String>,
    /// Password, from `password` or `password_file`.
    pub password: Option<Secret>,
    /// PEM file of the authority that signed the broker's certificate.
    pub ca_file: Option<PathBuf>,
    /// QoS of the subscription: 0, 1 or 2.
    pub qos: u8,
    /// Keep-alive interval.
    pub keep_alive: Duration,
    /// Bytes of one packet.
    pub max_packet: u64,
}

/// How one family of topics becomes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Topic pattern with `{captures}`, `+` and `#`.
    pub topic: String,
    /// Log that takes the records; may name captures.
    pub log: String,
    /// Format of the payload.
    pub format: PayloadFormat,
    /// Key that holds the time.
    pub time_key: Option<String>,
    /// Unit of a numeric time.
    pub time_unit: TimeUnit,
    /// Keys that are tags.
    pub tags: Vec<String>,
}

/// Format of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// Looks at the payload.
    Auto,
    /// A JSON object, or an array of objects.
    Json,
    /// InfluxDB line protocol.
    LineProtocol,
    /// One number as text.
    Number,
    /// Text.
    Text,
    /// Bytes.
    Raw,
}

/// Unit of a numeric time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// RFC 3339 text.
    Rfc3339,
}

/// The HTTP endpoint.
#[derive(Debug, Clone)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// TLS instead of plain TCP.
    pub tls: Option<Tls>,
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

/// The way upstream.
#[derive(Debug, Clone)]
pub struct Sync {
    /// URL of the hub; `None`: nothing is sent.
    pub upstream: Option<String>,
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
    /// PEM file of the authority that signed the hub's certificate.
    pub ca_file: Option<PathBuf>,
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

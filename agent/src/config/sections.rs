//! Which keys there are, their types and their defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_segment::{Encoding, MAX_COLUMNS};
use pyralog_service::tls::Pair;
use pyralog_service::tls::client::ClientTls;

use super::agent_id;
use super::reader::Section;
use super::secret::Secret;
use super::types::{Config, Host, Http, Log, LogStyle, Mqtt, MqttUser, Sidecar, Sync};
use crate::ingest::route::{RouteSpec, Routes};
use crate::ingest::sidecar::{Endpoint, FileMode};
use crate::ingest::subscriber::{SubscribeSpec, SubscriberConfig};
use crate::ring::{EvictionPolicy, RingConfig};
use crate::sync::UpstreamPolicy;
use crate::tls::server_config;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const FORMATS: [&str; 6] = ["auto", "json", "line-protocol", "number", "text", "raw"];
const TIME_UNITS: [&str; 5] = ["ns", "us", "ms", "s", "rfc3339"];

pub(super) fn config(root: &mut Section<'_>) -> Config {
    let agent_id = root.parsed("agent_id", agent_id::default(), agent_id::check);
    let shutdown_grace = root.duration("shutdown_grace", Duration::from_secs(10));
    let storage = root.section("storage", storage);
    let memory = storage.max_memory;
    Config {
        agent_id,
        shutdown_grace,
        mqtt: root.section("mqtt", |s| mqtt(s, memory)),
        http: root.section("http", |s| http(s, memory)),
        sidecar: root.section("sidecar", sidecar),
        host: root.section("host", host),
        sync: root.section("sync", |s| sync(s, memory)),
        log: root.section("log", log),
        storage,
    }
}

fn storage(s: &mut Section<'_>) -> RingConfig {
    // The only mode so far; the key is there so that a file says what it relies on.
    s.choice("mode", [("memory-only", ())]);
    let max_memory = s.size("max_memory", 64 * MIB);
    RingConfig {
        max_memory,
        eviction_policy: s
            .choice("eviction_policy", [("fifo", EvictionPolicy::Fifo), ("reject", EvictionPolicy::Reject)]),
        eviction_watermark: s.number("eviction_watermark", 0.9, 0.1..=1.0),
        segment_rows: s.integer("segment_rows", 8192, 1..=65_536) as u32,
        segment_age: s.duration("segment_age", Duration::from_secs(600)),
        max_segment_bytes: Some(s.size("max_segment_bytes", (max_memory / 16).clamp(64 * KIB, MIB))),
        encoding: s.choice("encoding", [("packed", Encoding::Packed), ("arrow-zstd", Encoding::ArrowZstd)]),
        max_logs: s.integer("max_logs", 1024, 1..=65_536) as usize,
        max_columns: s.integer("max_columns", MAX_COLUMNS as u64, 1..=MAX_COLUMNS as u64) as usize,
    }
}

fn mqtt(s: &mut Section<'_>, memory: u64) -> Mqtt {
    let max_packet_default = (256 * KIB).min(memory / 8);
    Mqtt {
        enabled: s.boolean("enabled", true),
        listen: s.parsed("listen", SocketAddr::from(([127, 0, 0, 1], 1883)), listen),
        tls: tls(s),
        max_connections: s.integer("max_connections", 10_000, 1..=100_000) as u32,
        max_packet: s.size("max_packet", max_packet_default),
        allow_anonymous: s.boolean("allow_anonymous", false),
        users: s.list("user", mqtt_user),
        subscribe: s.list("subscribe", |s| subscribe(s, max_packet_default)),
        routes: s.list("route", route),
    }
}

fn mqtt_user(s: &mut Section<'_>) -> MqttUser {
    let name = s.required("name");
    let password = password(s);
    if password.is_none() {
        s.complain("", format!("user \"{name}\" has no password; add `password` or `password_file`"));
    }
    MqttUser { name, password: password.unwrap_or_else(|| Secret::new("")) }
}

fn subscribe(s: &mut Section<'_>, max_packet: u64) -> SubscribeSpec {
    let spec = SubscribeSpec {
        url: s.url("url"),
        topics: s.texts("topics"),
        client_id: s.optional("client_id"),
        username: s.optional("username"),
        password_file: s.path("password_file"),
        ca_file: s.path("ca_file"),
        max_packet: Some(u32::try_from(s.size("max_packet", max_packet)).unwrap_or(u32::MAX)),
    };
    // The name of the agent changes nothing about whether the rest is good.
    if let Err(error) = SubscriberConfig::new(&spec, "agent") {
        s.complain("", error.to_string());
    }
    spec
}

fn route(s: &mut Section<'_>) -> RouteSpec {
    let word = |name: &'static str| (name, name);
    let spec = RouteSpec {
        topic: s.required("topic"),
        log: s.optional("log"),
        format: Some(s.choice("format", FORMATS.map(word)).to_owned()),
        time_key: s.optional("time_key"),
        time_unit: Some(s.choice("time_unit", TIME_UNITS.map(word)).to_owned()),
        tags: s.texts("tags"),
    };
    if let Err((_, error)) = Routes::new(std::slice::from_ref(&spec)) {
        s.complain("", error.to_string());
    }
    spec
}

fn http(s: &mut Section<'_>, memory: u64) -> Http {
    let listen = s.parsed("listen", SocketAddr::from(([127, 0, 0, 1], 7380)), listen);
    let tls = tls(s);
    let mut tokens = s.secrets("tokens");
    if let Some(file) = s.path("token_file") {
        match read_secret(&file) {
            Ok(text) => tokens.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new)),
            Err(message) => s.complain("token_file", message),
        }
        if tokens.is_empty() {
            s.complain("token_file", "the file holds no token; write one token per line");
        }
    }
    Http {
        listen,
        tls,
        tokens,
        allow_anonymous: s.boolean("allow_anonymous", false),
        max_body: s.size("max_body", (8 * MIB).min(memory / 4)),
        max_connections: s.integer("max_connections", 64, 1..=100_000) as u32,
        header_timeout: s.duration("header_timeout", Duration::from_secs(15)),
        body_timeout: s.duration("body_timeout", Duration::from_secs(30)),
    }
}

fn sidecar(s: &mut Section<'_>) -> Sidecar {
    let mut listen = Vec::new();
    for text in s.one_or_more("listen") {
        match text.parse::<Endpoint>() {
            Ok(endpoint) if listen.contains(&endpoint) => {
                s.complain("listen", format!("\"{endpoint}\" is there twice"))
            }
            Ok(endpoint) => listen.push(endpoint),
            Err(message) => s.complain("listen", message),
        }
    }
    Sidecar {
        listen,
        mode: s.parsed("mode", FileMode(0o660), str::parse).0,
        max_connections: s.integer("max_connections", 16, 1..=256) as u32,
    }
}

fn host(s: &mut Section<'_>) -> Host {
    let enabled = s.boolean("enabled", true);
    let interval = s.duration("interval", Duration::from_secs(10));
    Host { enabled: enabled && !interval.is_zero(), interval }
}

fn sync(s: &mut Section<'_>, memory: u64) -> Sync {
    Sync {
        upstream: s.urls("upstream"),
        upstream_policy: s.choice(
            "upstream_policy",
            [("failover", UpstreamPolicy::Failover), ("round-robin", UpstreamPolicy::RoundRobin)],
        ),
        interval: s.duration("interval", Duration::from_secs(60)),
        size_threshold: s.size("size_threshold", (256 * KIB).min(memory / 16)),
        max_batch: s.size("max_batch", MIB.min(memory / 8)),
        timeout: s.duration("timeout", Duration::from_secs(30)),
        token_file: readable(s, "token_file"),
        tls: sync_tls(s),
    }
}

fn sync_tls(s: &mut Section<'_>) -> ClientTls {
    let problems = s.problems();
    let tls = ClientTls { ca: readable(s, "ca_file"), identity: pair(s, "cert_file", "key_file") };
    if s.problems() == problems
        && let Err(error) = tls.check()
    {
        s.complain("", error.to_string());
    }
    tls
}

fn log(s: &mut Section<'_>) -> Log {
    Log {
        level: s.text("level", "info"),
        style: s.choice(
            "style",
            [("auto", LogStyle::Auto), ("terminal", LogStyle::Terminal), ("journal", LogStyle::Journal)],
        ),
    }
}

fn tls(s: &mut Section<'_>) -> Option<Pair> {
    let problems = s.problems();
    let tls = pair(s, "tls_cert", "tls_key")?;
    if s.problems() == problems
        && let Err(error) = server_config(&tls, &[])
    {
        s.complain("tls_cert", error.to_string());
    }
    Some(tls)
}

/// A certificate and its key: both or none.
fn pair(s: &mut Section<'_>, cert_key: &str, key_key: &str) -> Option<Pair> {
    match (readable(s, cert_key), readable(s, key_key)) {
        (Some(cert), Some(key)) => Some(Pair { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            s.complain(key_key, format!("{cert_key} is set and {key_key} is not; TLS needs both PEM files"));
            None
        }
        (None, Some(_)) => {
            s.complain(cert_key, format!("{key_key} is set and {cert_key} is not; TLS needs both PEM files"));
            None
        }
    }
}

fn password(s: &mut Section<'_>) -> Option<Secret> {
    let given = s.secret("password");
    let Some(file) = s.path("password_file") else { return given };
    if given.is_some() {
        s.complain("password_file", "password is set too; keep one of the two");
        return given;
    }
    match read_secret(&file) {
        Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
        Err(message) => {
            s.complain("password_file", message);
            None
        }
    }
}

/// A path to a file that must be readable now, so that a wrong path is met at the start and not at night.
fn readable(s: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    let path = s.path(key)?;
    if let Err(error) = std::fs::File::open(&path) {
        s.complain(key, format!("cannot read {}: {error}; check the path and the permissions", path.display()));
    }
    Some(path)
}

fn read_secret(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}; check the path and the permissions", path.display()))
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    literal.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("\"{text}\" is not an address to listen on; write IP:PORT, such as \"127.0.0.1:7380\" or \"[::]:7380\"")
    })
}

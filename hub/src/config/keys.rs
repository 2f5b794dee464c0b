//! Every key of the configuration, and how text becomes its value.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use pyralog_service::credential_or_path;

use super::{Config, retention};
use crate::store::{StoreUrl, StoreUrlError};
use crate::tls::ClientAuth;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its path, dotted.
    pub name: &'static str,
    /// Whether a hub that runs takes it over.
    pub live: bool,
    /// Sets it from text, or says what it takes.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Whether two configurations have it alike.
    pub(super) same: fn(&Config, &Config) -> bool,
    /// Takes it over from another configuration.
    pub(super) take: fn(&mut Config, &Config),
}

/// A key, the field that it sets, whether that can change while the hub runs, and how text becomes its value.
macro_rules! key {
    ($name:literal, $($field:ident).+, $live:literal, $read:expr) => {
        Key {
            name: $name,
            live: $live,
            set: |config, text| {
                config.$($field).+ = $read(text)?;
                Ok(())
            },
            same: |one, other| one.$($field).+ == other.$($field).+,
            take: |to, from| to.$($field).+.clone_from(&from.$($field).+),
        }
    };
}

/// All keys.
pub static KEYS: &[Key] = &[
    key!("listen", listen, false, |text| parse(text, "an address such as 127.0.0.1:7390")),
    key!("store", store, false, |text: &str| text.parse().map_err(|error: StoreUrlError| error.to_string())),
    key!("lake", lake, false, lake),
    key!("tokens", tokens, true, path),
    key!("allow_anonymous", allow_anonymous, true, |text| parse(text, "true or false")),
    key!("tls.cert", tls.cert, false, path),
    key!("tls.key", tls.key, false, path),
    key!("tls.client_ca", tls.client_ca, false, path),
    key!("tls.client_auth", tls.client_auth, false, client_auth),
    key!("tls.client_crl", tls.client_crl, false, path),
    key!("tls.max_connection_age", tls.max_connection_age, false, some),
    key!("shutdown_grace", shutdown_grace, false, duration),
    key!("log", log, false, directives),
    key!("limits.max_batch", limits.max_batch, true, |text| bytes(text, 64 << 10, MAX_BATCH)),
    key!("limits.max_in_flight", limits.max_in_flight, true, |text| count(text, 4096)),
    key!("limits.max_reads", limits.max_reads, true, |text| count(text, 4096)),
    key!("limits.max_connections", limits.max_connections, false, |text| count(text, 65_536)),
    key!("limits.request_timeout", limits.request_timeout, true, duration),
    key!("limits.idle_timeout", limits.idle_timeout, true, some),
    key!("limits.write_timeout", limits.write_timeout, true, some),
    key!("sync.pause", sync.pause, true, duration),
    key!("sync.retry_after", sync.retry_after, true, duration),
    key!("sql.max_memory", sql.max_memory, false, |text| bytes(text, 16 << 20, 1 << 40)),
    key!("sql.max_queries", sql.max_queries, false, |text| count(text, 64)),
    key!("sql.timeout", sql.timeout, false, some),
    key!("retention.max_age", retention.limits.max_age, true, retention::age),
    key!("retention.max_bytes", retention.limits.max_bytes, true, retention::size),
    key!("retention.interval", retention.interval, true, some),
    key!("retention.log", retention.rules, true, retention::rules),
];

/// What the protocol lets a hub take at most.
const MAX_BATCH: u64 = 16 << 20;

/// Longest time that any key takes; keeps every deadline computable.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The key with this dotted name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key nearest to `name`, if any is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let score = |key: &Key| strsim::normalized_damerau_levenshtein(key.name, name);
    // Somebody who knows a key's last part alone means the whole key.
    let same_part = KEYS.iter().find(|key| key.name.rsplit('.').next() == name.rsplit('.').next());
    let near = KEYS.iter().max_by(|a, b| score(a).total_cmp(&score(b))).filter(|key| score(key) > 0.5);
    same_part.or(near).map(|key| key.name)
}

/// The key that an environment variable sets: `PYRALOG_LIMITS__MAX_BATCH` sets `limits.max_batch`.
pub(super) fn of_variable(name: &str) -> Option<&'static str> {
    let path = name.strip_prefix("PYRALOG_")?.to_ascii_lowercase().replace("__", ".");
    find(&path).map(|key| key.name)
}

/// How the command line sets a key: some have a flag of their own.
pub(super) fn as_flag(name: &str) -> String {
    match name {
        "listen" | "store" | "lake" | "tokens" | "tls.cert" | "tls.key" | "tls.client_ca" => {
            format!("--{}", name.replace(['_', '.'], "-"))
        }
        other => format!("--set {other}"),
    }
}

/// A file, or `credential:NAME`. Nothing unsets it, so that a variable may take back what a file says.
fn path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Ok(None) } else { credential_or_path(text).map(Some) }
}

/// Where files can be; nothing unsets it.
fn lake(text: &str) -> Result<Option<StoreUrl>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse().map_err(|error: StoreUrlError| error.to_string())? {
        StoreUrl::JetStream(_) => {
            Err("a lake is a directory or a bucket, as file:///path, a plain path or s3://bucket/prefix".into())
        }
        url => Ok(Some(url)),
    }
}

fn client_auth(text: &str) -> Result<Option<ClientAuth>, String> {
    match text.trim() {
        "required" => Ok(Some(ClientAuth::Required)),
        "optional" => Ok(Some(ClientAuth::Optional)),
        _ => Err(format!("{text:?} is not known; write required or optional")),
    }
}

fn directives(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; it takes error, warn, info, debug or trace")),
    }
}

fn parse<T: std::str::FromStr>(text: &str, takes: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not {takes}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(value) if value <= MAX_DURATION => Ok(value),
        _ => Err(format!("{text:?} is not a time up to 24h such as \"500ms\", \"10s\" or \"5m\"")),
    }
}

/// A duration that cannot be nothing.
fn some(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than 0s; give at least \"1s\"".into()),
        value => Ok(value),
    }
}

fn bytes(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.trim().parse::<ByteSize>() {
        Ok(value) if (least..=most).contains(&value.as_u64()) => Ok(value.as_u64()),
        _ => Err(format!("{text:?} is not a size from {} to {}, such as \"1MiB\"", ByteSize(least), ByteSize(most))),
    }
}

fn count(text: &str, most: usize) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(format!("{text:?} is not a number from 1 to {most}")),
    }
}

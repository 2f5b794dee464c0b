//! Every key of the configuration, and how text becomes its value.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::Config;
use crate::tls::ClientAuth;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its path, dotted.
    pub name: &'static str,
    /// Sets it from text, or says what it takes.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

/// All keys.
pub static KEYS: &[Key] = &[
    Key {
        name: "listen",
        set: |config, text| parse(text, "an address such as 127.0.0.1:7390").map(|v| config.listen = v),
    },
    Key {
        name: "store",
        set: |config, text| {
            text.parse().map(|v| config.store = v).map_err(|e: crate::store::StoreUrlError| e.to_string())
        },
    },
    Key { name: "tokens", set: |config, text| path(text).map(|v| config.tokens = v) },
    Key {
        name: "allow_anonymous",
        set: |config, text| parse(text, "true or false").map(|v| config.allow_anonymous = v),
    },
    Key { name: "tls.cert", set: |config, text| path(text).map(|v| config.tls.cert = v) },
    Key { name: "tls.key", set: |config, text| path(text).map(|v| config.tls.key = v) },
    Key { name: "tls.client_ca", set: |config, text| path(text).map(|v| config.tls.client_ca = v) },
    Key {
        name: "tls.client_auth",
        set: |config, text| {
            config.tls.client_auth = Some(match text.trim() {
                "required" => ClientAuth::Required,
                "optional" => ClientAuth::Optional,
                _ => return Err(format!("{text:?} is not known; write required or optional")),
            });
            Ok(())
        },
    },
    Key { name: "tls.client_crl", set: |config, text| path(text).map(|v| config.tls.client_crl = v) },
    Key { name: "tls.max_connection_age", set: |config, text| some(text).map(|v| config.tls.max_connection_age = v) },
    Key { name: "shutdown_grace", set: |config, text| duration(text).map(|v| config.shutdown_grace = v) },
    Key {
        name: "log",
        set: |config, text| {
            config.log = text.to_owned();
            tracing_subscriber::EnvFilter::try_new(text)
                .map(|_| ())
                .map_err(|error| format!("{error}; it takes error, warn, info, debug or trace"))
        },
    },
    Key {
        name: "limits.max_batch",
        set: |config, text| bytes(text, 64 << 10, MAX_BATCH).map(|v| config.limits.max_batch = v),
    },
    Key {
        name: "limits.max_in_flight",
        set: |config, text| count(text, 4096).map(|v| config.limits.max_in_flight = v),
    },
    Key { name: "limits.max_reads", set: |config, text| count(text, 4096).map(|v| config.limits.max_reads = v) },
    Key {
        name: "limits.max_connections",
        set: |config, text| count(text, 65_536).map(|v| config.limits.max_connections = v),
    },
    Key {
        name: "limits.request_timeout",
        set: |config, text| duration(text).map(|v| config.limits.request_timeout = v),
    },
    Key { name: "limits.idle_timeout", set: |config, text| some(text).map(|v| config.limits.idle_timeout = v) },
    Key { name: "limits.write_timeout", set: |config, text| some(text).map(|v| config.limits.write_timeout = v) },
    Key { name: "sync.pause", set: |config, text| duration(text).map(|v| config.sync.pause = v) },
    Key { name: "sync.retry_after", set: |config, text| duration(text).map(|v| config.sync.retry_after = v) },
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
        "listen" | "store" | "tokens" | "tls.cert" | "tls.key" | "tls.client_ca" => {
            format!("--{}", name.replace(['_', '.'], "-"))
        }
        other => format!("--set {other}"),
    }
}

/// Nothing unsets it, so that a variable may take back what a file says.
fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
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

/// A duration at whose end connections are closed.
fn some(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("0s would close every connection; give at least \"1s\"".into()),
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

//! What the hub is told at start: flags over environment over file over defaults.
//!
//! Every source sets the same [keys](keys::KEYS) from text, so they accept and refuse the same things in the same words.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::retention::RetentionConfig;
use crate::store::{StoreUrl, default_directory};
use crate::tls::{ClientAuth, Clients, TlsFiles};

mod file;
pub mod keys;
pub(crate) mod retention;

/// The hub's settings, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// Where entries are kept.
    pub store: StoreUrl,
    /// The lake into which the store is archived, for queries; `None` asks the store alone.
    pub lake: Option<StoreUrl>,
    /// The file of hashed tokens; `None` lets everybody in.
    pub tokens: Option<PathBuf>,
    /// Whether a hub without credentials may listen to more than this machine.
    pub allow_anonymous: bool,
    /// TLS, if its files are given.
    pub tls: TlsConfig,
    /// How long requests may go on after a request to stop.
    pub shutdown_grace: Duration,
    /// What the hub takes on at once.
    pub limits: Limits,
    /// What it tells agents.
    pub sync: SyncConfig,
    /// What queries may use.
    pub sql: SqlConfig,
    /// What it keeps, and for how long.
    pub retention: RetentionConfig,
    /// What it logs: a level or `tracing` directives.
    pub log: String,
}

/// TLS of the listener. [`Config::resolve`] sees to it that the keys go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The hub's certificate chain.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The authorities of clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether every client needs one; required if nothing is said.
    pub client_auth: Option<ClientAuth>,
    /// The revocation lists of those authorities.
    pub client_crl: Option<PathBuf>,
    /// How long a TLS connection lives on what its handshake found.
    pub max_connection_age: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        let max_connection_age = Duration::from_secs(15 * 60);
        Self { cert: None, key: None, client_ca: None, client_auth: None, client_crl: None, max_connection_age }
    }
}

impl TlsConfig {
    /// The files to speak TLS with; `None` for plain HTTP.
    pub fn files(&self) -> Option<TlsFiles> {
        let (cert, key) = (self.cert.clone()?, self.key.clone()?);
        let auth = self.client_auth.unwrap_or_default();
        let clients = self.client_ca.clone().map(|ca| Clients { ca, crl: self.client_crl.clone(), auth });
        Some(TlsFiles { cert, key, clients })
    }
}

/// Caps on what clients can make the hub hold and do at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest batch, in bytes, before and after decompression.
    pub max_batch: u64,
    /// Batches and hellos handled at once; more are told `busy`.
    pub max_in_flight: usize,
    /// Record streams served at once; more are told to come back.
    pub max_reads: usize,
    /// Open connections; more wait to be accepted.
    pub max_connections: usize,
    /// How long one batch may take to arrive.
    pub request_timeout: Duration,
    /// How long a connection may stay without a request; up to twice that with HTTP/2.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
}

/// What the hub tells agents about its pace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncConfig {
    /// How long an agent should wait between batches.
    pub pause: Duration,
    /// How long an agent should wait when the hub is busy or its store is away.
    pub retry_after: Duration,
}

/// Caps on SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlConfig {
    /// Bytes that all queries together may hold to sort, join and aggregate.
    pub max_memory: u64,
    /// Queries under way at once; more are told to come back.
    pub max_queries: usize,
    /// How long one may take, the time included that its reader takes.
    pub timeout: Duration,
}

impl Default for SqlConfig {
    fn default() -> Self {
        Self { max_memory: 256 << 20, max_queries: 2, timeout: Duration::from_secs(60) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7390)),
            store: StoreUrl::Directory(default_directory()),
            lake: None,
            tokens: None,
            allow_anonymous: false,
            tls: TlsConfig::default(),
            shutdown_grace: Duration::from_secs(10),
            limits: Limits {
                max_batch: 8 << 20,
                max_in_flight: 32,
                max_reads: 16,
                max_connections: 1024,
                request_timeout: Duration::from_secs(60),
                idle_timeout: Duration::from_secs(120),
                write_timeout: Duration::from_secs(30),
            },
            sync: SyncConfig { pause: Duration::ZERO, retry_after: Duration::from_secs(5) },
            sql: SqlConfig::default(),
            retention: RetentionConfig::default(),
            log: "info".into(),
        }
    }
}

/// Why a configuration does not hold. The message names the file, line and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {reason}")]
    Unreadable {
        /// Its path.
        file: String,
        /// Why, in the system's words.
        reason: String,
    },
    /// The file is no TOML.
    #[error("{place}: this is not TOML: {reason}")]
    Syntax {
        /// File and line.
        place: String,
        /// The parser's words.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{place}: there is no key `{key}`{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// File and line.
        place: String,
        /// The key as written.
        key: String,
        /// The nearest key there is.
        nearest: Option<String>,
    },
    /// A value which the key does not take.
    #[error("{place}: `{key}`: {reason}")]
    Value {
        /// File and line, flag or variable.
        place: String,
        /// The key.
        key: String,
        /// What it takes.
        reason: String,
    },
    /// Settings that contradict each other or are unsafe together.
    #[error("{0}")]
    Combination(String),
}

impl Config {
    /// Resolves the settings. `flags` are pairs of key and value; `environment` is searched for `PYRALOG_` variables.
    pub fn resolve(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = file {
            file::apply(&mut config, path)?;
        }
        for (name, value) in environment {
            // Other variables may be the agent's, or a later version's.
            if let Some(key) = keys::of_variable(&name) {
                config.set(key, &value, || format!("environment variable {name}"))?;
            }
        }
        for (key, value) in flags {
            config.set(key, value, || keys::as_flag(key))?;
        }
        config.check()?;
        Ok(config)
    }

    /// What a running hub goes by once it was given `new`: its own settings, with those of `new` that can change meanwhile. Also
    /// names the keys that differ and need a restart.
    ///
    /// # Errors
    /// When old and new settings do not go together, such as a listener that stays open and tokens that went.
    pub fn reloaded(&self, new: &Self) -> Result<(Self, Vec<&'static str>), ConfigError> {
        let mut config = self.clone();
        let (live, fixed): (Vec<_>, Vec<_>) = keys::KEYS.iter().partition(|key| key.live);
        for key in live {
            (key.take)(&mut config, new);
        }
        config.check()?;
        Ok((config, fixed.iter().filter(|key| !(key.same)(self, new)).map(|key| key.name).collect()))
    }

    fn set(&mut self, key: &str, value: &str, place: impl Fn() -> String) -> Result<(), ConfigError> {
        let Some(found) = keys::find(key) else {
            let nearest = keys::nearest(key).map(str::to_owned);
            return Err(ConfigError::UnknownKey { place: place(), key: key.into(), nearest });
        };
        (found.set)(self, value).map_err(|reason| ConfigError::Value { place: place(), key: key.into(), reason })
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.check_tls()?;
        if self.tokens.is_some() && self.allow_anonymous {
            let text = "`tokens` and `allow_anonymous` contradict each other: leave one of them out";
            return Err(ConfigError::Combination(text.into()));
        }
        let known = self.tokens.is_some() || self.tls.client_ca.is_some();
        if !known && !self.allow_anonymous && !self.listen.ip().is_loopback() {
            return Err(ConfigError::Combination(format!(
                "`listen = \"{}\"` is open to the network without any credentials: set `tokens` (make some with \
                 `pyralog-hub token new`) or `tls.client_ca`, or listen on 127.0.0.1, or set `allow_anonymous = true` if everybody who can \
                 reach this port may write and read",
                self.listen
            )));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        let tls = &self.tls;
        let text = match (&tls.cert, &tls.key) {
            (Some(_), None) => "`tls.cert` is set and `tls.key` is not: TLS needs both PEM files",
            (None, Some(_)) => "`tls.key` is set and `tls.cert` is not: TLS needs both PEM files",
            (None, None) if tls.client_ca.is_some() => {
                "`tls.client_ca` is set and `tls.cert` is not: clients show certificates over TLS alone; set `tls.cert` \
                 and `tls.key`"
            }
            _ if tls.client_ca.is_none() && (tls.client_auth.is_some() || tls.client_crl.is_some()) => {
                "`tls.client_auth` or `tls.client_crl` is set and `tls.client_ca` is not: set it to the PEM file of the \
                 authorities that sign clients' certificates"
            }
            _ if tls.client_ca.is_some() && self.allow_anonymous => {
                "`tls.client_ca` and `allow_anonymous` contradict each other: leave one of them out"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Combination(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hub.toml");
        std::fs::write(&file, text).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Config::resolve(Some(&file), env, &flags)
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let file = "listen = \"127.0.0.1:1\"\n[limits]\nmax_in_flight = 7\nmax_reads = 3\n[sync]\npause = \"2s\"";
        let env =
            [("PYRALOG_LISTEN", "127.0.0.1:2"), ("PYRALOG_LIMITS__MAX_READS", "4"), ("PYRALOG_MQTT__LISTEN", "x")];
        let config = resolve(file, &env, &[("listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!((config.limits.max_in_flight, config.limits.max_reads), (7, 4));
        assert_eq!(config.sync.pause, Duration::from_secs(2));
        assert_eq!(config.limits.max_batch, Config::default().limits.max_batch);
    }

    #[test]
    fn a_mistake_names_file_line_and_key() {
        let cases = [
            ("\n[limits]\nmax_bacth = 1", "hub.toml:3", "did you mean `limits.max_batch`?"),
            ("lisen = \"x\"", "hub.toml:1", "did you mean `listen`?"),
            ("[retention]\nmax_aeg = \"1d\"", "hub.toml:2", "did you mean `retention.max_age`?"),
            ("[retention]\nmax_bytes = \"much\"", "hub.toml:2", "`retention.max_bytes`"),
            ("[[retention.log]]\nlog = \"x\"\nmax_bites = 3", "hub.toml:3", "did you mean `retention.log.max_bytes`?"),
            ("[retention]\nlog = \"x\"", "hub.toml:2", "[[retention.log]]"),
            ("[[retention.log]]\nlog = \"x\"", "hub.toml:1", "says nothing"),
            ("\n\nlisten = \"nowhere\"", "hub.toml:3", "`listen`"),
            ("[limits]\nmax_in_flight = 0", "hub.toml:2", "`limits.max_in_flight`"),
            ("[limits]\nmax_in_flight = [1]", "hub.toml:2", "`limits.max_in_flight`"),
            ("limits = 3", "hub.toml:1", "`limits`"),
            ("listen = \"x\"\nlisten = \"y\"", "hub.toml:2", "not TOML"),
            ("a = ", "hub.toml:1", "not TOML"),
        ];
        for (text, place, words) in cases {
            let error = resolve(text, &[], &[]).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_open_listener_without_credentials_is_refused() {
        assert!(matches!(resolve("listen = \"0.0.0.0:7390\"", &[], &[]), Err(ConfigError::Combination(_))));
        assert!(resolve("listen = \"0.0.0.0:7390\"\nallow_anonymous = true", &[], &[]).is_ok());
        assert!(resolve("listen = \"0.0.0.0:7390\"\ntokens = \"/t\"", &[], &[]).is_ok());
        assert!(resolve("allow_anonymous = true\ntokens = \"/t\"", &[], &[]).is_err());
    }

    #[test]
    fn a_reload_takes_over_what_can_change_and_names_the_rest() {
        let old = resolve("listen = \"0.0.0.0:1\"\ntokens = \"/old\"", &[], &[]).unwrap();
        let text = "listen = \"127.0.0.1:2\"\ntokens = \"/new\"\nlog = \"debug\"\n[limits]\nmax_reads = 3\nmax_connections = 9";
        let new = resolve(text, &[], &[]).unwrap();
        let (config, fixed) = old.reloaded(&new).unwrap();
        assert_eq!(fixed, ["listen", "log", "limits.max_connections"]);
        assert_eq!((config.tokens.as_deref(), config.limits.max_reads), (Some(Path::new("/new")), 3));
        assert_eq!((config.listen, config.log.as_str()), (old.listen, "info"));
        assert_eq!(config.limits.max_connections, old.limits.max_connections);
        // Good as a file, and yet the listener that is open would lose its tokens.
        let bare = resolve("listen = \"127.0.0.1:2\"", &[], &[]).unwrap();
        assert!(old.reloaded(&bare).unwrap_err().to_string().contains("without any credentials"));
    }

    #[test]
    fn the_keys_of_tls_go_together_and_a_client_authority_is_a_credential() {
        let all = "[tls]\ncert = \"/c\"\nkey = \"/k\"\nclient_ca = \"/a\"\nclient_auth = \"optional\"";
        let files = resolve(&format!("listen = \"0.0.0.0:7390\"\n{all}"), &[], &[]).unwrap().tls.files().unwrap();
        let clients = |crl: Option<&str>, auth| Some(Clients { ca: "/a".into(), crl: crl.map(PathBuf::from), auth });
        assert_eq!(files.clients, clients(None, ClientAuth::Optional));
        let flags = [("tls.cert", "/c"), ("tls.key", "/k"), ("tls.client_ca", "/a"), ("tls.client_crl", "/l")];
        let files = resolve("", &[], &flags).unwrap().tls.files().unwrap();
        assert_eq!(files.clients, clients(Some("/l"), ClientAuth::Required));
        for (text, words) in [
            ("[tls]\ncert = \"/c\"".to_owned(), "`tls.key` is not"),
            ("[tls]\nkey = \"/k\"".into(), "`tls.cert` is not"),
            ("[tls]\nclient_ca = \"/a\"".into(), "over TLS alone"),
            ("[tls]\ncert = \"/c\"\nkey = \"/k\"\nclient_auth = \"required\"".into(), "`tls.client_ca` is not"),
            ("[tls]\ncert = \"/c\"\nkey = \"/k\"\nclient_crl = \"/l\"".into(), "`tls.client_ca` is not"),
            ("[tls]\nmax_connection_age = \"0s\"".into(), "at least"),
            ("[tls]\nkey = \"credential:../key\"".into(), "names no credential"),
            (format!("allow_anonymous = true\n{all}"), "contradict"),
            ("[tls]\nclient_auth = \"requird\"".into(), "required or optional"),
            ("[tls]\nclient_cert = \"/a\"".into(), "did you mean `tls.c"),
            ("listen = \"0.0.0.0:7390\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"".into(), "without any credentials"),
        ] {
            let error = resolve(&text, &[], &[]).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn the_example_file_documents_every_key_and_its_default() {
        let text = include_str!("../../../examples/config/hub.toml");
        let active: String =
            text.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).flat_map(|line| [line, "\n"]).collect();
        for key in keys::KEYS {
            let last = key.name.rsplit('.').next().unwrap();
            let head = format!("[[{}]]", key.name);
            assert!(
                active.lines().any(|line| line.starts_with(&format!("{last} = ")) || line == head),
                "{} is not documented",
                key.name
            );
        }
        assert!(resolve(text, &[], &[]).is_ok());
        let mut shown = resolve(&active, &[], &[]).unwrap();
        let default = Config::default();
        (shown.tokens, shown.lake, shown.store, shown.tls) = (None, None, default.store.clone(), TlsConfig::default());
        let shown_rules = std::mem::take(&mut shown.retention.rules);
        assert_eq!(shown_rules.len(), 2);
        assert_eq!(shown, default);
    }
}

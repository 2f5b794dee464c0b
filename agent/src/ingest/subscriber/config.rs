//! Where a subscriber connects, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use pyralog_service::tls::{PemError, authorities};
use reqwest::Url;
use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use serde::Deserialize;

/// Topic filters of one broker.
const MAX_TOPICS: usize = 256;

/// The largest packet that is taken if the configuration says nothing.
const DEFAULT_MAX_PACKET: usize = 256 * 1024;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A subscriber as the configuration writes it (`[[mqtt.subscribe]]`).
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeSpec {
    /// `mqtt://host:1883` or `mqtts://host:8883`, with `user:password@` if need be.
    pub url: String,
    /// Topic filters.
    pub topics: Vec<String>,
    /// Names the session at the broker; default: made from the agent's id and the broker.
    pub client_id: Option<String>,
    /// Username, if not in the url.
    pub username: Option<String>,
    /// File with the password, if not in the url.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The largest packet that is taken, in bytes; default 256 KiB.
    pub max_packet: Option<u32>,
}

/// A checked configuration. Its `Debug` and its name hold no credentials.
#[derive(Clone)]
pub struct SubscriberConfig {
    name: String,
    topics: Vec<String>,
    options: MqttOptions,
}

/// What is wrong with a subscriber's configuration.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// The url cannot be read. It is not repeated: it may hold a password.
    #[error("url: expected mqtt://host[:port] or mqtts://host[:port], with user:password@ if need be ({0})")]
    Url(String),
    /// No filters, or too many.
    #[error("topics: give 1 to {MAX_TOPICS} topic filters such as \"plant/#\"")]
    Topics,
    /// A filter that no broker takes.
    #[error("topics: {0:?} is no topic filter: \"+\" stands for a whole level, \"#\" for the rest at the end")]
    Filter(String),
    /// A file that cannot be read.
    #[error("{key} {path:?}: {error}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// No certificates to trust.
    #[error("mqtts: no trusted authorities: install ca-certificates, or give ca_file ({0})")]
    Trust(String),
}

impl fmt::Debug for SubscribeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeSpec").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl fmt::Debug for SubscriberConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberConfig")
            .field("name", &self.name)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl SubscriberConfig {
    /// Checks a specification, and reads the files that it names.
    pub fn new(spec: &SubscribeSpec, agent_id: &str) -> Result<Self, SubscriberError> {
        let url = Url::parse(&spec.url).map_err(|error| SubscriberError::Url(error.to_string()))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| SubscriberError::Url("it has no host".to_owned()))?;
        let tls = match url.scheme() {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            other => return Err(SubscriberError::Url(format!("the scheme is {other:?}"))),
        };
        let port = url.port().unwrap_or(if tls { 8883 } else { 1883 });
        if spec.topics.is_empty() || spec.topics.len() > MAX_TOPICS {
            return Err(SubscriberError::Topics);
        }
        if let Some(bad) = spec.topics.iter().find(|topic| !rumqttc::valid_filter(topic)) {
            return Err(SubscriberError::Filter(bad.clone()));
        }
        let name = format!("{host}:{port}");
        let client_id = spec.client_id.clone().unwrap_or_else(|| format!("pyralog-{agent_id}-{}", short_hash(&name)));
        // An IPv6 host stands in brackets in a url, and without them everywhere else.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut options = MqttOptions::new(client_id, bare, port);
        let max_packet = spec.max_packet.map_or(DEFAULT_MAX_PACKET, |bytes| bytes as usize);
        options.set_clean_session(false).set_keep_alive(KEEP_ALIVE).set_max_packet_size(max_packet, 64 * 1024);
        let username = decoded(url.username()).or_else(|| spec.username.clone());
        if let Some(username) = username {
            let password = match url.password().and_then(decoded) {
                Some(password) => password,
                None => spec.password_file.as_ref().map_or(Ok(String::new()), read_password)?,
            };
            options.set_credentials(username, password);
        }
        if tls {
            options.set_transport(Transport::tls_with_config(tls_config(spec)?));
        }
        Ok(Self { name, topics: spec.topics.clone(), options })
    }

    /// Host and port, for logs and status.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The filters to subscribe to.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The largest packet taken, in bytes.
    pub fn max_packet(&self) -> usize {
        self.options.max_packet_size()
    }

    pub(super) fn options(&self) -> MqttOptions {
        self.options.clone()
    }
}

fn decoded(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| percent_decode_str(text).decode_utf8_lossy().into_owned())
}

fn read_password(path: &PathBuf) -> Result<String, SubscriberError> {
    let text = std::fs::read_to_string(path).map_err(|error| SubscriberError::File {
        key: "password_file",
        path: path.clone(),
        error: error.to_string(),
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Two brokers give two sessions; one broker gives the same session after a restart.
fn short_hash(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn tls_config(spec: &SubscribeSpec) -> Result<TlsConfiguration, SubscriberError> {
    let roots = match &spec.ca_file {
        Some(path) => {
            let roots = authorities(path, "the authority that signed the broker's certificate");
            roots.map_err(|PemError { path, reason, wanted }| SubscriberError::File {
                key: "ca_file",
                path,
                error: format!("{reason}; it must be a PEM file with {wanted}"),
            })?
        }
        None => {
            let mut roots = rustls::RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let errors: Vec<_> = found.errors.iter().take(3).map(ToString::to_string).collect();
                return Err(SubscriberError::Trust(errors.join("; ")));
            }
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SubscriberError::Trust(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(url: &str) -> SubscribeSpec {
        SubscribeSpec { url: url.into(), topics: vec!["plant/#".into()], ..SubscribeSpec::default() }
    }

    #[test]
    fn a_url_gives_broker_and_credentials_and_debug_hides_them() {
        let config = SubscriberConfig::new(&spec("mqtt://bob:s%40fe@broker.example"), "board-17").unwrap();
        assert_eq!(config.name(), "broker.example:1883");
        let login = config.options.credentials().unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str()), ("bob", "s@fe"));
        assert!(!format!("{config:?} {:?}", spec("mqtt://bob:s%40fe@h")).contains("fe@"));
        let again = SubscriberConfig::new(&spec("mqtt://broker.example"), "board-17").unwrap();
        assert_eq!(config.options.client_id(), again.options.client_id(), "a restart finds its session");
        let six = SubscriberConfig::new(&spec("mqtt://[::1]:9"), "a").unwrap();
        assert_eq!(six.options.broker_address(), ("::1".to_owned(), 9));
    }

    #[test]
    fn wrong_configurations_are_named_without_the_url() {
        for url in ["http://host", "mqtt://", "nonsense", "mqtt://user:secret@host:99999"] {
            let error = SubscriberConfig::new(&spec(url), "a").unwrap_err().to_string();
            assert!(error.starts_with("url:") && !error.contains("secret"), "{error}");
        }
        let mut bad = spec("mqtt://h");
        bad.topics = vec!["a/#/b".into()];
        assert!(matches!(SubscriberConfig::new(&bad, "a"), Err(SubscriberError::Filter(_))));
        bad.topics.clear();
        assert!(matches!(SubscriberConfig::new(&bad, "a"), Err(SubscriberError::Topics)));
        let mut bad = spec("mqtts://h");
        bad.ca_file = Some("/does/not/exist.pem".into());
        let error = SubscriberConfig::new(&bad, "a").unwrap_err();
        assert!(matches!(error, SubscriberError::File { key: "ca_file", .. }), "{error}");
    }
}

//! The connection to a NATS cluster, and why it is not there.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{
    Auth, AuthError, Client, ClientError, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr,
};

use super::exchange::chain_of;
use super::url::{JetStreamUrl, Login};
use crate::store::{OpenError, StoreError};

/// How long a server has for one answer. Agents are told to come back well before they give up themselves.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a server has to be connected to.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a server is asked whether it is there. One that leaves two questions unanswered is given up for another: behind a
/// partition a connection stands for hours.
const PING: Duration = Duration::from_secs(3);

/// Longest pause between two tries to connect again.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The oldest servers that this store is made for.
const OLDEST: (u32, u32) = (2, 12);

/// Publishes that wait for their acknowledgement at once: more than batches in work, since each commits one by one.
const MAX_UNDER_WAY: usize = 8_192;

/// What a file of credentials or passwords may hold.
const MAX_LOGIN: u64 = 64 << 10;

/// A connection that comes back by itself.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) streams: Context,
    trouble: Trouble,
}

/// What the servers last said against this client; gone when a connection stands.
#[derive(Debug, Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Connection {
    /// Connects to the first server of `url` that answers.
    pub(super) async fn open(url: &JetStreamUrl) -> Result<Self, OpenError> {
        let trouble = Trouble::default();
        // What cannot be read now will not be read later either.
        auth(&url.login, &[]).map_err(|error| OpenError::Unfit(error.to_string()))?;
        if let Some(ca) = &url.ca {
            let unread =
                |error| OpenError::Unfit(format!("cannot read the authority of NATS, {}: {error}", ca.display()));
            std::fs::File::open(ca).map_err(unread)?;
        }
        let servers: Result<Vec<ServerAddr>, _> = url.addresses().iter().map(|server| server.parse()).collect();
        let servers = servers.map_err(|error| OpenError::Unfit(format!("{url}: {error}")))?;
        let client = options(url, &trouble).connect(servers).await.map_err(|error| cannot_connect(url, &error))?;
        let version = client.server_info().version;
        if is_before(&version, OLDEST) {
            let (major, minor) = OLDEST;
            tracing::warn!(
                "NATS is {version}; this store is made for {major}.{minor} and later, and tested with no other"
            );
        }
        let streams = ContextBuilder::new().timeout(ANSWER).max_ack_inflight(MAX_UNDER_WAY).build(client.clone());
        Ok(Self { client, streams, trouble })
    }

    /// An operation that failed. Where the connection itself is the trouble, the servers' words about it are added.
    pub(super) fn failed(
        &self,
        action: &'static str,
        name: impl Into<String>,
        reason: impl std::fmt::Display,
    ) -> StoreError {
        let reason = match self.trouble.last() {
            Some(trouble) => format!("{reason} ({trouble})"),
            None => reason.to_string(),
        };
        StoreError::Unavailable { action, name: name.into(), reason }
    }
}

impl Trouble {
    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn options(url: &JetStreamUrl, trouble: &Trouble) -> ConnectOptions {
    let (login, trouble) = (url.login.clone(), trouble.clone());
    let remedy = remedy(&login);
    let mut options = ConnectOptions::with_auth_callback(move |nonce| {
        let login = login.clone();
        async move { auth(&login, &nonce).map_err(AuthError::new) }
    });
    if let Some(ca) = &url.ca {
        options = options.add_root_certificates(ca.clone());
    }
    options
        .name("pyralog-hub")
        .require_tls(url.tls)
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        .request_timeout(Some(ANSWER))
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(50).saturating_mul(1 << attempts.min(8)).min(MAX_PAUSE)
        })
        .event_callback(move |event| {
            let (trouble, remedy) = (trouble.clone(), remedy.clone());
            async move { note(&trouble, &remedy, event) }
        })
}

fn note(trouble: &Trouble, remedy: &str, event: Event) {
    match event {
        Event::Connected => {
            tracing::info!("connected to NATS");
            trouble.set(None);
        }
        Event::Disconnected => {
            tracing::warn!("lost the connection to NATS, and connects again");
            // Who is turned away hears why first.
            if trouble.last().is_none_or(|said| !said.ends_with(remedy)) {
                trouble.set(Some("there is no connection to NATS at present".into()));
            }
        }
        Event::ServerError(error) => said(trouble, remedy, &error.to_string()),
        Event::ClientError(ClientError::Other(words)) if is_login(&words) => said(trouble, remedy, &words),
        other => tracing::debug!("NATS: {other}"),
    }
}

/// Notes what NATS says, once however often it says so.
fn said(trouble: &Trouble, remedy: &str, words: &str) {
    let said = match is_login(words) {
        true => format!("NATS says: {words}; {remedy}"),
        false => format!("NATS says: {words}"),
    };
    if trouble.last().as_ref() != Some(&said) {
        tracing::warn!("{said}");
        trouble.set(Some(said));
    }
}

/// Whether these words are about a login: there is no better sign of it.
fn is_login(words: &str) -> bool {
    words.to_ascii_lowercase().contains("auth")
}

/// What to do when servers do not let the hub in.
fn remedy(login: &Login) -> String {
    match login {
        Login::None => "this hub gives no credentials: add ?credentials=FILE, or ?user=NAME&password_file=FILE".into(),
        Login::Credentials(file) | Login::Password(_, file) | Login::Token(file) => {
            format!("renew {}: it is read again at the next try", file.display())
        }
    }
}

fn cannot_connect(url: &JetStreamUrl, error: &ConnectError) -> OpenError {
    let servers = url.servers.join(", ");
    let words = chain_of(error);
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            OpenError::Unfit(format!("NATS at {servers} does not let this hub in: {words}; {}", remedy(&url.login)))
        }
        ConnectErrorKind::ServerParse => OpenError::Unfit(format!("{servers}: {words}")),
        kind => match (of_tls(error), kind) {
            (Some(tls), _) => OpenError::Unfit(format!("NATS at {servers}: {words}; {}", tls_remedy(tls))),
            (None, ConnectErrorKind::Tls) => OpenError::Unfit(format!("NATS at {servers}: {words}")),
            _ => OpenError::Store(StoreError::Unavailable { action: "connect to", name: servers, reason: words }),
        },
    }
}

/// What TLS has against a server, if it is that which failed: the library hides it in an error of input and output.
fn of_tls(error: &ConnectError) -> Option<&rustls::Error> {
    let mut source = error.source();
    while let Some(inner) = source {
        let inside = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls.or_else(|| inner.downcast_ref()) {
            return Some(tls);
        }
        source = inner.source();
    }
    None
}

fn tls_remedy(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Wrong, Error};
    match error {
        Error::InvalidMessage(_) => {
            "it has no TLS, it seems: write nats:// instead of tls://, or give it a certificate"
        }
        Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            "name the server in the address as its certificate does, or make it one for this name"
        }
        Error::InvalidCertificate(
            Wrong::Expired | Wrong::ExpiredContext { .. } | Wrong::NotValidYet | Wrong::NotValidYetContext { .. },
        ) => "renew the server's certificate, or set this machine's clock right",
        _ => "name the authority of its certificate with ?ca=FILE",
    }
}

/// Whether a version such as `2.9.10` is older than `oldest`; of what reads otherwise nothing is known.
fn is_before(version: &str, oldest: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version < oldest)
}

/// What a login says, with `nonce` signed where that is its way.
fn auth(login: &Login, nonce: &[u8]) -> io::Result<Auth> {
    let mut auth = Auth::new();
    match login {
        Login::None => {}
        Login::Token(file) => auth.token = Some(one_line(file)?),
        Login::Password(user, file) => {
            (auth.username, auth.password) = (Some(user.clone()), Some(one_line(file)?));
        }
        Login::Credentials(file) => {
            let text = read(file)?;
            let (jwt, seed) = (between(&text, "NATS USER JWT"), between(&text, "USER NKEY SEED"));
            let (Some(jwt), Some(seed)) = (jwt, seed) else {
                return Err(wrong(file, "it is no file of credentials: `nsc generate creds` writes one"));
            };
            // The library's words may hold the seed.
            let key = nkeys::KeyPair::from_seed(seed).map_err(|_| wrong(file, "the seed in it is no key's"))?;
            auth.signature = Some(key.sign(nonce).map_err(|_| wrong(file, "the seed in it signs nothing"))?);
            auth.jwt = Some(jwt.to_owned());
        }
    }
    Ok(auth)
}

/// What stands on the line after `-----BEGIN what-----`.
fn between<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.by_ref().find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(what))?;
    lines.next().filter(|line| !line.is_empty() && !line.starts_with("---"))
}

fn one_line(file: &Path) -> io::Result<String> {
    let text = read(file)?;
    match text.trim() {
        "" => Err(wrong(file, "it is empty")),
        line if line.contains(['\n', '\r']) => Err(wrong(file, "it has more than one line")),
        line => Ok(line.to_owned()),
    }
}

fn read(file: &Path) -> io::Result<String> {
    let length = std::fs::metadata(file).map_err(|error| wrong(file, &error.to_string()))?.len();
    if length > MAX_LOGIN {
        return Err(wrong(file, "it is too long to be a login"));
    }
    std::fs::read_to_string(file).map_err(|error| wrong(file, &error.to_string()))
}

fn wrong(file: &Path, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot log in to NATS with {}: {reason}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, old) in
            [("2.9.10", true), ("2.11.0", true), ("2.12.0", false), ("2.15.1", false), ("3.0.0-beta", false)]
        {
            assert_eq!(is_before(version, OLDEST), old, "{version}");
        }
        assert!(!is_before("dev", OLDEST));
    }

    #[test]
    fn a_file_of_credentials_gives_its_token_and_a_signature() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hub.creds");
        let key = nkeys::KeyPair::new_user();
        let seed = key.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0eXAi.some.token\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&file, &text).unwrap();
        let auth = auth(&Login::Credentials(file.clone()), b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ0eXAi.some.token"));
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        for damaged in [text.replace(&seed, "SUNOKEY"), text.replace("JWT", "TWJ"), String::new()] {
            std::fs::write(&file, damaged).unwrap();
            let error = super::auth(&Login::Credentials(file.clone()), b"nonce").err().unwrap().to_string();
            assert!(error.contains("hub.creds") && !error.contains(&seed), "{error}");
        }
    }
}

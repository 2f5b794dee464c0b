//! The address of streams, as people write it.
//!
//! ```text
//! nats://host[:port][,host[:port]...]/STREAM[?replicas=N&storage=file|memory&shards=N
//!        &credentials=FILE | &user=NAME&password_file=FILE | &token_file=FILE
//!        &ca=FILE]
//! tls://...                     the same, and never without TLS
//! ```

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use async_nats::jetstream::stream::StorageType;
use pyralog_service::credential_or_path;

const PORT: u16 = 4222;

/// Most streams that agents may be divided among.
const MAX_SHARDS: usize = 64;

/// What JetStream can keep copies of.
const MAX_REPLICAS: usize = 5;

/// Servers that one address may name.
const MAX_SERVERS: usize = 32;

/// Longest name of a stream: what is named after it must stay within what servers take.
const MAX_NAME: usize = 64;

/// Streams of a NATS cluster. No secret is in it: addresses are shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JetStreamUrl {
    /// `host:port` of servers; one is enough, since a server tells of the others.
    pub servers: Vec<String>,
    /// Never without TLS.
    pub tls: bool,
    /// The stream's name.
    pub stream: String,
    /// Copies of each message; `None` takes what is there, or makes three in a cluster and one elsewhere.
    pub replicas: Option<usize>,
    /// Where servers keep messages; `None` takes what is there, or makes files.
    pub storage: Option<StorageType>,
    /// Streams among which agents are divided.
    pub shards: usize,
    /// How the hub says who it is.
    pub login: Login,
    /// Authorities of the servers' certificates, PEM; else the system's.
    pub ca: Option<PathBuf>,
}

/// How a hub says who it is. Files are read at each connection, so that a renewed one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// It does not.
    None,
    /// A file of credentials as `nsc` writes them: a JWT and the seed of its key.
    Credentials(PathBuf),
    /// A name, and a file with its password.
    Password(String, PathBuf),
    /// A file with a token.
    Token(PathBuf),
}

impl FromStr for JetStreamUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, stream) = place.split_once('/').unwrap_or((place, ""));
        if hosts.contains('@') {
            return Err("an address is shown and logged, so it takes no password: write ?credentials=FILE, or \
                        ?user=NAME&password_file=FILE"
                .into());
        }
        let mut url = Self {
            servers: hosts.split(',').map(server).collect::<Result<_, _>>()?,
            tls: scheme == "tls",
            stream: stream_name(stream.trim_end_matches('/'))?,
            replicas: None,
            storage: None,
            shards: 1,
            login: Login::None,
            ca: None,
        };
        if url.servers.len() > MAX_SERVERS {
            return Err(format!("{MAX_SERVERS} servers are enough: each tells of the others"));
        }
        let mut user = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            url.set(pair, &mut user)?;
        }
        url.login = match (url.login, user) {
            (login, None) => login,
            (Login::Password(_, file), Some(user)) => Login::Password(user, file),
            (_, Some(_)) => return Err("user= needs password_file=FILE beside it".into()),
        };
        match &url.login {
            Login::Password(user, _) if user.is_empty() => Err("password_file= needs user=NAME beside it".into()),
            _ => Ok(url),
        }
    }
}

impl JetStreamUrl {
    fn set(&mut self, pair: &str, user: &mut Option<String>) -> Result<(), String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| format!("{key}= is not UTF-8"))?
            .into_owned();
        let number = |most: usize| match value.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(format!("{key}={value}: write a number from 1 to {most}")),
        };
        let mut log_in = |login| match self.login {
            Login::None => {
                self.login = login;
                Ok(())
            }
            _ => Err(format!("{key}= beside another way to log in: one is enough")),
        };
        match key {
            "replicas" => self.replicas = Some(number(MAX_REPLICAS)?),
            "shards" => self.shards = number(MAX_SHARDS)?,
            "storage" => {
                self.storage = Some(match value.as_str() {
                    "file" => StorageType::File,
                    "memory" => StorageType::Memory,
                    _ => return Err(format!("storage={value}: write file or memory")),
                });
            }
            "credentials" => log_in(Login::Credentials(credential_or_path(&value)?))?,
            "token_file" => log_in(Login::Token(credential_or_path(&value)?))?,
            "password_file" => log_in(Login::Password(String::new(), credential_or_path(&value)?))?,
            "user" => *user = Some(value),
            "ca" => self.ca = Some(credential_or_path(&value)?),
            _ => {
                return Err(format!(
                    "{key:?} is not known in the address of streams; there are replicas, storage, shards, credentials, \
                     user, password_file, token_file and ca"
                ));
            }
        }
        Ok(())
    }

    /// The streams' names: one for each shard.
    pub(super) fn streams(&self) -> Vec<String> {
        match self.shards {
            1 => vec![self.stream.clone()],
            shards => (0..shards).map(|shard| format!("{}-{shard}", self.stream)).collect(),
        }
    }

    /// The bucket of everything that is not an entry.
    pub(super) fn bucket(&self) -> String {
        format!("{}-state", self.stream)
    }

    /// What connects to the servers.
    pub(super) fn addresses(&self) -> Vec<String> {
        let scheme = if self.tls { "tls" } else { "nats" };
        self.servers.iter().map(|server| format!("{scheme}://{server}")).collect()
    }
}

impl fmt::Display for JetStreamUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(out, "{scheme}://{}/{}", self.servers.join(","), self.stream)?;
        let mut wanted = Vec::new();
        wanted.extend(self.replicas.map(|replicas| format!("replicas={replicas}")));
        wanted.extend(self.storage.map(|storage| format!("storage={}", word(storage))));
        wanted.extend((self.shards > 1).then(|| format!("shards={}", self.shards)));
        match wanted.is_empty() {
            true => Ok(()),
            false => write!(out, "?{}", wanted.join("&")),
        }
    }
}

/// How people write a kind of storage.
pub(super) fn word(storage: StorageType) -> &'static str {
    match storage {
        StorageType::File => "file",
        StorageType::Memory => "memory",
    }
}

fn server(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} names no server; write nats://host:4222/STREAM");
    let port = match text.strip_prefix('[') {
        Some(six) => six.split_once(']').ok_or_else(wrong)?.1.strip_prefix(':'),
        None => text.split_once(':').map(|(_, port)| port),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
    if text.is_empty() || text.starts_with(':') || !text.bytes().all(valid) {
        return Err(wrong());
    }
    match port {
        None => Ok(format!("{text}:{PORT}")),
        Some(port) => match port.parse::<u16>() {
            Ok(1..) => Ok(text.to_owned()),
            _ => Err(wrong()),
        },
    }
}

fn stream_name(name: &str) -> Result<String, String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match name {
        "" => Err("which stream? Write nats://host:4222/STREAM, e.g. nats://127.0.0.1:4222/PYRALOG".into()),
        name if name.len() <= MAX_NAME && name.bytes().all(valid) => Ok(name.to_owned()),
        name => Err(format!("{name:?} is no name of a stream: up to {MAX_NAME} letters, digits, - and _")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_servers_stream_and_what_to_make() {
        let url: JetStreamUrl =
            "nats://one,two:4223,[::1]:4224/FLEET?replicas=3&storage=memory&shards=2".parse().unwrap();
        assert_eq!(url.servers, ["one:4222", "two:4223", "[::1]:4224"]);
        assert_eq!((url.replicas, url.storage), (Some(3), Some(StorageType::Memory)));
        assert_eq!(url.streams(), ["FLEET-0", "FLEET-1"]);
        assert_eq!(url.to_string().parse::<JetStreamUrl>().unwrap(), url);
    }

    #[test]
    fn what_is_wrong_in_an_address_is_named_with_the_remedy() {
        for (text, remedy) in [
            ("nats://host", "which stream"),
            ("nats:///S", "names no server"),
            ("nats://host:0/S", "names no server"),
            ("nats://me:secret@host/S", "password_file"),
            ("nats://host/a.b", "letters, digits"),
            ("nats://host/S?replicas=9", "1 to 5"),
            ("nats://host/S?storage=tape", "file or memory"),
            ("nats://host/S?copies=3", "replicas, storage"),
            ("nats://host/S?user=hub", "password_file"),
            ("nats://host/S?password_file=/p", "user=NAME"),
            ("nats://host/S?token_file=/t&credentials=/c", "one is enough"),
        ] {
            let error = text.parse::<JetStreamUrl>().unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

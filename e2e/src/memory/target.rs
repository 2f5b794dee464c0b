//! The agent as its clients see it, and what they note of its answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Result;
use crate::agent::Agent;

/// Different answers that are told apart; what comes beyond is counted together.
const MAX_KINDS: usize = 24;

/// Where to send to, and until when.
#[derive(Debug, Clone)]
pub struct Target {
    /// The MQTT endpoint.
    pub mqtt: SocketAddr,
    /// The HTTP endpoint.
    pub http: SocketAddr,
    /// The end of the case.
    pub until: Instant,
    /// The way through the TLS of the HTTP endpoint, if it has any.
    pub tls: Option<Arc<ClientConfig>>,
    /// The cap of the agent, in bytes.
    pub cap: u64,
    /// What its clients got.
    pub answers: Arc<Answers>,
}

/// How often clients got which answer.
#[derive(Debug, Default)]
pub struct Answers(Mutex<BTreeMap<String, u64>>);

impl Answers {
    /// Counts one.
    pub fn note(&self, answer: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.len() < MAX_KINDS || counts.contains_key(answer);
        *counts.entry(if known { answer } else { "other" }.to_owned()).or_default() += 1;
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Target {
    /// A target of `agent` for the next `length`.
    ///
    /// # Errors
    /// When its certificate is none.
    pub fn new(agent: &Agent, cap: u64, length: Duration) -> Result<Self> {
        let (mqtt, http) = (agent.mqtt, agent.http);
        let tls = agent.ca.as_deref().map(trusting).transpose()?;
        Ok(Self { mqtt, http, tls, until: Instant::now() + length, cap, answers: Arc::default() })
    }

    /// Whether time is up.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for the end.
    pub async fn over(&self) {
        tokio::time::sleep_until(self.until.into()).await;
    }

    /// Runs `work` until the end at the latest; `None` if it was cut off.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.until.into(), work).await.ok()
    }

    /// Sends a request of these bytes on a new connection and gives the status of the answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn exchange(&self, request: &[u8]) -> Result<u16> {
        exchange(TcpStream::connect(self.http).await?, request).await
    }

    /// Shakes hands with the HTTP endpoint, which must speak TLS.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn shake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let config = self.tls.clone().ok_or("the agent speaks no TLS")?;
        Ok(TlsConnector::from(config)
            .connect(ServerName::from(self.http.ip()), stream)
            .await
            .map_err(|_| "no handshake")?)
    }

    /// Counts an answer.
    pub fn note(&self, answer: &str) {
        self.answers.note(answer);
    }

    /// A connection to the MQTT endpoint that was let in; otherwise says why not.
    ///
    /// # Errors
    /// When the agent closes, or refuses, or stays silent for `patience`.
    pub async fn mqtt_in(&self, connect: &[u8], patience: Duration) -> Result<TcpStream> {
        mqtt_in(TcpStream::connect(self.mqtt), connect, patience).await
    }
}

fn trusting(ca: &Path) -> Result<Arc<ClientConfig>> {
    // An error means that it is installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// As [`Target::mqtt_in`].
///
/// # Errors
/// When the agent closes, or refuses, or stays silent for `patience`.
pub async fn mqtt_in(
    opened: impl Future<Output = std::io::Result<TcpStream>>,
    connect: &[u8],
    patience: Duration,
) -> Result<TcpStream> {
    let admitted = async {
        let mut stream = opened.await?;
        stream.set_nodelay(true)?;
        stream.write_all(connect).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.map_err(|_| "closed before CONNACK")?;
        if answer[..2] != [0x20, 2] || answer[3] != 0 {
            return Err(format!("CONNACK code {}", answer[3]).into());
        }
        Ok(stream)
    };
    tokio::time::timeout(patience, admitted).await.map_err(|_| "no CONNACK")?
}

/// Sends a request of these bytes and gives the status of the answer.
///
/// # Errors
/// When there is none.
pub async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Result<u16> {
    // A server that refuses closes before it has read all; its answer counts, not that.
    let sent = stream.write_all(request).await;
    match status(&mut stream).await {
        Ok(status) => Ok(status),
        Err(error) => sent.map_err(Into::into).and(Err(error)),
    }
}

/// Reads the status of an answer.
///
/// # Errors
/// When none comes.
pub async fn status(stream: &mut (impl AsyncRead + Unpin)) -> Result<u16> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.map_err(|_| "closed without an answer")?;
    let text = std::str::from_utf8(&head[9..])?;
    Ok(text.parse()?)
}

/// The bytes of a POST with its whole body.
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = head(path, headers, body.len() as u64);
    out.extend_from_slice(body);
    out
}

/// The head of a POST that announces a body.
pub fn head(path: &str, headers: &str, length: u64) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: agent\r\ncontent-length: {length}\r\n{headers}\r\n").into_bytes()
}

//! One exchange with a hub over HTTP.

use super::SyncConfig;
use bytes::Bytes;
use pyralog_service::Watched;
use pyralog_service::tls::client::{ClientTlsError, Named, explained, innermost};
use pyralog_service::without_password;
use pyralog_sync_protocol::Failure;
use pyralog_sync_protocol::frame::CONTENT_TYPE;
use reqwest::header::{CONTENT_TYPE as CONTENT_TYPE_HEADER, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Largest answer that is read: every log with a cursor, twice over.
const MAX_REPLY: usize = 2 << 20;
/// Largest text of a foreign error that is kept.
const MAX_MESSAGE: usize = 300;

/// Why no client can be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("sync.upstream = {url:?} is not a URL of a hub ({why}): write for example \"http://hub.example:7390\"")]
    Url {
        /// The configured text, without a password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The certificates of the configuration cannot be used.
    #[error("sync.ca_file, sync.cert_file, sync.key_file: {0}")]
    Tls(#[from] ClientTlsError),
    /// The HTTP client does not come up (no TLS roots on this machine, for example).
    #[error("the HTTP client for sync cannot be set up: {}", innermost(.0))]
    Setup(#[from] reqwest::Error),
}

/// Speaks to one hub. `Debug` hides a password in the URL.
#[derive(Clone)]
pub struct HubClient {
    /// Made anew when the certificates change.
    http: Arc<Watched<Client>>,
    hello: Url,
    batch: Url,
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for HubClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hub = self.hello.origin().ascii_serialization();
        f.debug_struct("HubClient").field("hub", &hub).field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl HubClient {
    /// A client for each hub of `config`, in its order.
    pub fn all(config: &SyncConfig) -> Result<Vec<Self>, ClientError> {
        let (tls, timeout) = (config.tls.clone(), config.timeout);
        let http = Watched::open("certificates for sync", tls.files(), move || -> Result<_, ClientError> {
            let builder = Client::builder()
                // Whatever features the program is built with: one exchange at a time gains nothing of HTTP/2.
                .http1_only()
                .user_agent(concat!("pyralog-agent/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeout.min(Duration::from_secs(10)))
                .timeout(timeout)
                // One exchange at a time needs one connection; a hub behind an address that moves is found again soon.
                .pool_max_idle_per_host(1)
                .pool_idle_timeout(Duration::from_secs(90))
                .redirect(reqwest::redirect::Policy::none());
            Ok(tls.apply(builder)?.build()?)
        })?;
        let http = Arc::new(http);
        config.upstream.iter().map(|url| Self::new(Arc::clone(&http), url, config)).collect()
    }

    fn new(http: Arc<Watched<Client>>, url: &str, config: &SyncConfig) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::Url { url: without_password(url), why };
        let base = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(bad("it needs http:// or https:// and a host".into()));
        }
        let path = |what: &str| {
            let mut url = base.clone();
            match url.path_segments_mut() {
                Ok(mut parts) => {
                    parts.pop_if_empty().extend(["v1", "sync", config.agent_id.as_str(), what]);
                }
                Err(()) => return Err(bad("it has no path".into())),
            }
            Ok(url)
        };
        let (hello, batch) = (path("hello")?, path("batch")?);
        Ok(Self { http, hello, batch, token_file: config.token_file.clone() })
    }

    /// Sends a message and gives the bytes of the protocol's answer.
    pub async fn exchange(&self, hello: bool, message: Bytes) -> Result<Vec<u8>, Failure> {
        let url = if hello { &self.hello } else { &self.batch };
        let mut request = self.http.get().post(url.clone()).header(CONTENT_TYPE_HEADER, CONTENT_TYPE).body(message);
        if let Some(token) = self.token()? {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| Failure::Transport(self.words(&error)))?;
        let answers = response.headers().get(CONTENT_TYPE_HEADER).is_some_and(|kind| kind == CONTENT_TYPE);
        if answers {
            return self.read(response, MAX_REPLY).await;
        }
        Err(self.foreign(response).await)
    }

    /// The token as it stands in its file now, so that a changed one is taken without a restart.
    fn token(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Transport(format!("the token file {} cannot be read: {error}", path.display()))
        })?;
        Ok(Some(text.trim().to_owned()))
    }

    async fn read(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Failure::Transport(self.words(&error)))? {
            if body.len() + chunk.len() > limit {
                return Err(Failure::Transport(format!("the hub's answer is over the limit of {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// An answer that is not of the protocol: a proxy, a wrong address, a refused token.
    async fn foreign(&self, response: Response) -> Failure {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let said = self.read(response, 64 << 10).await.unwrap_or_default();
        let said = words_of(&said);
        let message = match (status, &self.token_file) {
            (StatusCode::UNAUTHORIZED, Some(path)) => {
                format!("the hub refused the token in {}: put a token of this agent there. {said}", path.display())
            }
            (StatusCode::UNAUTHORIZED, None) => format!("the hub asks for a token: set sync.token_file. {said}"),
            (StatusCode::FORBIDDEN, _) => format!("the hub refused this agent: {said}"),
            (status, _) if status.is_success() => {
                format!("{} does not answer as a hub: check sync.upstream", self.hello.origin().ascii_serialization())
            }
            _ => said,
        };
        Failure::Status { code: status.as_u16(), message, retry_after: retry_after.map(Duration::from_secs) }
    }

    /// What went wrong with the transport, with its causes, without the URL (it may hold a password).
    fn words(&self, error: &reqwest::Error) -> String {
        let host = self.hello.host_str().unwrap_or_default();
        let port = self.hello.port_or_known_default().unwrap_or_default();
        if error.is_timeout() {
            return format!("{host}:{port} did not answer in time");
        }
        let what = if error.is_connect() { "cannot be reached" } else { "broke off the exchange" };
        let why = explained(error, NAMED);
        format!("{host}:{port} {what}: {why}")
    }
}

const NAMED: Named = Named { url: "sync.upstream", ca: "sync.ca_file", cert: "sync.cert_file" };

/// The error of a JSON answer, else its text, fit for a log.
fn words_of(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    let text = error.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}

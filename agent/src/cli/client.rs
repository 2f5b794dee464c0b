//! The HTTP client of `status` and `read`.

use std::process::ExitCode;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pyralog_service::tls::client::{ClientTls, Named, explained, innermost};
use pyralog_service::without_password;

use super::AgentArgs;

const DEFAULT_URL: &str = "http://127.0.0.1:7380";

const NAMED: Named = Named { url: "--url", ca: "--ca-file", cert: "a certificate, which the agent does not ask for" };

/// A running agent to ask.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    /// The same, fit for a screen.
    shown: String,
    token: Option<String>,
}

impl Client {
    /// # Errors
    /// A sentence: the token file cannot be read, or TLS cannot start.
    pub(super) fn new(args: AgentArgs) -> Result<Self, String> {
        let url = args.url.or_else(|| std::env::var("PYRALOG_URL").ok()).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let token = match args.token_file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                text.lines().next().map(|line| line.trim().to_owned())
            }
            None => std::env::var("PYRALOG_TOKEN").ok(),
        };
        pyralog_service::tls::install_provider();
        let tls = ClientTls { ca: args.ca_file, identity: None };
        let builder =
            tls.apply(reqwest::Client::builder().http1_only()).map_err(|error| format!("--ca-file: {error}"))?;
        let http = builder.build().map_err(|error| format!("cannot start the client: {}", innermost(&error)))?;
        let shown = without_password(&url);
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), shown, token: token.filter(|t| !t.is_empty()) })
    }

    /// Sends a GET for `path` and gives a successful answer.
    ///
    /// # Errors
    /// A sentence that names the URL and what to do.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Response, String> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let url = format!("{}{path}{}{}", self.url, if query.is_empty() { "" } else { "?" }, query.join("&"));
        let mut request = self.http.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| {
            format!("cannot reach {}: {}; does the agent run there? (--url)", self.shown, explained(&error, NAMED))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        let said = serde_json::from_str::<serde_json::Value>(&body).ok();
        let said = said.as_ref().and_then(|body| body.get("error")?.as_str()).unwrap_or(&body);
        let remedy = if status == reqwest::StatusCode::UNAUTHORIZED { " (--token-file)" } else { "" };
        Err(format!("{} answered {status}: {said}{remedy}", self.shown))
    }
}

/// A log's name as one segment of a path.
pub(super) fn path_segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// Runs a client command on this thread.
pub(super) fn block_on(command: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(1, format_args!("cannot start: {error}")),
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => super::fail(1, message),
    }
}

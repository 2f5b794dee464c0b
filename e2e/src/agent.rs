//! A running `pyralog-agent`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use crate::account::LogStatus;
use crate::process::{Process, address_in, binary};
use crate::table::Table;
use crate::{Result, http, process, wait};

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct Options {
    id: String,
    settings: Vec<(String, String)>,
    toml: String,
    descriptors: Option<u32>,
    ca: Option<PathBuf>,
    env: Vec<(String, String)>,
    native: bool,
}

/// A running agent and the way to talk to it.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// Base URL of its HTTP API, without a slash at the end.
    pub url: String,
    /// Where it takes HTTP.
    pub http: SocketAddr,
    /// Where it takes MQTT.
    pub mqtt: SocketAddr,
    /// Which certificate its HTTP API has, if it speaks TLS.
    pub ca: Option<PathBuf>,
    client: Client,
}

impl Options {
    /// An agent called `id` that syncs often and reads no host values.
    pub fn new(id: &str) -> Self {
        let options = Self {
            id: id.to_owned(),
            settings: Vec::new(),
            toml: String::new(),
            descriptors: None,
            ca: None,
            env: Vec::new(),
            native: false,
        };
        options.set("host.enabled", "false").set("sync.interval", "100ms")
    }

    /// Ships to this hub.
    #[must_use]
    pub fn upstream(self, hub: SocketAddr) -> Self {
        self.set("sync.upstream", &format!("http://{hub}"))
    }

    /// Sets a key of the configuration.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(set, _)| set != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds tables to the configuration file, such as routes.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self
    }

    /// Speaks HTTPS with this certificate and its key; what asks it trusts the certificate.
    #[must_use]
    pub fn https(self, cert: &Path, key: &Path) -> Self {
        let options = self.set("http.tls_cert", &cert.display().to_string());
        Self { ca: Some(cert.to_owned()), ..options.set("http.tls_key", &key.display().to_string()) }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the agent that is built for this machine, whichever is under test.
    #[must_use]
    pub fn native(mut self) -> Self {
        self.native = true;
        self
    }

    /// Lets it open this many files and sockets at most.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Starts the agent on free ports, its files in `folder`, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&self, folder: &Path) -> Result<Agent> {
        let mut words = if self.native { vec![binary("pyralog-agent")?.into()] } else { process::agent()? };
        if let Some(most) = self.descriptors {
            words.splice(..0, ["prlimit".into(), format!("--nofile={most}:{most}").into()]);
        }
        let mut command = Command::new(words.remove(0));
        command.args(words).current_dir(folder).envs(self.env.iter().cloned()).arg("serve").args([
            "--agent-id",
            &self.id,
            "--memory-only",
        ]);
        command.args(["--http-listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"]);
        if !self.toml.is_empty() {
            let file = folder.join(format!("{}.toml", self.id));
            std::fs::write(&file, &self.toml)?;
            command.arg("--config").arg(file);
        }
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let mut process = Process::start("pyralog-agent", command)?;
        let found = process.find("its addresses", |text| Some((address_in(text, "http")?, address_in(text, "mqtt")?)));
        let (http, mqtt) = found.await?;
        let (scheme, client) = match &self.ca {
            None => ("http", http::client()?),
            Some(ca) => ("https", http::trusting(ca, None)?),
        };
        let agent = Agent { process, url: format!("{scheme}://{http}"), http, mqtt, ca: self.ca.clone(), client };
        wait::until("the agent to be ready", wait::LONG, async || {
            http::bytes(agent.client.get(format!("{}/readyz", agent.url))).await.map(Some)
        })
        .await?;
        Ok(agent)
    }
}

impl Agent {
    /// Sends line protocol in one request.
    ///
    /// # Errors
    /// When the agent refuses any of it.
    pub async fn write(&self, lines: String) -> Result<()> {
        http::bytes(self.client.post(format!("{}/api/v2/write?precision=ns", self.url)).body(lines)).await?;
        Ok(())
    }

    /// A request to `path`, for what the other methods do not do.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn status(&self) -> Result<Value> {
        http::json(self.client.get(format!("{}/v1/status", self.url))).await
    }

    /// The account of one log; all zeros if there is none.
    ///
    /// # Errors
    /// When the agent does not answer, or its sums are wrong.
    pub async fn log(&self, log: &str) -> Result<LogStatus> {
        let status = self.status().await?;
        LogStatus::read(&status["logs"][log]).map_err(|error| format!("log {log}: {error}").into())
    }

    /// All records of a log that are in the ring.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn records(&self, log: &str, query: &str) -> Result<Table> {
        let url = format!("{}/v1/logs/{log}/records?{query}", self.url);
        let request = self.client.get(url).header("accept", "application/vnd.apache.arrow.stream");
        Table::read(&http::bytes(request).await?)
    }

    /// Waits until the hub has, or has receipts for, all that `log` accepted.
    ///
    /// # Errors
    /// When that does not happen in time; with what the agent said.
    pub async fn drained(&self, log: &str, limit: Duration) -> Result<LogStatus> {
        let what = format!("log {log} to be drained");
        let drained = wait::until(&what, limit, async || {
            let account = self.log(log).await?;
            if account.pending == 0 { Ok(Some(account)) } else { Err(format!("{account:?}").into()) }
        });
        drained.await.map_err(|error| format!("{error}; the agent said:\n{}", self.process.said()).into())
    }
}

//! A running `pyralog-hub` that can be killed and started again at the same address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use crate::account::EpochAccount;
use crate::process::{Process, address_in, binary};
use crate::table::Table;
use crate::{Result, http, wait};

/// A hub, running or not; over a directory, if nothing else was said.
#[derive(Debug)]
pub struct Hub {
    /// Where it listens.
    pub address: SocketAddr,
    /// The directory of its store.
    pub store: PathBuf,
    /// The address of another store.
    elsewhere: Option<String>,
    process: Option<Process>,
    client: Client,
    env: Vec<(String, String)>,
    scheme: &'static str,
}

impl Hub {
    /// A hub that is not there yet, at an address that is free now.
    ///
    /// # Errors
    /// When no address is free.
    pub fn absent(folder: &Path) -> Result<Self> {
        let address = crate::process::free_address()?;
        let (client, store) = (http::client()?, folder.join("store"));
        Ok(Self { address, store, elsewhere: None, process: None, client, env: Vec::new(), scheme: "http" })
    }

    /// A running hub.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(folder: &Path) -> Result<Self> {
        let mut hub = Self::absent(folder)?;
        hub.up().await?;
        Ok(hub)
    }

    /// Reads with this token from now on.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn authorize(&mut self, token: &str) -> Result<()> {
        self.client = http::authorized(token)?;
        Ok(())
    }

    /// Sets a key of the configuration, from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.env.push((format!("PYRALOG_{}", key.to_uppercase().replace('.', "__")), value.to_owned()));
    }

    /// Keeps entries in the store at `url`, from the next start on.
    pub fn keep_in(&mut self, url: String) {
        self.elsewhere = Some(url);
    }

    /// Its store, as commands take it.
    pub fn store_url(&self) -> String {
        self.elsewhere.clone().unwrap_or_else(|| format!("file://{}", self.store.display()))
    }

    /// Sets a variable of its environment, from the next start on.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Talks to it over TLS by `client`, from now on.
    pub fn speak_tls(&mut self, client: Client) {
        (self.scheme, self.client) = ("https", client);
    }

    /// Starts it and waits until it answers; does nothing if it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn up(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.store)?;
        let mut command = Command::new(binary("pyralog-hub")?);
        command.arg("serve").arg("--listen").arg(self.address.to_string());
        command.arg("--store").arg(self.store_url()).envs(self.env.iter().cloned());
        self.run(command).await
    }

    /// Starts it by a command of the caller's.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn run(&mut self, command: Command) -> Result<()> {
        let mut process = Process::start("pyralog-hub", command)?;
        self.address = process.find("its address", |text| address_in(text, "listening on")).await?;
        self.process = Some(process);
        let health = format!("{}/healthz", self.url());
        wait::until("the hub to answer", wait::LONG, async || http::bytes(self.client.get(&health)).await.map(Some))
            .await?;
        Ok(())
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Base URL of its API, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The account of a log, with its sums checked.
    ///
    /// # Errors
    /// When there is none, or it is wrong.
    pub async fn account(&self, agent: &str, log: &str) -> Result<Vec<EpochAccount>> {
        let request = self.client.get(format!("{}/v1/agents/{agent}/logs/{log}", self.url()));
        EpochAccount::read_all(&http::json(request).await?)
    }

    /// All records of a log, every epoch.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn records(&self, agent: &str, log: &str) -> Result<Table> {
        self.select(agent, log, "").await
    }

    /// The records of a log that a query string selects.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn select(&self, agent: &str, log: &str, query: &str) -> Result<Table> {
        let request = self.client.get(format!("{}/v1/agents/{agent}/logs/{log}/records?{query}", self.url()));
        Table::read(&http::bytes(request.header("accept", "application/vnd.apache.arrow.stream")).await?)
    }

    /// The rows of a query's answer, each an object.
    ///
    /// # Errors
    /// When the query fails, or takes more than ten minutes.
    pub async fn sql(&self, query: &str) -> Result<Vec<Value>> {
        let request = self.client.post(format!("{}/v1/sql", self.url())).timeout(Duration::from_secs(600));
        let rows = http::bytes(request.body(query.to_owned())).await?;
        let rows = rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
        rows.map(|row| Ok(serde_json::from_slice(row)?)).collect()
    }

    /// A page of its own, such as `/metrics`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn page(&self, path: &str) -> Result<String> {
        let body = http::bytes(self.client.get(format!("{}{path}", self.url()))).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Walks the stored chain with `pyralog-hub verify`.
    ///
    /// # Errors
    /// When it finds a fault.
    pub fn verify(&self) -> Result<String> {
        let mut command = Command::new(binary("pyralog-hub")?);
        let out = command.arg("verify").arg("--store").arg(self.store_url()).envs(self.env.iter().cloned()).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if out.status.success() { Ok(said) } else { Err(format!("verify: {}: {said}", out.status).into()) }
    }
}

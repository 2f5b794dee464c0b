//! A NATS cluster with JetStream: real servers on this machine, each of which can be killed and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{Process, free_address};
use crate::{Result, http, python, wait};

/// The program, which `cargo xtask setup` installs.
const SERVER: &str = "nats-server";

/// Lines of each server that are shown after a failure.
const LAST_LINES: usize = 25;

/// Servers that form one cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    client: SocketAddr,
    route: SocketAddr,
    monitor: SocketAddr,
    config: PathBuf,
    process: Option<Process>,
}

impl Cluster {
    /// A running cluster of `count` servers, with their files in `folder`; one server stands alone.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn start(folder: &Path, count: usize) -> Result<Self> {
        Self::with(folder, count, "").await
    }

    /// The same, with more lines for each server's configuration.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn with(folder: &Path, count: usize, more: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut nodes = Vec::new();
        for index in 0..count {
            nodes.push(Node {
                name: format!("n{index}"),
                client: free_address()?,
                route: free_address()?,
                monitor: free_address()?,
                config: folder.join(format!("n{index}.conf")),
                process: None,
            });
        }
        let routes: Vec<_> = nodes.iter().map(|node| format!("nats-route://{}", node.route)).collect();
        for node in &nodes {
            std::fs::write(&node.config, node.configuration(folder, count, &routes, more))?;
        }
        let mut cluster = Self { nodes };
        cluster.up().await?;
        Ok(cluster)
    }

    /// Starts all servers that do not run, and waits until JetStream is there.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn up(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.start()?;
        }
        for node in &self.nodes {
            let health = format!("http://{}/healthz", node.monitor);
            let client = http::client()?;
            wait::until("NATS to be healthy", wait::LONG, async || http::bytes(client.get(&health)).await.map(Some))
                .await?;
        }
        Ok(())
    }

    /// Servers.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Kills one server as `kill -9` does.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// Starts one server, without waiting for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node].start()
    }

    /// Sends a running server a signal by its name.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn signal(&self, node: usize, name: &str) -> Result<()> {
        self.nodes[node].process.as_ref().map_or(Ok(()), |process| process.signal(name))
    }

    /// The last words of each server that runs, for whoever reads of a failure.
    pub fn said(&self) -> String {
        let last_words = |node: &Node| {
            let said = node.process.as_ref().map(Process::said).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            format!("--- {} (clients at {}) said at last:\n{last}\n", node.name, node.client)
        };
        self.nodes.iter().map(last_words).collect()
    }

    /// The servers that run.
    pub fn processes(&self) -> Vec<&Process> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).collect()
    }

    /// The store's address: all servers, and this stream.
    pub fn url(&self, stream: &str) -> String {
        let servers: Vec<_> = self.nodes.iter().map(|node| node.client.to_string()).collect();
        format!("nats://{}/{stream}", servers.join(","))
    }

    /// The server that leads a stream, if any says so.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn leader(&self, stream: &str) -> Result<Option<usize>> {
        let client = http::client()?;
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            let url = format!("http://{}/jsz?streams=true&accounts=true", node.monitor);
            let Ok(bytes) = http::bytes(client.get(&url)).await else { continue };
            let json: Value = serde_json::from_slice(&bytes)?;
            let accounts = json["account_details"].as_array().cloned().unwrap_or_default();
            let streams =
                accounts.iter().flat_map(|account| account["stream_detail"].as_array().cloned().unwrap_or_default());
            let leader = streams
                .filter(|found| found["name"] == stream)
                .find_map(|found| found["cluster"]["leader"].as_str().map(str::to_owned));
            if let Some(leader) = leader
                && let Some(index) = self.nodes.iter().position(|node| node.name == leader)
                && self.nodes[index].process.is_some()
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

impl Node {
    fn configuration(&self, folder: &Path, count: usize, routes: &[String], more: &str) -> String {
        let Self { name, client, route, monitor, .. } = self;
        let store = folder.join(name).display().to_string();
        let cluster = match count {
            1 => String::new(),
            _ => format!("cluster {{ name: fleet, listen: \"{route}\", routes: [{}] }}\n", routes.join(", ")),
        };
        let payload = if more.contains("max_payload") { "" } else { "max_payload: 8MB\n" };
        format!(
            "server_name: {name}\nlisten: \"{client}\"\nhttp: \"{monitor}\"\n\
             jetstream {{ store_dir: {store:?}, max_memory_store: 1GB, max_file_store: 4GB }}\n{payload}{cluster}{more}\n"
        )
    }

    fn start(&mut self) -> Result<()> {
        if self.process.is_none() {
            let mut command = Command::new(python::program(SERVER)?);
            command.arg("-c").arg(&self.config);
            self.process = Some(Process::start(&self.name, command)?);
        }
        Ok(())
    }
}

//! What agent and hub say of themselves, over HTTP as anyone can ask.

use std::collections::BTreeMap;

use reqwest::Client;
use serde_json::Value;

use super::Result;
use super::readings::Counted;
use super::servers::Places;

/// Asks both servers.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    client: Client,
    agent: String,
    hub: String,
}

/// The agent's status at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) used: u64,
    pub(super) cap: u64,
    pub(super) resident: u64,
    pub(super) runway: Option<f64>,
    pub(super) sync: String,
    pub(super) logs: BTreeMap<String, Log>,
}

/// The account of one log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) accepted: u64,
    pub(super) committed: u64,
    pub(super) pending: u64,
    pub(super) receipted: u64,
    pub(super) bytes: u64,
}

/// The hub's account of one log: all epochs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AtHub {
    pub(super) next_offset: u64,
    pub(super) committed: u64,
    pub(super) receipted: u64,
    pub(super) receipts: u64,
}

impl Watch {
    pub(super) fn new(client: Client, places: &Places) -> Self {
        Self { client, agent: format!("http://{}", places.http), hub: format!("http://{}", places.hub) }
    }

    /// Whether both servers answer.
    pub(super) async fn ready(&self) -> Result<()> {
        for url in [&self.agent, &self.hub] {
            self.get(&format!("{url}/healthz"), None).await?;
        }
        Ok(())
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot> {
        let status = self.json(&format!("{}/v1/status", self.agent)).await?;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let log = |log: &Value| Log {
            accepted: number(&log["accepted"]),
            committed: number(&log["committed"]),
            pending: number(&log["pending"]),
            receipted: sum(&log["receipted"]),
            bytes: number(&log["bytes"]),
        };
        let logs = status["logs"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), log(value)));
        let memory = &status["memory"];
        Ok(Snapshot {
            used: number(&memory["used"]),
            cap: number(&memory["cap"]),
            resident: number(&memory["resident"]),
            runway: status["runway_s"].as_f64(),
            sync: status["sync"]["state"].as_str().unwrap_or_default().to_owned(),
            logs: logs.collect(),
        })
    }

    /// Bytes of all requests that the agent sent upstream.
    pub(super) async fn sent_bytes(&self) -> Result<u64> {
        let metrics = String::from_utf8(self.get(&format!("{}/metrics", self.agent), None).await?)?;
        let of_line = |line: &str| line.strip_prefix("pyralog_sync_sent_bytes_total")?.trim().parse::<f64>().ok();
        let bytes = metrics.lines().find_map(of_line).ok_or("the agent's metrics do not tell the bytes sent")?;
        Ok(bytes as u64)
    }

    pub(super) async fn at_hub(&self, log: &str) -> Result<AtHub> {
        let account = self.json(&format!("{}/v1/agents/quickstart/logs/{log}", self.hub)).await?;
        let mut all = AtHub::default();
        for epoch in account["epochs"].as_array().into_iter().flatten() {
            all.next_offset += epoch["next_offset"].as_u64().unwrap_or_default();
            all.committed += epoch["committed"].as_u64().unwrap_or_default();
            for receipt in epoch["receipts"].as_array().into_iter().flatten() {
                let (from, to) =
                    (receipt["from"].as_u64().unwrap_or_default(), receipt["to"].as_u64().unwrap_or_default());
                all.receipted += to.saturating_sub(from);
                all.receipts += 1;
            }
        }
        Ok(all)
    }

    /// Counts what the agent's ring holds of a log.
    pub(super) async fn readings_in_ring(&self, log: &str) -> Result<Counted> {
        self.count(&format!("{}/v1/logs/{log}/records", self.agent)).await
    }

    /// Counts what the hub has of a log.
    pub(super) async fn readings_at_hub(&self, log: &str) -> Result<Counted> {
        self.count(&format!("{}/v1/agents/quickstart/logs/{log}/records", self.hub)).await
    }

    async fn count(&self, url: &str) -> Result<Counted> {
        Counted::of(&self.get(url, Some("application/vnd.apache.arrow.stream")).await?)
    }

    async fn json(&self, url: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.get(url, None).await?)?)
    }

    async fn get(&self, url: &str, accept: Option<&str>) -> Result<Vec<u8>> {
        let mut request = self.client.get(url);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let response = request.send().await?;
        let status = response.status();
        let body = response.bytes().await?.to_vec();
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&body)).into())
        }
    }
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

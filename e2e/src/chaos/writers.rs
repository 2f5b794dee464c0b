//! Sensors that never rest: line protocol and JSON over HTTP, JSON over MQTT at QoS 1. Each log has one of them, which sends in the
//! order of its numbers, sends nothing twice, and notes what was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{RwLock, watch};

use super::ledger::Ledger;
use super::record;
use crate::{Result, http, packets};

/// Where MQTT readings are published.
pub const TOPIC: &str = "chaos/readings";

/// Records in one batch, and the pause after it.
const BATCH: usize = 25;
const PAUSE: Duration = Duration::from_millis(60);

/// Fat records in one request.
const FAT_BATCH: usize = 200;

/// Longer than any fault holds a living agent: a request given up and taken later would come out of order.
const PATIENCE: Duration = Duration::from_secs(45);

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Line protocol over HTTP.
    Lines,
    /// NDJSON over HTTP.
    Json,
    /// JSON over MQTT, QoS 1.
    Mqtt,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lines, Self::Json, Self::Mqtt];

    /// The log that is written.
    pub fn log(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Json => "json",
            Self::Mqtt => "mqtt",
        }
    }
}

/// Where an agent is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which of its lives this is.
    pub life: u64,
    /// Base URL of its HTTP API.
    pub url: String,
    /// Where it takes MQTT.
    pub mqtt: SocketAddr,
}

/// What a writer notes.
#[derive(Debug, Default)]
pub struct Notes {
    ledger: Mutex<Ledger>,
    refusals: Mutex<BTreeMap<String, u64>>,
}

impl Notes {
    /// What was sent and acknowledged.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers that were no yes, by kind.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refused(&self, why: String) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }
}

/// A writer's surroundings.
#[derive(Debug, Clone)]
pub struct Writer {
    /// How it writes.
    pub kind: Kind,
    /// Where to.
    pub target: watch::Receiver<Option<Target>>,
    /// Whether to send as many fat records as it can.
    pub flood: watch::Receiver<bool>,
    /// Held for writing by whoever wants all writers to rest between two batches.
    pub gate: Arc<RwLock<()>>,
    /// What became of it.
    pub notes: Arc<Notes>,
}

impl Writer {
    /// Writes until it is dropped.
    pub async fn run(mut self) -> Result<()> {
        let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let mut connection = None;
        loop {
            let found = self.target.wait_for(Option::is_some).await;
            let Some(target) = found.map_err(|_| "the agent's slot is gone")?.clone() else { continue };
            let gate = Arc::clone(&self.gate);
            let resting = gate.read().await;
            if self.target.borrow().as_ref() != Some(&target) {
                continue;
            }
            let fat = self.kind == Kind::Json && *self.flood.borrow();
            let sent = self.notes.ledger().send(target.life, if fat { FAT_BATCH } else { BATCH }, fat);
            match self.kind {
                Kind::Lines | Kind::Json => self.post(&client, &target, sent, fat).await,
                Kind::Mqtt => self.publish(&mut connection, &target, sent).await,
            }
            drop(resting);
            if !fat {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn post(&self, client: &Client, target: &Target, sent: Range<u64>, fat: bool) {
        let data = record::records(sent.clone(), fat);
        let log = self.kind.log();
        let request = if self.kind == Kind::Lines {
            let body = data.line_protocol(log, 0..data.rows.len());
            client.post(format!("{}/api/v2/write?precision=ns", target.url)).body(body)
        } else {
            let body = data.rows.iter().fold(String::new(), |mut body, row| {
                data.json(row, &mut body);
                body.push('\n');
                body
            });
            let url = format!("{}/v1/logs/{log}/records?tags=unit", target.url);
            client.post(url).header("content-type", "application/x-ndjson").body(body)
        };
        match http::answer(request).await {
            Ok((status, _)) if status.is_success() => self.notes.ledger().acknowledge(sent),
            Ok((status, body)) => {
                let words: String = String::from_utf8_lossy(&body).chars().take(60).collect();
                self.notes.refused(format!("{log}: {status} {words}"));
            }
            Err(_) => self.notes.refused(format!("{log}: no answer")),
        }
    }

    async fn publish(&self, open: &mut Option<(u64, TcpStream)>, target: &Target, sent: Range<u64>) {
        if open.as_ref().is_none_or(|(life, _)| *life != target.life) {
            *open = None;
        }
        let mut acked = sent.start;
        let outcome = tokio::time::timeout(PATIENCE, publish(open, target, sent.clone(), &mut acked)).await;
        self.notes.ledger().acknowledge(sent.start..acked);
        if !matches!(outcome, Ok(Ok(()))) {
            *open = None;
            self.notes.refused("mqtt: no acknowledgement".to_owned());
        }
    }
}

/// Publishes records in one go and takes their acknowledgements; `acked` is the number after the last.
async fn publish(
    open: &mut Option<(u64, TcpStream)>,
    target: &Target,
    sent: Range<u64>,
    acked: &mut u64,
) -> Result<()> {
    let stream = match open {
        Some((_, stream)) => stream,
        None => {
            let mut stream = TcpStream::connect(target.mqtt).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&packets::connect("chaos", true, 0)).await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await?;
            if answer != [0x20, 2, 0, 0] {
                return Err(format!("CONNECT was answered {answer:x?}").into());
            }
            &mut open.insert((target.life, stream)).1
        }
    };
    let data = record::records(sent.clone(), false);
    let mut out = Vec::new();
    for (row, seq) in data.rows.iter().zip(sent.clone()) {
        let mut json = String::new();
        data.json(row, &mut json);
        packets::publish(&mut out, 1, id(seq), TOPIC, json.as_bytes());
    }
    stream.write_all(&out).await?;
    for seq in sent {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        let [high, low] = id(seq).to_be_bytes();
        if answer != [0x40, 2, high, low] {
            return Err(format!("{answer:x?} instead of the PUBACK of {}", id(seq)).into());
        }
        *acked = seq + 1;
    }
    Ok(())
}

fn id(seq: u64) -> u16 {
    (seq % 65_535) as u16 + 1
}

//! Sensors that never rest: line protocol and JSON over HTTP, JSON over MQTT at QoS 1. Each log has one of them, which sends in the
//! order of its numbers, notes what was acknowledged, and sends again what was not, as sensors do: MQTT with the mark of a
//! duplicate, in a session that lasts. Some time it has enough and goes on.

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
use crate::dataset::Dataset;
use crate::generate::Random;
use crate::{Result, http, packets};

/// Where MQTT readings are published.
pub const TOPIC: &str = "chaos/readings";

/// Records in one batch, and the pause after it.
const BATCH: u64 = 25;
const PAUSE: Duration = Duration::from_millis(60);

/// Fat records in one request.
const FAT_BATCH: u64 = 200;

/// A sensor waits this long for an answer, and up to twice as long again.
const PATIENCE: Duration = Duration::from_millis(700);

/// How often it sends a record at most; one time in four it does not even try again.
const TRIES: u32 = 5;

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
    /// The way to where it takes HTTP.
    pub http: SocketAddr,
    /// The way to where it takes MQTT.
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
    /// Decides on its patience.
    pub random: Random,
}

/// Records to send, and how often they were sent.
#[derive(Debug)]
struct Batch {
    records: Range<u64>,
    fat: bool,
    tries: u32,
}

/// What is sent at a time.
struct Sending<'a> {
    target: &'a Target,
    data: Dataset,
    first: u64,
    again: bool,
    patience: Duration,
}

impl Writer {
    /// Writes until it is dropped.
    pub async fn run(mut self) -> Result<()> {
        let client = Client::builder().no_proxy().build()?;
        let (mut connection, mut left) = (None, None);
        loop {
            let found = self.target.wait_for(Option::is_some).await;
            let Some(target) = found.map_err(|_| "the agent's slot is gone")?.clone() else { continue };
            let gate = Arc::clone(&self.gate);
            let resting = gate.read().await;
            if self.target.borrow().as_ref() != Some(&target) {
                continue;
            }
            let batch = left.take().unwrap_or_else(|| self.next());
            let Batch { records, fat, tries } = batch;
            let sending = self.notes.ledger().begin(target.life, records.clone(), fat);
            let data = record::records(records.clone(), sending, fat);
            let patience = PATIENCE + Duration::from_micros(self.random.below(2 * PATIENCE.as_micros() as u64));
            let sending = Sending { target: &target, data, first: records.start, again: tries > 0, patience };
            let acked = match self.kind {
                Kind::Lines | Kind::Json => self.post(&client, &sending).await,
                Kind::Mqtt => self.publish(&mut connection, &sending).await,
            };
            self.notes.ledger().acknowledge(acked);
            drop(resting);
            let rest = records.start + acked..records.end;
            let refused = !rest.is_empty();
            if refused && tries + 1 < TRIES && self.random.below(4) > 0 {
                left = Some(Batch { records: rest, fat, tries: tries + 1 });
            }
            if refused || !fat {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn next(&self) -> Batch {
        let fat = self.kind == Kind::Json && *self.flood.borrow();
        let from = self.notes.ledger().records();
        Batch { records: from..from + if fat { FAT_BATCH } else { BATCH }, fat, tries: 0 }
    }

    /// Sends all in one request; gives how many were acknowledged.
    async fn post(&self, client: &Client, sending: &Sending<'_>) -> u64 {
        let (data, log, url) = (&sending.data, self.kind.log(), format!("http://{}", sending.target.http));
        let request = if self.kind == Kind::Lines {
            let body = data.line_protocol(log, 0..data.rows.len());
            client.post(format!("{url}/api/v2/write?precision=ns")).body(body)
        } else {
            let body = data.rows.iter().fold(String::new(), |mut body, row| {
                data.json(row, &mut body);
                body.push('\n');
                body
            });
            let url = format!("{url}/v1/logs/{log}/records?tags=unit");
            client.post(url).header("content-type", "application/x-ndjson").body(body)
        };
        match http::answer(request.timeout(sending.patience)).await {
            Ok((status, _)) if status.is_success() => data.rows.len() as u64,
            Ok((status, body)) => {
                let words: String = String::from_utf8_lossy(&body).chars().take(60).collect();
                self.notes.refused(format!("{log}: {status} {words}"));
                0
            }
            Err(_) => {
                self.notes.refused(format!("{log}: no answer"));
                0
            }
        }
    }

    /// Publishes all in one go; gives how many were acknowledged, from the first on.
    async fn publish(&self, open: &mut Option<(u64, TcpStream)>, sending: &Sending<'_>) -> u64 {
        if open.as_ref().is_none_or(|(life, _)| *life != sending.target.life) {
            *open = None;
        }
        let mut acked = 0;
        let outcome = tokio::time::timeout(sending.patience, publish(open, sending, &mut acked)).await;
        if !matches!(outcome, Ok(Ok(()))) {
            *open = None;
            self.notes.refused("mqtt: no acknowledgement".to_owned());
        }
        acked
    }
}

/// Publishes records in one go and takes their acknowledgements, which it counts in `acked`.
async fn publish(open: &mut Option<(u64, TcpStream)>, sending: &Sending<'_>, acked: &mut u64) -> Result<()> {
    let stream = match open {
        Some((_, stream)) => stream,
        None => {
            let mut stream = TcpStream::connect(sending.target.mqtt).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&packets::connect("chaos", false, 0)).await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await?;
            // The third byte says whether the agent knows the session.
            if !matches!(answer, [0x20, 2, 0 | 1, 0]) {
                return Err(format!("CONNECT was answered {answer:x?}").into());
            }
            &mut open.insert((sending.target.life, stream)).1
        }
    };
    let mut out = Vec::new();
    for (row, record) in sending.data.rows.iter().zip(sending.first..) {
        let (mut json, at) = (String::new(), out.len());
        sending.data.json(row, &mut json);
        packets::publish(&mut out, 1, id(record), TOPIC, json.as_bytes());
        if sending.again {
            packets::again(out.get_mut(at..).unwrap_or_default());
        }
    }
    stream.write_all(&out).await?;
    for record in (sending.first..).take(sending.data.rows.len()) {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        let [high, low] = id(record).to_be_bytes();
        if answer != [0x40, 2, high, low] {
            return Err(format!("{answer:x?} instead of the PUBACK of {}", id(record)).into());
        }
        *acked += 1;
    }
    Ok(())
}

/// The same each time that a record is sent.
fn id(record: u64) -> u16 {
    (record % 65_535) as u16 + 1
}

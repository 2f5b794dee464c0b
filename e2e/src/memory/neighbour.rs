//! A client who does nothing wrong, at the pace of a sensor: it must be served whatever others do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::target::{self, Target};
use crate::agent::Agent;
use crate::{Result, http, packets};

/// How long it waits for an answer. The machine may be busy with the others at the same time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two messages of the same kind.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
const WRITE_EVERY: Duration = Duration::from_millis(200);
const QUERY_EVERY: Duration = Duration::from_secs(1);
const NEWCOMER_EVERY: Duration = Duration::from_secs(1);
/// Reasons of failures that are told apart.
const MAX_REASONS: usize = 8;

/// Another device has another address.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const LINES: &str = "neighbour,kind=line a=1,b=2.5,c=\"text\"\n";

/// What became of its requests.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// Requests, publishes and connections that went well.
    pub served: u64,
    /// Those that did not.
    pub failed: u64,
    /// The longest wait for an answer.
    pub slowest: Duration,
    /// Why they failed.
    pub reasons: BTreeMap<String, u64>,
}

impl Served {
    async fn count(&mut self, kind: &str, action: impl Future<Output = Result<()>>) -> bool {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, action).await.unwrap_or_else(|_| Err("no answer".into()));
        self.slowest = self.slowest.max(begun.elapsed());
        let Err(error) = outcome else {
            self.served += 1;
            return true;
        };
        self.failed += 1;
        let reason: String = format!("{kind}: {error}").chars().take(120).collect();
        let known = self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&reason);
        *self.reasons.entry(if known { reason } else { "other".to_owned() }).or_default() += 1;
        false
    }

    fn add(&mut self, other: Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

/// The client, at work.
#[derive(Debug)]
pub struct Neighbour {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Served>,
}

impl Neighbour {
    /// Sets to work: a publisher that stays connected, a writer, a reader, and one that always connects anew. It speaks no TLS to the
    /// MQTT endpoint, so it can be told to leave that alone.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn start(agent: &Agent, at: &Target, with_mqtt: bool) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (url, ca) = (agent.url.clone(), agent.ca.as_deref());
        if with_mqtt {
            tasks.spawn(publisher(at.mqtt, stopped.clone()));
        }
        tasks.spawn(writer(client(ca)?, url.clone(), stopped.clone()));
        tasks.spawn(reader(client(ca)?, url, stopped.clone()));
        tasks.spawn(newcomer(at.clone(), with_mqtt, stopped));
        Ok(Self { stop, tasks })
    }

    /// Ends its work and tells how it fared.
    pub async fn stop(mut self) -> Served {
        // The tasks hold receivers until they end.
        let _ = self.stop.send(true);
        let mut all = Served::default();
        while let Some(served) = self.tasks.join_next().await {
            match served {
                Ok(served) => all.add(served),
                Err(error) => {
                    let failed = Err(error.into());
                    all.count("task", async { failed }).await;
                }
            }
        }
        all
    }
}

fn client(ca: Option<&Path>) -> Result<Client> {
    let builder = ca.map_or_else(|| Ok(http::builder()), |ca| http::builder_trusting(ca, None))?;
    Ok(builder.timeout(PATIENCE).local_address(FROM).build()?)
}

async fn open_to(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((FROM, 0).into())?;
    socket.connect(to).await
}

/// Waits for the next round; false when there is none.
async fn next(stop: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_err()
}

async fn publisher(to: SocketAddr, mut stop: watch::Receiver<bool>) -> Served {
    let mut served = Served::default();
    let mut open: Option<TcpStream> = None;
    let mut id = 0;
    loop {
        if open.is_none() {
            served
                .count("connect", async {
                    open =
                        Some(target::mqtt_in(open_to(to), &packets::connect("neighbour", true, 30), PATIENCE).await?);
                    Ok(())
                })
                .await;
        }
        if let Some(stream) = &mut open {
            id = if id == u16::MAX { 1 } else { id + 1 };
            if !served.count("publish", publish(stream, id)).await {
                open = None;
            }
        }
        if !next(&mut stop, PUBLISH_EVERY).await {
            return served;
        }
    }
}

async fn publish(stream: &mut TcpStream, id: u16) -> Result<()> {
    let mut out = Vec::new();
    packets::publish(&mut out, 1, id, "neighbour/7", br#"{"a": 1.5, "b": 2}"#);
    stream.write_all(&out).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.map_err(|_| "closed before PUBACK")?;
    let expected = [0x40, 2, (id >> 8) as u8, id as u8];
    if answer == expected { Ok(()) } else { Err(format!("{answer:x?} instead of PUBACK").into()) }
}

async fn writer(client: Client, url: String, mut stop: watch::Receiver<bool>) -> Served {
    let mut served = Served::default();
    let json = r#"{"a": 1, "b": 2.5, "c": "text"}"#;
    for round in 0_u64.. {
        let request = match round % 2 {
            0 => client.post(format!("{url}/write")).body(LINES),
            _ => client
                .post(format!("{url}/v1/logs/neighbour/records"))
                .header("content-type", "application/json")
                .body(json),
        };
        served.count("write", answered(request)).await;
        if !next(&mut stop, WRITE_EVERY).await {
            break;
        }
    }
    served
}

async fn reader(client: Client, url: String, mut stop: watch::Receiver<bool>) -> Served {
    let mut served = Served::default();
    // The log is there from the first write on, which may take its time.
    next(&mut stop, QUERY_EVERY).await;
    loop {
        let request = client.get(format!("{url}/v1/logs/neighbour/records?limit=10"));
        served.count("query", answered(request)).await;
        if !next(&mut stop, QUERY_EVERY).await {
            return served;
        }
    }
}

async fn newcomer(at: Target, with_mqtt: bool, mut stop: watch::Receiver<bool>) -> Served {
    let mut served = Served::default();
    let request = target::post("/write", "connection: close\r\n", LINES.as_bytes());
    loop {
        if with_mqtt {
            served
                .count("new MQTT connection", async {
                    let mut stream =
                        target::mqtt_in(open_to(at.mqtt), &packets::connect("newcomer", true, 30), PATIENCE).await?;
                    publish(&mut stream, 1).await
                })
                .await;
        }
        served
            .count("new HTTP connection", async {
                let stream = open_to(at.http).await?;
                let status = match at.tls {
                    None => target::exchange(stream, &request).await?,
                    Some(_) => target::exchange(at.shake(stream).await?, &request).await?,
                };
                match status {
                    204 => Ok(()),
                    status => Err(format!("status {status}").into()),
                }
            })
            .await;
        if !next(&mut stop, NEWCOMER_EVERY).await {
            return served;
        }
    }
}

async fn answered(request: RequestBuilder) -> Result<()> {
    http::bytes(request).await.map(|_| ())
}

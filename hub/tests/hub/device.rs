//! A device that speaks the sync protocol, with records that can be told from each other.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use pyralog_hub::auth::Auth;
use pyralog_hub::config::Config;
use pyralog_hub::run::{Running, start_on};
use pyralog_hub::store::{SharedStore, open_directory};
use pyralog_segment::{Column, ColumnType, Encoding, Schema, encode};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::{
    BatchAck, BatchHead, Hello, HelloAck, LogHead, Reason, Receipt, Refusal, RefusalKind, Reply, SegmentFrame,
    SegmentMeta, put_schema,
};
use pyralog_sync_protocol::{ChainHash, Epoch, Fingerprint, Incarnation, LogName};

/// A configuration for tests: any port.
pub fn config() -> Config {
    Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() }
}

/// A hub on a directory.
pub async fn hub(directory: &Path) -> Running {
    hub_on(Arc::new(open_directory(directory).unwrap())).await
}

/// A hub on any store.
pub async fn hub_on(store: SharedStore) -> Running {
    start_on(&config(), Auth::open(None).unwrap(), store).await.unwrap()
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub async fn get(url: &str) -> (u16, String) {
    let response = client().get(url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

pub async fn get_json(url: &str) -> serde_json::Value {
    let (status, body) = get(url).await;
    assert_eq!(status, 200, "{url}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// One log of a device: values of column `v` are the offsets plus a half, times are the offsets times 1,000.
pub struct Device {
    pub agent: String,
    pub log: LogName,
    pub incarnation: Incarnation,
    pub epoch: Epoch,
    /// Next offset to make, and the hash of the last segment made.
    pub head: u64,
    pub hash: ChainHash,
    pub schema: Schema,
}

/// A frame of a batch, ready to send any number of times.
#[derive(Clone)]
pub struct Piece(Vec<u8>);

impl Device {
    pub fn new(agent: &str, log: &str, incarnation: u8) -> Self {
        Self {
            agent: agent.into(),
            log: LogName::new(log).unwrap(),
            incarnation: Incarnation([incarnation; 16]),
            epoch: Epoch(0),
            head: 0,
            hash: ChainHash::default(),
            schema: Schema::new(vec![Column::new("v", ColumnType::F64)]).unwrap(),
        }
    }

    /// The next `rows` records as a segment.
    pub fn segment(&mut self, rows: u32) -> Piece {
        let offsets = self.head..self.head + u64::from(rows);
        let times: Vec<_> = offsets.clone().map(|offset| offset as i64 * 1_000).collect();
        let time: ArrayRef = Arc::new(TimestampNanosecondArray::from(times.clone()).with_timezone("UTC"));
        let values = |_| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(offsets.clone().map(|offset| offset as f64 + 0.5)))
        };
        let columns = std::iter::once(time).chain((0..self.schema.columns().len()).map(values)).collect();
        let batch = RecordBatch::try_new(self.schema.arrow(), columns).unwrap();
        let mut body = Vec::new();
        encode(&batch, Encoding::ArrowZstd, &mut body).unwrap();
        let meta = SegmentMeta {
            base: self.head,
            rows,
            min_time: times[0],
            max_time: times[times.len() - 1],
            encoding: Encoding::ArrowZstd.code(),
            schema: Fingerprint(self.schema.fingerprint()),
        };
        self.hash = link(self.hash, &meta, &body);
        let mut bytes = Vec::new();
        SegmentFrame { meta, hash: self.hash, body: &body }.put(&mut bytes);
        self.head = offsets.end;
        Piece(bytes)
    }

    /// The next `rows` records as lost.
    pub fn loss(&mut self, rows: u64) -> Piece {
        let (from, to) = (self.head, self.head + rows);
        self.head = to;
        self.loss_of(from, to)
    }

    pub fn loss_of(&self, from: u64, to: u64) -> Piece {
        let (min_time, max_time) = (from as i64 * 1_000, (to as i64 - 1) * 1_000);
        let receipt = Receipt { from, to, reason: Reason::Evicted, min_time, max_time, hash: self.hash };
        let mut bytes = Vec::new();
        receipt.put(&mut bytes);
        Piece(bytes)
    }

    pub fn batch(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut out = BatchHead { incarnation: self.incarnation, epoch: self.epoch }.begin();
        LogHead { log: self.log.clone(), tail: 0, head: self.head }.put_frame(&mut out);
        put_schema(&mut out, Fingerprint(self.schema.fingerprint()), &self.schema.to_bytes());
        pieces.iter().for_each(|piece| out.extend_from_slice(&piece.0));
        out
    }

    pub async fn post(&self, url: &str, what: &str, body: Vec<u8>) -> (u16, Reply) {
        let url = format!("{url}/v1/sync/{}/{what}", self.agent);
        let response = client().post(url).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        let reply = Reply::decode(&bytes);
        (status, reply.unwrap_or_else(|error| panic!("{status} {error}: {}", String::from_utf8_lossy(&bytes))))
    }

    pub async fn try_hello(&mut self, url: &str) -> Result<HelloAck, Refusal> {
        let logs = vec![LogHead { log: self.log.clone(), tail: 0, head: self.head }];
        let epoch = (self.epoch.0 > 0).then_some(self.epoch);
        let mut after = Epoch(0);
        loop {
            let hello = Hello { incarnation: self.incarnation, epoch, after, logs: logs.clone() };
            match self.post(url, "hello", hello.encode()).await {
                (200, Reply::Hello(ack)) => {
                    self.epoch = ack.epoch;
                    return Ok(ack);
                }
                (409, Reply::Refusal(Refusal { kind: RefusalKind::Newest { newest }, .. })) if newest > after => {
                    after = newest;
                }
                (_, Reply::Refusal(refusal)) => return Err(refusal),
                (status, other) => panic!("{status} {other:?}"),
            }
        }
    }

    pub async fn hello(&mut self, url: &str) -> HelloAck {
        self.try_hello(url).await.unwrap()
    }

    pub async fn try_send(&self, url: &str, pieces: &[Piece]) -> Result<BatchAck, Refusal> {
        match self.post(url, "batch", self.batch(pieces)).await {
            (200, Reply::Batch(ack)) => Ok(ack),
            (_, Reply::Refusal(refusal)) => Err(refusal),
            (status, other) => panic!("{status} {other:?}"),
        }
    }

    /// Sends pieces that the hub must take; gives the committed offset.
    pub async fn send(&self, url: &str, pieces: &[Piece]) -> u64 {
        self.try_send(url, pieces).await.unwrap().cursors[0].1.next
    }

    /// URL of the log at a hub.
    pub fn at(&self, url: &str) -> String {
        let log = percent_encoding::utf8_percent_encode(self.log.as_str(), percent_encoding::NON_ALPHANUMERIC);
        format!("{url}/v1/agents/{}/logs/{log}", self.agent)
    }
}

//! A peer for tests: an endpoint without a network, a sink that records, and packets by hand.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    ingest::{
        PublishError, PublishSink,
        mqtt::{
            MqttServerConfig, Unlimited,
            close::CloseReason,
            connection::{Connection, Flow, Received, Remains},
            session::{CallOff, Leash},
            shared::{Shared, Turn},
        },
    },
    records::Records,
};

/// Where the peers are.
pub(super) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Records what it is given, until it is told to be full.
#[derive(Default)]
pub(super) struct TestSink {
    taken: Mutex<Vec<(String, Vec<u8>)>>,
    full: Mutex<bool>,
}

impl PublishSink for TestSink {
    fn publish(&self, topic: &str, payload: &[u8], _: &mut Records) -> Result<(), PublishError> {
        if *self.full.lock() {
            return Err(PublishError::Full);
        }
        if payload.len() > 5000 {
            return Err(PublishError::TooLarge { len: payload.len(), limit: 5000 });
        }
        self.taken.lock().push((topic.to_owned(), payload.to_vec()));
        Ok(())
    }
}

/// An endpoint without a network, and the time there.
pub(super) struct World {
    pub(super) shared: Arc<Shared>,
    sink: Arc<TestSink>,
    began: Instant,
    elapsed: AtomicU64,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut MqttServerConfig)) -> Self {
        let mut config = MqttServerConfig::new(([127, 0, 0, 1], 0).into());
        change(&mut config);
        let sink = Arc::new(TestSink::default());
        let shared = Arc::new(Shared::new(config, sink.clone(), Arc::new(Unlimited)));
        Self { shared, sink, began: Instant::now(), elapsed: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.elapsed.load(Relaxed))
    }

    pub(super) fn pass(&self, time: Duration) {
        self.elapsed.fetch_add(time.as_millis() as u64, Relaxed);
    }

    pub(super) fn fill(&self, full: bool) {
        *self.sink.full.lock() = full;
    }

    /// Topics and payloads the sink took since the last look.
    pub(super) fn taken(&self) -> Vec<(String, String)> {
        let taken = std::mem::take(&mut *self.sink.taken.lock());
        taken.into_iter().map(|(topic, payload)| (topic, String::from_utf8_lossy(&payload).into_owned())).collect()
    }

    pub(super) fn connection(&self) -> Peer<'_> {
        let leash = Arc::new(Leash::default());
        let connection = Connection::new(self.shared.number(), PEER, leash, Box::new(()), self.now());
        Peer { world: self, connection, input: Vec::new() }
    }

    /// A connection on which `connect` was accepted.
    pub(super) fn connected(&self, connect: &[u8]) -> Peer<'_> {
        let mut peer = self.connection();
        let answer = peer.says(connect);
        assert_eq!((answer.first(), answer.get(3)), (Some(&0x20), Some(&0)), "not accepted: {answer:02x?}");
        peer
    }
}

/// One connection, as the driver would hold it.
pub(super) struct Peer<'w> {
    world: &'w World,
    pub(super) connection: Connection,
    input: Vec<u8>,
}

impl Peer<'_> {
    /// Hands bytes in; gives the answers and how it goes on.
    pub(super) fn send(&mut self, bytes: &[u8]) -> (Vec<u8>, Flow) {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let (out, Received { consumed, flow }) = self.turn(|connection, turn| connection.receive(&input, turn));
        self.input = input[consumed..].to_vec();
        (out, flow)
    }

    /// Hands bytes in that must not end the connection; gives the answers.
    pub(super) fn says(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self.send(bytes) {
            (out, Flow::Need(_)) => out,
            (out, flow) => panic!("{flow:?} after {out:02x?}"),
        }
    }

    /// Hands bytes in that must end the connection; gives the answers and why.
    pub(super) fn fails(&mut self, bytes: &[u8]) -> (Vec<u8>, CloseReason) {
        match self.send(bytes) {
            (out, Flow::Close(reason)) => (out, reason),
            (out, flow) => panic!("{flow:?} after {out:02x?}"),
        }
    }

    /// Ends the connection and lets go of its session at once, as without a will delay.
    pub(super) fn ends(mut self, reason: &CloseReason) -> Option<String> {
        let number = self.connection.number;
        let Remains { session, expiry, will } = self.connection.finish(reason)?;
        self.world.shared.sessions.detach(&session, number, expiry, self.world.now());
        will.map(|will| will.value.topic)
    }

    pub(super) fn timeout(&mut self) -> (Vec<u8>, Option<CloseReason>) {
        self.turn(Connection::handle_timeout)
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.connection.next_timeout(self.world.shared.config.connect_timeout)
    }

    pub(super) fn pulled(&self) -> Option<CallOff> {
        self.connection.leash.pulled()
    }

    fn turn<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> (Vec<u8>, T) {
        let (mut out, mut scratch) = (Vec::new(), Records::new());
        let result =
            act(&mut self.connection, &mut Turn::new(&self.world.shared, self.world.now(), &mut scratch, &mut out));
        (out, result)
    }
}

/// CONNECT of MQTT 3.1.1.
pub(super) fn connect_v3(id: &str, clean: bool) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, u8::from(clean) << 1, 0, 60];
    string(&mut body, id);
    packet(0x10, &body)
}

/// CONNECT of MQTT 5 with the given properties, already in bytes.
pub(super) fn connect_v5(id: &str, clean: bool, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, u8::from(clean) << 1, 0, 60];
    body.push(properties.len() as u8);
    body.extend_from_slice(properties);
    string(&mut body, id);
    packet(0x10, &body)
}

/// PUBLISH; `properties` is `None` in MQTT 3.1.1.
pub(super) fn publish(qos: u8, id: u16, topic: &str, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if let Some(properties) = properties {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
    out
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

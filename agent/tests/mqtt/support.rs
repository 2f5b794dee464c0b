//! An endpoint on a free port, a sink that collects, and a client by hand for what real clients do not do.

use std::{
    future::Future,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use pyralog_agent::{
    ingest::{
        PublishError, PublishSink,
        mqtt::{ConnectionBudget, MqttEndpoint, MqttServerConfig, Reserved},
    },
    records::Records,
};
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

/// Keeps every message, unless told that it is full.
#[derive(Default)]
pub(crate) struct Collector {
    messages: Mutex<Vec<(String, Vec<u8>)>>,
    full: AtomicBool,
}

impl PublishSink for Collector {
    fn publish(&self, topic: &str, payload: &[u8], _: &mut Records) -> Result<(), PublishError> {
        if self.full.load(Relaxed) {
            return Err(PublishError::Full);
        }
        self.messages.lock().push((topic.to_owned(), payload.to_vec()));
        Ok(())
    }
}

/// A budget with a cap that says what is reserved.
pub(crate) struct Capped {
    used: Arc<AtomicU64>,
    cap: u64,
}

struct Share(Arc<AtomicU64>, u64);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

impl ConnectionBudget for Capped {
    fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let share = Share(Arc::clone(&self.used), bytes);
        // Taken first: the share gives it back if it was too much.
        let before = self.used.fetch_add(bytes, Relaxed);
        (before + bytes <= self.cap).then(|| Box::new(share) as Reserved)
    }
}

/// A running endpoint.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) endpoint: MqttEndpoint,
    pub(crate) runtime: Runtime,
    sink: Arc<Collector>,
    used: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(u64::MAX / 2, |_| ())
    }

    pub(crate) fn with(cap: u64, change: impl FnOnce(&mut MqttServerConfig)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = MqttServerConfig::new(address);
        change(&mut config);
        let (sink, used) = (Arc::new(Collector::default()), Arc::new(AtomicU64::new(0)));
        let tls = config.tls.clone();
        let budget = Capped { used: Arc::clone(&used), cap };
        let endpoint = MqttEndpoint::new(config, sink.clone(), Arc::new(budget));
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn({
            let endpoint = endpoint.clone();
            async move {
                let stopped = async { drop(stopped.await) };
                endpoint.serve(listener, tls, stopped).await;
            }
        });
        Self { address, endpoint, runtime, sink, used, stop: Some(stop), task: Some(task) }
    }

    pub(crate) fn fill(&self, full: bool) {
        self.sink.full.store(full, Relaxed);
    }

    /// Messages taken so far.
    pub(crate) fn messages(&self) -> Vec<(String, String)> {
        let messages = self.sink.messages.lock();
        messages.iter().map(|(topic, payload)| (topic.clone(), String::from_utf8_lossy(payload).into_owned())).collect()
    }

    /// Payloads taken, once there are `count` of them.
    pub(crate) fn payloads(&self, count: usize) -> Vec<String> {
        wait_until("messages", || self.sink.messages.lock().len() >= count);
        self.messages().into_iter().map(|(_, payload)| payload).collect()
    }

    /// Bytes reserved now.
    pub(crate) fn reserved(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Tells the endpoint to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        let task = self.task.take().unwrap();
        within(&self.runtime, task).unwrap();
    }

    pub(crate) fn client(&self, connect: &[u8]) -> Client {
        let mut client = Client::open(self.address);
        client.send(connect);
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "refused: {connack:02x?}");
        client
    }
}

/// Runs a future that must end within half a minute.
pub(crate) fn within<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await }).expect("it took too long")
}

/// Waits for what happens on another thread.
pub(crate) fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that sends any bytes it is told to.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next packet, short ones only.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let packet = self.packet_or_end();
        assert!(!packet.is_empty(), "closed");
        packet
    }

    /// The next packet, or nothing if the connection is closed instead.
    pub(crate) fn packet_or_end(&mut self) -> Vec<u8> {
        let mut start = [0; 2];
        match self.0.read_exact(&mut start) {
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => Vec::new(),
            Err(error) => panic!("{error}"),
            Ok(()) => {
                assert!(start[1] < 0x80);
                let mut packet = start.to_vec();
                packet.resize(2 + usize::from(start[1]), 0);
                self.0.read_exact(&mut packet[2..]).unwrap();
                packet
            }
        }
    }

    /// What still comes until the server closes.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => rest,
        }
    }
}

/// CONNECT without a will; `expiry` makes it MQTT 5.
pub(crate) fn connect(id: &str, clean: bool, expiry: Option<u32>) -> Vec<u8> {
    let level = if expiry.is_some() { 5 } else { 4 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, u8::from(clean) << 1, 0, 60];
    if let Some(seconds) = expiry {
        body.extend_from_slice(&[5, 0x11]);
        body.extend_from_slice(&seconds.to_be_bytes());
    }
    string(&mut body, id);
    packet(0x10, &body)
}

/// PUBLISH of MQTT 3.1.1 to the topic `t`.
pub(crate) fn publish(qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, "t");
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
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

pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Runs a program to its end, with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &str) -> std::process::Output {
    use std::process::Stdio;
    let name = command.get_program().to_owned();
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        panic!("cannot run {name:?}: {error}; `cargo xtask test` installs what the tests need")
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

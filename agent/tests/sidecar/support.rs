//! An agent in this process, and devices that hand in records.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use pyralog_agent::app::{App, StartError};
use pyralog_agent::config::{FlagValue, Sources, load};
use pyralog_sync_protocol::sidecar::{Producer, RecordBuf, Time, Timing, Value};

/// Long enough for a loaded machine.
const LONG: Duration = Duration::from_secs(30);

pub async fn agent(listen: &str, settings: &[(&str, &str)]) -> Result<App, StartError> {
    let base = [
        ("http.listen", "127.0.0.1:0"),
        ("mqtt.enabled", "false"),
        ("host.enabled", "false"),
        ("sidecar.listen", listen),
    ];
    let flags = base.iter().chain(settings).map(|(key, value)| FlagValue {
        flag: format!("--set {key}"),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    });
    App::start(load(&Sources { flags: flags.collect(), ..Sources::default() }).unwrap().config).await
}

pub fn accepted(app: &App, log: &str) -> u64 {
    app.ring().logs().iter().find(|summary| &*summary.name == log).map_or(0, |summary| summary.account.accepted)
}

/// Waits until `ready` holds.
pub async fn until(what: &str, ready: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ready() {
        assert!(begun.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A device with its link.
pub struct Firmware<S> {
    pub producer: Producer<1024>,
    pub link: S,
    started: Instant,
}

impl Firmware<UnixStream> {
    pub fn connect(path: &Path, device: &'static str, boot: u64) -> Self {
        let link = UnixStream::connect(path).unwrap();
        link.set_nonblocking(true).unwrap();
        Self::new(link, device, boot)
    }
}

impl<S: Read + Write> Firmware<S> {
    pub fn new(link: S, device: &'static str, boot: u64) -> Self {
        let mut producer = Producer::new();
        producer.set_timing(Timing { patience: 50_000, longest: 200_000, ..Timing::DEFAULT });
        producer.start(device, boot).unwrap();
        Self { producer, link, started: Instant::now() }
    }

    /// Makes a record with the number `n`.
    pub fn reads(&mut self, n: u64) {
        let mut record = RecordBuf::new("vibration", Time::SinceBoot(self.now()));
        record.with("axis", Value::Tag("x")).with("n", Value::U64(n)).with("peak", Value::F64(0.5));
        self.producer.append(&record).unwrap();
    }

    pub fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// One turn of the firmware's loop.
    pub fn turn(&mut self) {
        let mut bytes = [0; 256];
        let count = self.producer.transmit(self.now(), &mut bytes);
        self.link.write_all(&bytes[..count]).unwrap();
        match self.link.read(&mut bytes) {
            Ok(count) => self.producer.receive(self.now(), &bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs the loop until `done`.
    pub async fn runs_until(&mut self, what: &str, done: impl Fn(&Producer<1024>) -> bool) {
        let begun = Instant::now();
        while !done(&self.producer) {
            assert!(begun.elapsed() < LONG, "{what}: not within {LONG:?}");
            self.turn();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn hands_over(&mut self) {
        self.runs_until("everything to be acknowledged", |producer| producer.pending() == 0).await;
    }
}

//! Simulated sensors that publish as real ones do: rooms by JSON over MQTT, a machine's vibration by line protocol over HTTP.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Result;
use super::servers::Places;

/// What the vibration sensor measures: acceleration and rotation.
const AXES: [&str; 6] = ["ax", "ay", "az", "gx", "gy", "gz"];
/// Samples of the vibration sensor in one request.
const BURST: u64 = 500;
/// How often it sends: 20,000 samples a second, as an inertial sensor on a machine tool makes them.
const BURST_EVERY: Duration = Duration::from_millis(25);

/// What the sensors sent and the agent acknowledged.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) climate: AtomicU64,
    pub(super) vibration: AtomicU64,
}

/// Sensors at work until stopped.
#[derive(Debug)]
pub(super) struct Sensors {
    pub(super) acknowledged: Arc<Acknowledged>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Sensors {
    /// Starts them.
    pub(super) fn start(places: &Places, client: reqwest::Client) -> Self {
        let (acknowledged, stop) = (Arc::new(Acknowledged::default()), Arc::new(AtomicBool::new(false)));
        let climate = tokio::spawn(climate(places.mqtt, Arc::clone(&acknowledged), Arc::clone(&stop)));
        let url = format!("http://{}/api/v2/write", places.http);
        let vibration = tokio::spawn(vibration(client, url, Arc::clone(&acknowledged), Arc::clone(&stop)));
        Self { acknowledged, stop, tasks: vec![climate, vibration] }
    }

    /// Lets them finish what they began, so that what they count is what the agent acknowledged.
    pub(super) async fn stop(self) -> Result<Arc<Acknowledged>> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(Duration::from_secs(10), task).await.map_err(|_| "a sensor hangs")???;
        }
        Ok(self.acknowledged)
    }

    /// Whether one of them has given up.
    pub(super) fn broken(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }
}

async fn climate(to: SocketAddr, counts: Arc<Acknowledged>, stop: Arc<AtomicBool>) -> Result<()> {
    let mut options = MqttOptions::new("rooms", to.ip().to_string(), to.port());
    options.set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = AsyncClient::new(options, 64);
    let total = Arc::new(AtomicU64::new(u64::MAX));
    // Apart from the event loop, whose `poll` must not be dropped half way.
    let publisher = tokio::spawn(publish(client, Arc::clone(&total), stop));
    while counts.climate.load(Ordering::Relaxed) < total.load(Ordering::Relaxed) {
        if let Event::Incoming(Incoming::PubAck(_)) = events.poll().await.map_err(|error| format!("MQTT: {error}"))? {
            counts.climate.fetch_add(1, Ordering::Relaxed);
        }
    }
    publisher.await?
}

async fn publish(client: AsyncClient, total: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<()> {
    let mut random = Random(7);
    let mut rooms = [("kitchen", 21.0, 40.0), ("study", 20.5, 45.0), ("attic", 26.0, 38.0), ("cellar", 14.0, 60.0)];
    let mut tick = ticks(Duration::from_millis(100));
    let mut sent = 0;
    loop {
        tick.tick().await;
        let last = stop.load(Ordering::Relaxed);
        if last {
            // Known before the last message goes, so that its acknowledgement is seen to be the last.
            total.store(sent + rooms.len() as u64, Ordering::Relaxed);
        }
        for (room, temp, humidity) in &mut rooms {
            *temp += random.around(0.02);
            *humidity += random.around(0.1);
            let json = format!("{{\"temp\": {temp:.2}, \"humidity\": {humidity:.1}}}");
            client.publish(format!("home/{room}/climate"), QoS::AtLeastOnce, false, json).await?;
            sent += 1;
        }
        if last {
            return Ok(());
        }
    }
}

async fn vibration(
    client: reqwest::Client,
    url: String,
    counts: Arc<Acknowledged>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let mut random = Random(11);
    let mut tick = ticks(BURST_EVERY);
    let step = BURST_EVERY.as_nanos() as u64 / BURST;
    let mut time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    let mut body = String::new();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        body.clear();
        for _ in 0..BURST {
            let turn = (time / step) as f64 / 40.0;
            let axis = |shift: f64, random: &mut Random| (turn + shift).sin() * 0.8 + random.around(0.05);
            let _ = write!(body, "vibration,machine=press ");
            for (index, name) in AXES.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let _ = write!(body, "{comma}{name}={:.6}", axis(index as f64 * 2.1, &mut random));
            }
            let _ = writeln!(body, " {time}");
            time += step;
        }
        let response = client.post(&url).body(body.clone()).send().await?;
        if !response.status().is_success() {
            return Err(format!("HTTP: {}: {}", response.status(), response.text().await?).into());
        }
        counts.vibration.fetch_add(BURST, Ordering::Relaxed);
    }
    Ok(())
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(every);
    // On a slow machine the sensors send less; they do not pile up.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

struct Random(u64);

impl Random {
    /// About a normal distribution around zero, `spread` wide.
    fn around(&mut self, spread: f64) -> f64 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            sum += (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        }
        (sum - 2.0) * spread
    }
}

//! The agent as a whole: starts every part, and stops them in the order in which nothing is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyralog_service::Guesses;
use pyralog_supervision::{Progress, Pulse};
use pyralog_sync_protocol::AgentId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Config;
use crate::descriptors::Connections;
use crate::http::{Access, Api, HttpCounters, Limits, ServerConfig};
use crate::ingest::host;
use crate::ingest::intake::Intake;
use crate::ingest::mqtt::{MqttEndpoint, MqttServerConfig};
use crate::ingest::sidecar::{self, Sockets};
use crate::ingest::subscriber::{Subscriber, SubscriberConfig};
use crate::metrics::{Extra, Metrics};
use crate::ring::{Budget, Clock, Ring};
use crate::status::StatusSource;
use crate::sync::{Packing, SyncShared};
use crate::tls::door::{self, Door};
use crate::{device_clock, sync, tls};
pub use reload::RELOADABLE;
use settings::{RingBudget, mqtt_config, mqtt_counters, sidecar_counters, subscriber_counters, sync_config};

mod reload;
mod settings;

/// How often open segments are looked at for their age.
const SEAL_TICK: Duration = Duration::from_secs(1);
/// How long the upkeep may be silent: many ticks, for boards that are busy or swap.
const UPKEEP_SILENCE: Duration = Duration::from_secs(15);
/// How long packing one segment may take; it is a fraction of a second on the slowest board.
const PACKING_SILENCE: Duration = Duration::from_secs(60);
/// Of the time that a stop may take, the share that requests under way may take to end.
const DRAIN_SHARE: u32 = 4;

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {reason}; is another program there? set {key}")]
    Listen {
        /// The key that holds the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A listener cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A route or subscription is wrong.
    #[error("{0}")]
    Mqtt(String),
    /// A socket of the sidecar cannot be had.
    #[error("{0}")]
    Sidecar(String),
    /// The system gives no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    /// The agent's name is none.
    #[error("agent_id: {0}")]
    Name(String),
}

impl StartError {
    /// Whether the configuration must change before it can start; otherwise it may be worth another try.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Mqtt(_) | Self::Name(_))
    }
}

/// Where the agent listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// HTTP.
    pub http: SocketAddr,
    /// MQTT, unless it is disabled.
    pub mqtt: Option<SocketAddr>,
}

/// A running agent. Dropping it does not stop it: [`stop`](Self::stop) does.
///
/// Order of a stop: intake ends (`stopping` turns true), what is open is sealed, the sync driver ships what it can, and then
/// the rest ends.
pub struct App {
    config: Config,
    endpoints: Endpoints,
    ring: Ring,
    clock: Clock,
    status: Arc<StatusSource>,
    stopping: watch::Sender<bool>,
    /// Parts that take readings in or give records out; they end when `stopping` turns true.
    intake: JoinSet<()>,
    /// Parts that the ring needs to the end.
    upkeep: JoinSet<()>,
    sync: Option<JoinHandle<()>>,
    /// Listeners that speak TLS.
    doors: Vec<Door>,
    /// Wrong passwords and tokens, at whichever listener.
    guesses: Arc<Guesses>,
    /// Loops without which nothing works.
    pulse: Pulse,
    /// What a new configuration can change while all runs.
    changeable: reload::Changeable,
}

impl App {
    /// Starts an agent.
    ///
    /// # Errors
    /// Names the key or file that is at fault.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        pyralog_service::tls::install_provider();
        let listeners = Listeners::bind(&config).await?;
        let endpoints = listeners.endpoints();
        let ring = Ring::new(config.storage.clone(), Budget::new(config.storage.max_memory));
        let clock = Clock::start();
        let mut incarnation = [0; 16];
        getrandom::fill(&mut incarnation).map_err(StartError::Random)?;
        let mut pulse = Pulse::default();
        let shared = Arc::new(SyncShared::watched(pulse.watch("sync")));
        let status = Arc::new(StatusSource {
            agent_id: config.agent_id.clone(),
            incarnation,
            started: Instant::now(),
            ring: ring.clone(),
            clock,
            sync: Arc::clone(&shared),
            sidecar: Arc::default(),
            device_clock: Arc::default(),
        });
        let (stopping, stop) = watch::channel(false);
        let mut app = Self {
            endpoints,
            ring,
            clock,
            status,
            stopping,
            intake: JoinSet::new(),
            upkeep: JoinSet::new(),
            sync: None,
            doors: Vec::new(),
            guesses: Arc::default(),
            pulse,
            changeable: reload::Changeable::default(),
            config,
        };
        app.start_upkeep();
        let intake = Arc::new(app.intake()?);
        app.changeable.intake = Some(Arc::clone(&intake));
        let connections = app.connections();
        let mut counters = app.start_mqtt(listeners.mqtt, &intake, &stop, connections)?;
        counters.extend(app.start_subscribers(&intake, &stop)?);
        counters.extend(app.start_sidecar(listeners.sidecar, &intake, &stop, connections)?);
        app.start_host(&intake, &stop);
        app.watch_device_clock(&stop);
        app.start_http(listeners.http, counters, &stop, connections)?;
        app.start_sync(incarnation, shared)?;
        Ok(app)
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it listens; ports that were asked for as 0 are the real ones here.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// Its ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The source of its status document.
    pub fn status(&self) -> &Arc<StatusSource> {
        &self.status
    }

    /// The loops without which nothing works; their time is that of [`Self::clock`].
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The clock by which its loops live.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Looks at the certificates of the listeners now; otherwise they are looked at every few seconds, while there are
    /// clients.
    pub fn look_at_files(&self) {
        self.doors.iter().for_each(Door::look);
    }

    /// Stops within `shutdown_grace`: takes nothing more, seals, ships what it can.
    pub async fn stop(mut self) {
        let grace = self.config.shutdown_grace;
        let deadline = tokio::time::Instant::now() + grace;
        // Nobody listens when every part has ended already.
        let _ = self.stopping.send(true);
        let drained =
            tokio::time::timeout(grace / DRAIN_SHARE, async { while self.intake.join_next().await.is_some() {} });
        if drained.await.is_err() {
            self.intake.shutdown().await;
        }
        self.ring.seal_all(self.clock.now());
        if let Some(mut driver) = self.sync.take() {
            self.status.sync.flush();
            if tokio::time::timeout_at(deadline, &mut driver).await.is_err() {
                driver.abort();
            }
        }
        self.upkeep.shutdown().await;
        let left = self.ring.status().totals.pending;
        if left > 0 && !self.config.sync.upstream.is_empty() {
            tracing::warn!(
                "stopped with {left} records not shipped; they end with this process and the hub will call them lost"
            );
        }
    }

    fn start_upkeep(&mut self) {
        let ring = self.ring.clone();
        self.upkeep.spawn(async move {
            loop {
                ring.events().sealed().await;
                if !Packing::OffThread.pack_all(&ring).await {
                    tracing::error!("segments stay unpacked from now on");
                    return;
                }
            }
        });
        let (ring, clock, beat) = (self.ring.clone(), self.clock, self.pulse.watch("upkeep"));
        let mut packer = Progress::new(self.pulse.watch("packer"), PACKING_SILENCE);
        beat.promise(clock.now().mono, UPKEEP_SILENCE);
        self.upkeep.spawn(async move {
            let mut ticks = tokio::time::interval(SEAL_TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // Both take the ring's lock: who holds it for good is found out here.
                ring.seal_due(clock.now());
                let (waits, done) = ring.packing();
                let now = clock.now().mono;
                packer.look(now, waits, done);
                beat.promise(now, UPKEEP_SILENCE);
            }
        });
    }

    /// Connections that its listeners may hold.
    fn connections(&self) -> Connections {
        let Config { mqtt, http, sidecar, .. } = &self.config;
        Connections::within_limit(Connections {
            mqtt: mqtt.max_connections as usize,
            http: http.max_connections as usize,
            waiting: crate::http::MAX_WAITING,
            sidecar: if sidecar.listen.is_empty() { 0 } else { sidecar.max_connections as usize },
        })
    }

    fn intake(&self) -> Result<Intake, StartError> {
        let routes = reload::routes(&self.config.mqtt.routes)?;
        Ok(Intake::new(self.ring.clone(), self.clock, routes))
    }

    /// Starts the endpoint, if there is one, and gives what it counts.
    fn start_mqtt(
        &mut self,
        listener: Option<TcpListener>,
        intake: &Arc<Intake>,
        stop: &watch::Receiver<bool>,
        connections: Connections,
    ) -> Result<Vec<Extra>, StartError> {
        let Some(listener) = listener else { return Ok(Vec::new()) };
        let (max_connections, guesses) = (connections.mqtt, Arc::clone(&self.guesses));
        let config = MqttServerConfig { max_connections, guesses, ..mqtt_config(&self.config.mqtt)? };
        let tls = config.tls.clone();
        self.doors.extend(tls.clone());
        let sink: Arc<Intake> = Arc::clone(intake);
        let endpoint = MqttEndpoint::new(config, sink, Arc::new(RingBudget(self.ring.clone())));
        let extra = mqtt_counters(&endpoint);
        self.changeable.mqtt = Some(endpoint.clone());
        let stopped = stopped(stop);
        self.intake.spawn(async move { endpoint.serve(listener, tls, stopped).await });
        Ok(extra)
    }

    fn start_subscribers(
        &mut self,
        intake: &Arc<Intake>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<Extra>, StartError> {
        let mut states = Vec::new();
        for spec in &self.config.mqtt.subscribe {
            let config = SubscriberConfig::new(spec, &self.config.agent_id);
            let config = config.map_err(|error| StartError::Mqtt(format!("mqtt.subscribe: {error}")))?;
            let sink: Arc<Intake> = Arc::clone(intake);
            let subscriber = Subscriber::new(config, sink);
            states.push(subscriber.status());
            self.intake.spawn(subscriber.run(stop.clone()));
        }
        Ok(subscriber_counters(states))
    }

    /// Starts the links to firmware, and gives what they count.
    fn start_sidecar(
        &mut self,
        sockets: Sockets,
        intake: &Arc<Intake>,
        stop: &watch::Receiver<bool>,
        connections: Connections,
    ) -> Result<Vec<Extra>, StartError> {
        let listen = self.config.sidecar.listen.clone();
        let extra = if listen.is_empty() { Vec::new() } else { sidecar_counters(&self.status.sidecar) };
        let (intake, clock, stop) = (Arc::clone(intake), self.clock, stop.clone());
        let start = sidecar::Start { listen, sockets, max_connections: connections.sidecar, intake, clock, stop };
        sidecar::start(start, &self.status.sidecar, &mut self.intake).map_err(StartError::Sidecar)?;
        Ok(extra)
    }

    fn start_host(&mut self, intake: &Arc<Intake>, stop: &watch::Receiver<bool>) {
        if !self.config.host.enabled {
            return;
        }
        let (intake, interval, stop) = (Arc::clone(intake), self.config.host.interval, stop.clone());
        let store = move |records: &crate::records::Records| {
            if let Err(error) = intake.append(records) {
                tracing::debug!("host readings were not stored: {error}");
            }
        };
        self.intake.spawn(host::run(interval, store, stop));
    }

    fn watch_device_clock(&mut self, stop: &watch::Receiver<bool>) {
        let StatusSource { device_clock, sync, .. } = &*self.status;
        let (known, sync) = (Arc::clone(device_clock), Arc::clone(sync));
        self.intake.spawn(device_clock::run(known, self.ring.clone(), self.clock, sync, stop.clone()));
    }

    fn start_http(
        &mut self,
        listener: TcpListener,
        extra: Vec<Extra>,
        stop: &watch::Receiver<bool>,
        connections: Connections,
    ) -> Result<(), StartError> {
        let http = &self.config.http;
        let counters = Arc::new(HttpCounters::default());
        let access = Arc::new(Access::new(&http.tokens, Arc::clone(&self.guesses)));
        self.changeable.http = Some(Arc::clone(&access));
        let api = Api {
            ring: self.ring.clone(),
            clock: self.clock,
            access,
            limits: Limits { max_body: http.max_body, body_timeout: http.body_timeout },
            status: Arc::clone(&self.status),
            metrics: Arc::new(Metrics::new(Arc::clone(&self.status), Arc::clone(&counters), extra)),
            counters,
            stopping: stop.clone(),
        };
        let server = ServerConfig {
            tls: http.tls.as_ref().map(|tls| Door::open(tls, &[door::HTTP])).transpose()?,
            max_connections: connections.http,
            max_waiting: connections.waiting,
            header_timeout: http.header_timeout,
            write_timeout: http.body_timeout,
        };
        self.doors.extend(server.tls.clone());
        let grace = self.config.shutdown_grace / DRAIN_SHARE;
        self.intake.spawn(crate::http::serve(listener, api, server, stop.clone(), grace));
        Ok(())
    }

    fn start_sync(&mut self, incarnation: [u8; 16], shared: Arc<SyncShared>) -> Result<(), StartError> {
        if self.config.sync.upstream.is_empty() {
            return Ok(());
        }
        let agent_id = AgentId::new(&self.config.agent_id).map_err(|error| StartError::Name(error.to_string()))?;
        let config = sync_config(&self.config.sync, agent_id);
        let (ring, clock) = (self.ring.clone(), self.clock);
        self.sync = Some(tokio::spawn(async move {
            if let Err(error) = sync::run(config, ring, clock, incarnation, shared).await {
                tracing::error!("nothing is shipped: {error}");
            }
        }));
        Ok(())
    }
}

/// The sockets, bound before anything else starts, so that a taken port is met at once.
struct Listeners {
    http: TcpListener,
    mqtt: Option<TcpListener>,
    sidecar: Sockets,
    bound: Endpoints,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let (http, http_at) = bind("http.listen", config.http.listen).await?;
        let mut bound = Endpoints { http: http_at, mqtt: None };
        let mut mqtt = None;
        if config.mqtt.enabled {
            let (listener, at) = bind("mqtt.listen", config.mqtt.listen).await?;
            (mqtt, bound.mqtt) = (Some(listener), Some(at));
        }
        let sidecar = Sockets::bind(&config.sidecar.listen, config.sidecar.mode).map_err(StartError::Sidecar)?;
        Ok(Self { http, mqtt, sidecar, bound })
    }

    fn endpoints(&self) -> Endpoints {
        self.bound
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |reason| StartError::Listen { key, address, reason };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    Ok((listener, at))
}

/// Completes when the agent stops.
fn stopped(stop: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.clone();
    async move {
        // An error says that the agent is gone, which is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FlagValue, Sources, load};

    async fn started() -> App {
        let set = |key: &str, value: &str| FlagValue { flag: "--set".into(), key: key.into(), value: value.into() };
        let flags = vec![
            set("agent_id", "board"),
            set("mqtt.listen", "127.0.0.1:0"),
            set("http.listen", "127.0.0.1:0"),
            set("host.enabled", "false"),
        ];
        App::start(load(&Sources { flags, ..Sources::default() }).unwrap().config).await.unwrap()
    }

    /// How late the upkeep would be in a thousand seconds from the start: less, each time that it is heard of.
    fn lateness(app: &App) -> Duration {
        app.pulse().overdue(Duration::from_secs(1_000)).expect("no promise is that long").by
    }

    async fn is_heard_of(app: &App) -> bool {
        let before = lateness(app);
        for _ in 0..600 {
            if lateness(app) < before {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upkeep_that_waits_for_the_rings_lock_for_good_is_not_heard_of() {
        let app = started().await;
        assert!(is_heard_of(&app).await);
        let ring = app.ring().clone();
        let (held, holds) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _lock = ring.hold();
            held.send(()).unwrap();
            // Ends when the test does, whatever comes of it.
            let _ = released.recv();
        });
        holds.recv().unwrap();
        // A tick that had the lock already may still be heard of. The runtime's own timers stand still with a worker that is
        // stuck, so this thread sleeps by itself.
        std::thread::sleep(SEAL_TICK);
        let before = lateness(&app);
        std::thread::sleep(SEAL_TICK * 2);
        assert_eq!(lateness(&app), before);
        drop(release);
        thread.join().unwrap();
        assert!(is_heard_of(&app).await, "the lock is free again");
        app.stop().await;
    }
}

//! Accepts connections, sees each through to its end, and stops in good order.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, sleep_until, timeout},
};

use super::{
    access::Access,
    budget::{ConnectionBudget, Reserved},
    close::CloseReason,
    config::MqttServerConfig,
    connection::{Connection, Remains},
    counters::MqttCounters,
    driver::{Driver, with_scratch},
    limits,
    session::{CallOff, Leash},
    shared::Shared,
};
use crate::{
    crowd::{self, Crowd},
    ingest::{PublishError, PublishSink},
    tls::door::{self, Door},
};

/// The MQTT endpoint: sessions, counters and settings of any number of listeners.
#[derive(Clone)]
pub struct MqttEndpoint {
    shared: Arc<Shared>,
    live: Arc<Crowd<Leash>>,
}

/// Serves `listener` until `shutdown` resolves, then says goodbye to every client and returns when all are gone.
pub async fn serve(
    listener: TcpListener,
    config: MqttServerConfig,
    sink: Arc<dyn PublishSink>,
    budget: Arc<dyn ConnectionBudget>,
    shutdown: impl Future<Output = ()>,
) {
    let tls = config.tls.clone();
    MqttEndpoint::new(config, sink, budget).serve(listener, tls, shutdown).await;
}

impl MqttEndpoint {
    /// An endpoint that hands its messages to `sink` and charges its memory to `budget`.
    pub fn new(config: MqttServerConfig, sink: Arc<dyn PublishSink>, budget: Arc<dyn ConnectionBudget>) -> Self {
        Self { shared: Arc::new(Shared::new(config, sink, budget)), live: Crowd::new() }
    }

    /// Lets these in from now on. Who is connected stays until the connection ends.
    pub fn set_access(&self, access: Access) {
        *self.shared.access.write() = access;
    }

    /// What was counted so far.
    pub fn counters(&self) -> &MqttCounters {
        &self.shared.counters
    }

    /// Serves one listener, with TLS or without, until `shutdown` resolves; then every client of the endpoint is told
    /// goodbye, and this returns when all are gone. What a client sent before that and got no acknowledgement for, it
    /// sends again, as the protocol provides.
    pub async fn serve(&self, listener: TcpListener, tls: Option<Door>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, tls.clone()).await,
                Err(error) => {
                    if let Some(held_back) = self.shared.log.pass(Instant::now()) {
                        tracing::warn!(held_back, "MQTT: cannot accept a connection: {error}");
                    }
                    // Out of descriptors, most likely: give others time to close.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        self.live.empty(|leash| leash.pull(CallOff::Shutdown)).await;
    }

    /// Sees one connection over any stream of bytes through to its end, and says whether there was a place for it. It counts
    /// among the others of the endpoint, and `peer` is what the log calls it.
    pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: std::net::SocketAddr) -> bool {
        let leash = Arc::new(Leash::default());
        let Some((_place, session)) = self.welcome(peer, &leash, limits::CONNECTION_COST).await else { return false };
        let connection = Connection::new(self.shared.number(), peer.ip(), leash, session, Instant::now());
        Peer { shared: &self.shared, peer }.run(stream, connection).await;
        true
    }

    async fn admit(&self, stream: TcpStream, peer: std::net::SocketAddr, tls: Option<Door>) {
        let cost = limits::CONNECTION_COST + if tls.is_some() { door::CONNECTION_BYTES } else { 0 };
        let leash = Arc::new(Leash::default());
        let Some((place, session)) = self.welcome(peer, &leash, cost).await else { return };
        let connection = Connection::new(self.shared.number(), peer.ip(), leash, session, Instant::now());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            // Acknowledgements are small and waited for.
            let _ = stream.set_nodelay(true);
            let peer = Peer { shared: &shared, peer };
            match tls {
                None => peer.run(stream, connection).await,
                Some(tls) => match peer.handshake(&tls, stream, &connection.leash).await {
                    Ok(stream) => peer.run(stream, connection).await,
                    Err(reason) => peer.log("", &reason),
                },
            }
            drop(place);
        });
    }

    /// A place for a newcomer and the memory of its session; without them it is counted as turned away, and the log tells why.
    async fn welcome(&self, peer: std::net::SocketAddr, leash: &Arc<Leash>, cost: u64) -> Option<(Place, Reserved)> {
        let shared = &self.shared;
        let refused = match self.place(peer.ip(), leash, cost).await {
            Ok(welcome) => return Some(welcome),
            Err(why) => why,
        };
        shared.counters.turn_away();
        if let Some(held_back) = shared.log.pass(Instant::now()) {
            tracing::warn!(%peer, held_back, "MQTT: connection turned away: {refused}");
        }
        None
    }

    /// A place for a newcomer, or why there is none. When there is no room, others may have to leave first.
    async fn place(&self, peer: IpAddr, leash: &Arc<Leash>, cost: u64) -> Result<(Place, Reserved), &'static str> {
        let mut tries = 0;
        loop {
            let left = self.live.left();
            let refused = match self.room(cost) {
                Ok((charge, session)) => {
                    let place = self.live.enter(peer, Arc::clone(leash), Instant::now());
                    return Ok((Place { _charge: charge, _place: place }, session));
                }
                Err(why) => why,
            };
            let surplus = if tries < limits::ROOM_TRIES { self.live.surplus(peer, Instant::now()) } else { Vec::new() };
            if surplus.is_empty() {
                return Err(refused);
            }
            surplus.iter().for_each(|leash| leash.pull(CallOff::Crowded));
            tries += 1;
            // Whoever is slow to leave is not waited for: there is another.
            let _ = timeout(limits::ROOM_PATIENCE, left).await;
        }
    }

    /// Memory for a connection and for its session: to be let in and then to find no memory for a session would help nobody.
    fn room(&self, cost: u64) -> Result<(Reserved, Reserved), &'static str> {
        if self.live.len() >= self.shared.config.max_connections {
            return Err("max_connections is reached");
        }
        let Shared { sessions, budget, .. } = &*self.shared;
        let charge = sessions.reserve(cost, &**budget);
        charge.zip(sessions.reserve(limits::SESSION_COST, &**budget)).ok_or("no memory under the cap")
    }
}

/// The peer of a connection, from its first byte to its will.
struct Peer<'a> {
    shared: &'a Arc<Shared>,
    peer: std::net::SocketAddr,
}

impl Peer<'_> {
    /// The stream is boxed: rustls keeps its state in it, and a task has the size of the largest thing it may hold.
    async fn handshake(&self, tls: &Door, stream: TcpStream, leash: &Leash) -> Result<Box<door::Stream>, CloseReason> {
        let accept = Box::pin(tls.shake(stream));
        tokio::select! {
            accepted = timeout(self.shared.config.connect_timeout, accept) => match accepted {
                Ok(Ok(stream)) => Ok(Box::new(stream)),
                Ok(Err(error)) => Err(CloseReason::Broken(error)),
                Err(_) => Err(CloseReason::ConnectTimeout),
            },
            why = pulled(leash) => Err(if why == CallOff::Crowded { CloseReason::Crowded } else { CloseReason::Shutdown }),
        }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, connection: Connection) {
        let open = Open::new(self.shared);
        let (number, leash) = (connection.number, Arc::clone(&connection.leash));
        let mut driver = Driver::new(stream, connection, Arc::clone(self.shared));
        let reason = {
            let first = Instant::now() + self.shared.config.connect_timeout;
            let mut timer = pin!(sleep_until(first.into()));
            poll_fn(|cx| driver.poll_run(cx, timer.as_mut())).await
        };
        self.log(driver.connection.client_id(), &reason);
        let remains = driver.connection.finish(&reason);
        hang_up(driver, &reason).await;
        drop(open);
        if let Some(remains) = remains {
            self.settle(remains, number, &leash).await;
        }
    }

    fn log(&self, client: &str, reason: &CloseReason) {
        if reason.is_misbehaviour() {
            self.shared.counters.misbehaved();
        }
        let peer = self.peer;
        if !reason.is_remarkable() {
            tracing::debug!(%peer, client, "MQTT: connection closed: {reason}");
        } else if let Some(held_back) = self.shared.log.pass(Instant::now()) {
            tracing::warn!(%peer, client, held_back, "MQTT: connection closed: {reason}");
        }
    }

    /// Publishes the will, if it is wanted, and lets go of the session.
    async fn settle(&self, remains: Remains, number: u64, leash: &Leash) {
        let Remains { session, mut expiry, will } = remains;
        if let Some(will) = will {
            let delay = Duration::from_secs(u64::from(will.value.delay)).min(expiry).min(limits::WILL_DELAY);
            let called_off = wait(leash, delay).await;
            // A client that came back in time and went on did not vanish.
            if delay.is_zero() || called_off != Some(CallOff::Resumed) {
                self.publish_will(&will.value.topic, &will.value.payload).await;
            }
            expiry = expiry.saturating_sub(delay);
        }
        self.shared.sessions.detach(&session, number, expiry, Instant::now());
    }

    async fn publish_will(&self, topic: &str, payload: &[u8]) {
        let deadline = Instant::now() + self.shared.config.full_patience;
        let mut pause = limits::RETRY_FIRST;
        loop {
            let taken = with_scratch(|scratch| self.shared.sink.publish(topic, payload, scratch));
            match taken {
                Ok(()) => return self.shared.counters.took_will(),
                Err(PublishError::Full) if Instant::now() < deadline => {
                    sleep(pause).await;
                    pause = (pause * 2).min(limits::RETRY_LONGEST);
                }
                Err(error) => {
                    self.shared.counters.refused_will();
                    if let Some(held_back) = self.shared.log.pass(Instant::now()) {
                        tracing::warn!(peer = %self.peer, topic, held_back, "MQTT: a will was not stored: {error}");
                    }
                    return;
                }
            }
        }
    }
}

/// Waits until `delay` is over or the leash is pulled.
async fn wait(leash: &Leash, delay: Duration) -> Option<CallOff> {
    timeout(delay, pulled(leash)).await.ok()
}

async fn pulled(leash: &Leash) -> CallOff {
    poll_fn(|cx| {
        leash.watch(cx.waker());
        leash.pulled().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Writes the farewell and closes. What the peer still sends is read and dropped for a moment: closing over unread
/// input resets the connection, and the farewell and the last acknowledgements would be lost with it.
async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut driver: Driver<S>, reason: &CloseReason) {
    if matches!(reason, CloseReason::Broken(_)) {
        return;
    }
    let goodbye = async {
        poll_fn(|cx| driver.poll_unsent(cx)).await?;
        driver.stream.shutdown().await?;
        if !matches!(reason, CloseReason::Disconnected { .. } | CloseReason::HungUp | CloseReason::Crowded) {
            let mut dropped = [0; 512];
            for _ in 0..256 {
                if driver.stream.read(&mut dropped).await? == 0 {
                    break;
                }
            }
        }
        std::io::Result::Ok(())
    };
    // Another waits for the place of who leaves a crowd.
    let patience = if matches!(reason, CloseReason::Crowded) { Duration::ZERO } else { limits::FAREWELL_PATIENCE };
    // The connection is over either way.
    let _ = timeout(patience, goodbye).await;
}

/// Counts a connection for as long as its socket is open.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.counters.open();
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.counters.close();
    }
}

/// A connection's charge, and its place among the live ones, given back in this order: who waits for the place finds room.
struct Place {
    _charge: Reserved,
    _place: crowd::Place<Leash>,
}

//! The listener: connections under a cap, each with small buffers and a limit on every wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use pyralog_service::{LogGate, TimedIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Api;
use super::auth::Peer;
use super::lobby::{Guest, Lobby};
use super::marked::Marked;
use super::router::router;
use crate::crowd::{self, Crowd};
use crate::ring::{Reservation, Use};
use crate::tls::door::{self, Door};

/// Read buffer of a connection; it also bounds the head of a request. The least that hyper takes is 8 KiB.
const BUFFER_BYTES: usize = 16 << 10;
/// What a connection may hold: a read buffer, half as much to write, and its state.
const CONNECTION_BYTES: u64 = 2 * BUFFER_BYTES as u64;
const MAX_HEADERS: usize = 64;
/// How often those who wait are looked at, when nothing else happens.
const LOBBY_TICK: Duration = Duration::from_millis(250);
/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the listener treats connections.
#[derive(Clone)]
pub struct ServerConfig {
    /// TLS, or plain TCP.
    pub tls: Option<Door>,
    /// Connections at a time; further ones wait.
    pub max_connections: usize,
    /// Connections that wait for a place; the latest of further ones are closed.
    pub max_waiting: usize,
    /// Longest wait for the head of a request, and for a next one on an idle connection.
    pub header_timeout: Duration,
    /// Longest wait for a peer that reads an answer.
    pub write_timeout: Duration,
}

/// Serves until `stop` turns true, then lets requests under way end, and closes what is left after `grace`.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    config: ServerConfig,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let (graceful, log) = (GracefulShutdown::new(), LogGate::default());
    let mut tasks = JoinSet::new();
    let service = TowerToHyperService::new(router(api.clone()));
    let (crowd, mut lobby) = (Crowd::new(), Lobby::new(config.max_waiting));
    loop {
        let left = crowd.left();
        while let Some(waiting) = lobby.next(&crowd) {
            let Some((place, guest)) = place(&api, &config, &crowd, waiting.peer) else {
                lobby.put_back(waiting);
                break;
            };
            let (api, config) = (api.clone(), config.clone());
            let (watcher, service) = (graceful.watcher(), service.clone());
            tasks.spawn(async move {
                api.counters.opened();
                let open = Open { api, _place: place };
                tokio::select! {
                    () = guest.leaves() => open.api.counters.turn_away(),
                    () = connection(waiting.stream, &open, &config, watcher, Marked::new(service, &guest, Peer(waiting.peer))) => {}
                }
            });
        }
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if lobby.push(stream, peer, Instant::now()).is_some() {
                        api.counters.turn_away();
                    }
                }
                Err(error) => {
                    if let Some(held_back) = log.pass(Instant::now()) {
                        tracing::warn!(held_back, "http: cannot accept a connection: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = left => {}
            () = tokio::time::sleep(LOBBY_TICK) => {
                (0..lobby.tidy(config.header_timeout, Instant::now())).for_each(|_| api.counters.turn_away());
            }
        }
    }
    // New connections are refused while the old ones end.
    drop(listener);
    let _ = tokio::time::timeout(grace, graceful.shutdown()).await;
    tasks.shutdown().await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the agent is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A place for a connection from `peer`, if there is room; otherwise asks others to leave, if it is they who should.
fn place(api: &Api, config: &ServerConfig, crowd: &Arc<Crowd<Guest>>, peer: IpAddr) -> Option<(Place, Arc<Guest>)> {
    let bytes = CONNECTION_BYTES + if config.tls.is_some() { door::CONNECTION_BYTES } else { 0 };
    let held = (crowd.len() < config.max_connections).then(|| api.ring.reserve_for(Use::Http, bytes).ok()).flatten();
    let Some(held) = held else {
        let now = Instant::now();
        crowd.surplus(peer, now).iter().for_each(|guest| guest.send_away());
        // One that never rests, with request after request, is never silent; it makes room for the next of its own host all the same.
        if let Some(guest) = crowd.longest_silent(peer, now) {
            guest.leave_after_answer();
        }
        return None;
    };
    let guest = Arc::new(Guest::default());
    let place = crowd.enter(peer, Arc::clone(&guest), Instant::now());
    if config.tls.is_some() {
        guest.shakes_hands();
    }
    Some((Place { _held: held, _place: place }, guest))
}

/// A connection's memory and its place, given back in this order: who waits for the place finds room.
struct Place {
    _held: Reservation,
    _place: crowd::Place<Guest>,
}

/// A connection that counts as open as long as it lives.
struct Open {
    api: Api,
    _place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.api.counters.closed();
    }
}

type Watcher = hyper_util::server::graceful::Watcher;

async fn connection(stream: TcpStream, open: &Open, config: &ServerConfig, watcher: Watcher, service: Marked) {
    // Answers are small; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &config.tls else { return speak(stream, config, watcher, service).await };
    let handshake = Box::pin(tls.shake(stream));
    match tokio::time::timeout(config.header_timeout, handshake).await {
        Ok(Ok(stream)) => Box::pin(speak(stream, config, watcher, service)).await,
        Ok(Err(error)) => {
            open.api.counters.turn_away();
            tracing::debug!("http: no TLS with a client: {error}");
        }
        Err(_) => open.api.counters.turn_away(),
    }
}

async fn speak<S>(stream: S, config: &ServerConfig, watcher: Watcher, service: Marked)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(TimedIo::new(stream, config.write_timeout));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("http: a connection ended: {error}");
    }
}

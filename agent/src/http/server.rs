//! The listener: connections under a cap, each with small buffers and a limit on every wait.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Api;
use super::router::router;
use super::timed_io::TimedIo;
use crate::ring::Reservation;
use crate::tls::door::{self, Door};

/// Read buffer of a connection; it also bounds the head of a request. The least that hyper takes is 8 KiB.
const BUFFER_BYTES: usize = 16 << 10;
/// What a connection may hold: read and write buffer and its state.
const CONNECTION_BYTES: u64 = 3 * BUFFER_BYTES as u64;
const MAX_HEADERS: usize = 64;
/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the listener treats connections.
#[derive(Clone)]
pub struct ServerConfig {
    /// TLS, or plain TCP.
    pub tls: Option<Door>,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
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
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let service = TowerToHyperService::new(router(api.clone()));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
            accepted = next(&listener, &slots) => accepted,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("http: cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let bytes = CONNECTION_BYTES + if config.tls.is_some() { door::CONNECTION_BYTES } else { 0 };
        let Ok(held) = api.ring.reserve(bytes) else {
            api.counters.turn_away();
            continue;
        };
        let open = Open { api: api.clone(), _held: held };
        open.api.counters.opened();
        let (config, watcher, service) = (config.clone(), graceful.watcher(), service.clone());
        tasks.spawn(async move {
            let _slot = slot;
            connection(stream, &open, &config, watcher, service).await;
        });
    }
    // New connections are refused while the old ones end.
    drop(listener);
    let _ = tokio::time::timeout(grace, graceful.shutdown()).await;
    tasks.shutdown().await;
}

async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// A connection that counts as open as long as it lives.
struct Open {
    api: Api,
    _held: Reservation,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.api.counters.closed();
    }
}

type Service = TowerToHyperService<axum::Router>;
type Watcher = hyper_util::server::graceful::Watcher;

async fn connection(stream: TcpStream, open: &Open, config: &ServerConfig, watcher: Watcher, service: Service) {
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

async fn speak<S>(stream: S, config: &ServerConfig, watcher: Watcher, service: Service)
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

//! The accept loop: bounded connections, TLS or not, HTTP/1.1 and HTTP/2, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pyralog_service::{TimedIo, every_10s};
use pyralog_supervision::Beat;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::App;
use super::activity::Activity;
use super::caller::Peer;
use super::door;
use crate::auth::Certificate;
use crate::tls::Tls;

/// How long a client may take to send a request's head, and to begin its first request at all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after the system refused a connection for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Streams that one HTTP/2 connection may open at once.
const MAX_STREAMS: u32 = 64;

/// Largest head of an HTTP/1.1 request.
const MAX_HEAD: usize = 64 << 10;

/// Header lines of an HTTP/1.1 request.
const MAX_HEADERS: usize = 64;

/// Largest list of headers of an HTTP/2 request, unpacked.
const MAX_HEADER_LIST: u32 = 32 << 10;

/// How often the accept loop is heard of, at least, and how long it may be silent.
const TICK: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(15);

/// By what the accept loop is known to live: it promises in a time that began at `began`.
pub(crate) struct Life {
    pub(crate) beat: Beat,
    pub(crate) began: Instant,
}

/// What a connection is served with.
#[derive(Clone)]
struct Serving {
    app: App,
    builder: Arc<Builder<TokioExecutor>>,
    service: TowerToHyperService<axum::Router>,
    /// Turns true when the hub stops.
    stop: watch::Receiver<bool>,
    /// How long a connection may live at all.
    max_age: Option<Duration>,
}

/// Serves `app` on `listener` until `stop` is ready; then waits up to `grace` for requests in work. Says whether all of
/// them came to their end.
pub(crate) async fn serve(
    listener: TcpListener,
    app: App,
    tls: Option<Arc<Tls>>,
    max_connections: usize,
    grace: Duration,
    life: Life,
    stop: impl Future<Output = ()>,
) -> bool {
    let max_connections = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let places = Arc::new(Semaphore::new(max_connections as usize));
    let (stopping, stopped) = watch::channel(false);
    let service = TowerToHyperService::new(app.router());
    let serving = Serving {
        app,
        builder: Arc::new(builder()),
        service,
        stop: stopped,
        max_age: tls.as_ref().map(|tls| tls.max_connection_age),
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        life.beat.promise(life.began.elapsed(), SILENCE);
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
            () = tokio::time::sleep(TICK) => continue,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                every_10s!(skipped => tracing::warn!(skipped, "cannot accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers should not wait for each other; a socket that cannot is served all the same.
        let _ = stream.set_nodelay(true);
        let (serving, tls) = (serving.clone(), tls.clone());
        tokio::spawn(async move {
            serving.app.inner.metrics.connections().inc();
            match tls {
                None => speak(&serving, stream, peer, None).await,
                Some(tls) => secure(&serving, &tls, stream, peer).await,
            }
            serving.app.inner.metrics.connections().dec();
            drop(permit);
        });
    }
    life.beat.rest();
    drop(listener);
    stopping.send_replace(true);
    // With every place free again, no connection is left.
    tokio::time::timeout(grace, places.acquire_many(max_connections)).await.is_ok()
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_header_list_size(MAX_HEADER_LIST);
    builder
}

/// Waits for a place, then for a connection to give it to.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Shakes hands, which is timed and ends with the hub, and speaks over what comes of it.
async fn secure(serving: &Serving, tls: &Tls, stream: TcpStream, peer: SocketAddr) {
    // Boxed: a task has the size of the largest thing that it ever holds, and the handshake is large.
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, Box::pin(door::handshake(tls.acceptor(), stream)));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = stopped(&serving.stop) => return,
    };
    let failure = match shaken {
        Ok(Ok(stream)) => {
            let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = presented.map(Certificate::read);
            return Box::pin(speak(serving, stream, peer, certificate)).await;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long over the handshake".to_owned(),
    };
    serving.app.inner.metrics.tls_failed();
    every_10s!(skipped => tracing::warn!(%peer, skipped, "no TLS with a client: {failure}"));
}

async fn speak<S>(serving: &Serving, stream: S, peer: SocketAddr, certificate: Option<Certificate>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (service, activity) = (serving.service.clone(), Activity::default());
    let begun = activity.clone();
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        // Of HTTP/1.1, the bytes on their way are timed.
        let timed = request.version() == http::Version::HTTP_2;
        begun.during(timed, hyper::service::Service::call(&service, request))
    });
    let live = serving.app.live();
    let patience = live.write_timeout;
    let io = TokioIo::new(TimedIo::new(stream, patience));
    let mut connection = std::pin::pin!(serving.builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = activity.stalled(patience) => return given_up(serving, patience),
        () = async { tokio::select! {
            () = stopped(&serving.stop) => {}
            () = activity.idle(HEAD_TIMEOUT, live.idle_timeout) => {}
            () = aged(serving.max_age) => {}
        } } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = activity.stalled(patience) => return given_up(serving, patience),
                // The last of an answer may be what it does not take.
                () = activity.idle(patience, patience) => return given_up(serving, patience),
            }
        }
    };
    match ended {
        Err(error) if is_unread(&*error) => given_up(serving, patience),
        Err(error) => tracing::debug!("a connection ended: {error}"),
        Ok(()) => {}
    }
}

/// Counts a connection that is closed because its client does not read.
fn given_up(serving: &Serving, patience: Duration) {
    serving.app.inner.metrics.unread();
    every_10s!(skipped => tracing::warn!(
        skipped, "closed a connection: its client took nothing of an answer for {:?} (limits.write_timeout)", patience
    ));
}

/// Whether a connection ended because its client takes no bytes; other waits end without an error of the stream.
fn is_unread(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Completes when the hub stops.
async fn stopped(stop: &watch::Receiver<bool>) {
    // An error says that the server is gone, which is a stop as well.
    let _ = stop.clone().wait_for(|stop| *stop).await;
}

/// Completes when a connection is to be made anew, so that its client's certificate is looked at again.
async fn aged(max_age: Option<Duration>) {
    match max_age {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}

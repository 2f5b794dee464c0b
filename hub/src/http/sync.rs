//! Where agents say hello and send batches.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pyralog_sync_protocol::AgentId;
use pyralog_sync_protocol::frame::{Refusal, RefusalKind, Reply};

use super::App;
use super::caller::Asker;
use super::reply::{Failure, Names};
use crate::auth::Caller;
use crate::auth::tokens::Scope;
use crate::clock::unix_nanos;
use crate::session::Outcome;

/// Media type of messages of the sync protocol.
pub(super) const MEDIA_TYPE: &str = "application/vnd.pyralog.sync";

/// Largest hello: the most logs with the longest names.
const MAX_HELLO: usize = 1 << 20;

/// How long a request waits for a place among those in work. A commit takes milliseconds, so after an outage hundreds of agents are served
/// while none would be if each were sent away to come back in seconds.
const PLACE_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Message {
    Hello,
    Batch,
}

pub(super) async fn hello(state: State<App>, path: Names<String>, caller: Asker, body: Body) -> Response {
    take(Message::Hello, state.0, path.0, caller.0, body).await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn batch(state: State<App>, path: Names<String>, caller: Asker, body: Body) -> Response {
    take(Message::Batch, state.0, path.0, caller.0, body).await.unwrap_or_else(IntoResponse::into_response)
}

/// Credentials first, then a place among those in flight, and only then the body.
async fn take(message: Message, app: App, agent: String, caller: Caller, body: Body) -> Result<Response, Failure> {
    let inner = &*app.inner;
    let agent = AgentId::new(&agent)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("{agent:?} is no agent id: {error}")))?;
    if let Err(denied) = app.admit(&caller, Scope::Sync, Some(agent.as_str())) {
        inner.metrics.unauthorized();
        pyralog_service::every_10s!(skipped => tracing::warn!(%agent, skipped, "refused to take batches: {denied}"));
        return Err(denied.into());
    }
    let live = app.live();
    // Those who wait hold a connection each and no body, and are served in the order in which they came.
    let Ok(Ok(_permit)) = tokio::time::timeout(PLACE_WAIT, live.in_flight.acquire()).await else {
        let kind = RefusalKind::Busy { retry_after: live.retry_after };
        return Ok(refuse(&app, Refusal::new(kind, "the hub has all the batches in work that it takes", Vec::new())));
    };
    let limit = match message {
        Message::Hello => MAX_HELLO,
        Message::Batch => live.max_batch,
    };
    let body = match read(&app, &caller.headers, body, limit, live.request_timeout).await? {
        Ok(body) => body,
        Err(refusal) => return Ok(refuse(&app, refusal)),
    };
    let outcome = match message {
        Message::Hello => Box::pin(inner.sessions.hello(&agent, &body, unix_nanos())).await,
        Message::Batch => Box::pin(inner.sessions.batch(&agent, &body, unix_nanos())).await,
    };
    Ok(answer(&app, &agent, outcome))
}

/// The body, decompressed; a refusal when it is over the limit.
async fn read(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
) -> Result<Result<Bytes, Refusal>, Failure> {
    let too_large = || {
        let kind = RefusalKind::TooLarge { limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        Refusal::new(kind, format!("the body is over this hub's limit of {limit} bytes"), Vec::new())
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit as u64) {
        return Ok(Err(too_large()));
    }
    let collected = tokio::time::timeout(timeout, Limited::new(body, limit).collect());
    let bytes = match collected.await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(Err(too_large())),
        Ok(Err(error)) => {
            return Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body ended early: {error}; send it again")));
        }
        Err(_) => {
            let timeout = humantime::format_duration(timeout);
            let error = format!("the body took longer than {timeout} to arrive; send smaller batches");
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, error));
        }
    };
    app.inner.metrics.received(bytes.len());
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Ok(Ok(bytes)),
        Some(b"zstd") => match decompress(&bytes, limit) {
            Ok(Some(bytes)) => Ok(Ok(bytes)),
            Ok(None) => Ok(Err(too_large())),
            Err(error) => Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body is not zstd: {error}"))),
        },
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let error = format!("the hub takes bodies as they are or in zstd, not {other:?}");
            Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
        }
    }
}

/// `None` when it would be larger than `limit`.
fn decompress(bytes: &[u8], limit: usize) -> std::io::Result<Option<Bytes>> {
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(2).min(limit));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(24)?;
    decoder.take(limit as u64 + 1).read_to_end(&mut out)?;
    Ok((out.len() <= limit).then(|| out.into()))
}

fn answer(app: &App, agent: &AgentId, outcome: Outcome) -> Response {
    app.inner.metrics.done(&outcome.done);
    if let Some(error) = &outcome.store_error {
        app.inner.metrics.store_failed();
        pyralog_service::every_10s!(
            skipped => tracing::error!(%agent, skipped, "told an agent to come back later: {error}")
        );
    }
    match outcome.reply {
        Reply::Refusal(refusal) => {
            if let RefusalKind::Fenced { newest } = refusal.kind {
                pyralog_service::every_10s!(
                    skipped => tracing::warn!(%agent, %newest, skipped, "fenced an older process with this agent's id")
                );
            }
            refuse(app, refusal)
        }
        reply => {
            app.inner.metrics.replied("ok");
            message(StatusCode::OK, reply.encode())
        }
    }
}

fn refuse(app: &App, refusal: Refusal) -> Response {
    app.inner.metrics.replied(refusal.kind.word());
    tracing::debug!(refusal = refusal.kind.word(), "refused: {}", refusal.detail);
    let status = match &refusal.kind {
        RefusalKind::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        RefusalKind::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::CONFLICT,
    };
    let mut response = message(status, refusal.encode());
    if let RefusalKind::Busy { retry_after } = refusal.kind {
        let seconds = retry_after.as_millis().div_ceil(1000).clamp(1, 3600) as u64;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn message(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

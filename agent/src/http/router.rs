//! Which path does what.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::{HeaderValue, StatusCode, header};

use super::error::ApiError;
use super::{Api, auth, logs, page, post as post_records, records, reply, write};
use crate::metrics;

/// Bytes that one log takes in the status document and its text, the longest name included.
const STATUS_BYTES_PER_LOG: u64 = 1536;

/// All paths of the API.
pub fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/v1/logs", get(logs::list))
        .route("/v1/logs/{log}", get(logs::one))
        .route("/v1/logs/{log}/records", get(records::read).post(post_records::post))
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics_text))
        .route("/write", post(write::write))
        .route("/api/v2/write", post(write::write))
        .route("/query", any(write::query))
        .layer(from_fn_with_state(api.clone(), auth::require));
    Router::new()
        .merge(guarded)
        .route("/", get(page::page))
        .route("/ping", get(write::ping))
        .route("/health", get(write::health))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(close_unread))
        .layer(from_fn_with_state(api.clone(), count))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Result<Response, ApiError> {
    let _held = reply::room(&api.ring, STATUS_BYTES_PER_LOG * api.ring.status().logs as u64).await?;
    Ok(reply::json(&api.status.status()))
}

async fn metrics_text(State(api): State<Api>) -> Result<Response, ApiError> {
    let _held = reply::room(&api.ring, metrics::BYTES_PER_LOG * api.ring.status().logs as u64).await?;
    let text = api.metrics.text();
    let text = text.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], text).into_response())
}

async fn ready(State(api): State<Api>) -> Response {
    if *api.stopping.borrow() {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping").into_response();
    }
    "ready\n".into_response()
}

async fn unknown_path(request: Request) -> ApiError {
    let path = request.uri().path();
    let shown: String = path.chars().take(200).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is nothing at {shown}; read from /v1/logs and /v1/status, write to /write or /v1/logs/{{log}}/records"
        ),
    )
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} is not for {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// A refusal may leave a body unread; the connection must not take its rest for the next request, nor read it to the end.
async fn close_unread(request: Request, next: Next) -> Response {
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|len| len != "0");
    let mut response = next.run(request).await;
    let unread =
        matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_FOUND);
    if has_body && unread {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    api.counters.answered(response.status());
    response
}

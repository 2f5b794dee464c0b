//! Whether the hub lives, and whether it can work.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::App;
use super::reply::{self, Failure};

/// How long an answer about the store holds: asking costs a write.
const HOLDS: Duration = Duration::from_secs(2);

pub(super) async fn healthz() -> Response {
    reply::json(StatusCode::OK, &json!({ "status": "ok" }))
}

pub(super) async fn readyz(State(app): State<App>) -> Result<Response, Failure> {
    let mut known = app.inner.readiness.lock().await;
    let ready = match &*known {
        Some((when, ready)) if when.elapsed() < HOLDS => ready.clone(),
        _ => {
            let ready = app.inner.store.check().await.map_err(|error| error.to_string());
            *known = Some((Instant::now(), ready.clone()));
            ready
        }
    };
    match ready {
        Ok(()) => Ok(reply::json(StatusCode::OK, &json!({ "status": "ready" }))),
        Err(error) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, error).retry_after(5)),
    }
}

//! What InfluxDB clients speak: line protocol on `/write` and `/api/v2/write`, and the paths by which they look for a server.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;

use super::error::ApiError;
use super::{Api, intake, reply};
use crate::ingest::decode::time::Precision;
use crate::ingest::upload::LineBody;

/// Whether the clients of this path read InfluxDB's errors.
pub(super) fn is_influx(path: &str) -> bool {
    matches!(path, "/write" | "/api/v2/write" | "/query")
}

/// `POST /write` and `POST /api/v2/write`: 204 when every line is stored; 400 names the first bad line and says how many
/// good ones were kept.
pub(super) async fn write(State(api): State<Api>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    match store(&api, &uri, &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.for_influx().into_response(),
    }
}

async fn store(api: &Api, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<(), ApiError> {
    let query =
        Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|error| ApiError::bad(error.to_string()))?;
    let precision = query.get("precision").map_or("", String::as_str);
    let precision: Precision = precision.parse().map_err(|error| ApiError::bad(format!("{error}")))?;
    let origin = format!("POST {}", uri.path());
    let coding = intake::coding(headers)?;
    let most = api.limits.max_body;
    let limit = intake::length(headers, coding).map_or(most, |length| length.min(most));
    let open = || LineBody::line_protocol(&api.ring, api.clock, precision, coding, limit, &origin);
    let mut lines = intake::when_there_is_room(open).await?;
    intake::pump(api, headers, body, |chunk| lines.feed(chunk).map_err(|error| intake::broken(api, error))).await?;
    let report = lines.finish().map_err(|error| intake::broken(api, error))?;
    intake::complete(api, report).map(|_| ())
}

/// `GET` and `HEAD /ping`.
pub(super) async fn ping() -> Response {
    // Clients take the header for the sign of an InfluxDB, and its first digit for the API it has.
    let headers =
        [("x-influxdb-version", concat!("v2-pyralog-", env!("CARGO_PKG_VERSION"))), ("x-influxdb-build", "OSS")];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `GET /health`.
pub(super) async fn health() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let health = json!({"name": "pyralog-agent", "status": "pass", "message": "ready for writes", "checks": [], "version": version});
    reply::json(&health)
}

/// `/query`: InfluxDB 1 clients create their database before they write; a log needs no creation.
pub(super) async fn query(State(api): State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = Query::<BTreeMap<String, String>>::try_from_uri(&parts.uri);
    let mut asked = query.ok().and_then(|query| query.get("q").cloned()).unwrap_or_default();
    if asked.is_empty() {
        // As a form, "q=CREATE+DATABASE+x".
        let read = tokio::time::timeout(api.limits.body_timeout, axum::body::to_bytes(body, 4096)).await;
        let body = read.ok().and_then(Result::ok).unwrap_or_default();
        asked = String::from_utf8_lossy(&body).trim_start_matches("q=").replace(['+', '%'], " ");
    }
    if asked.trim_start().to_ascii_uppercase().starts_with("CREATE") {
        return reply::json(&json!({"results": [{"statement_id": 0}]}));
    }
    let remedy = "InfluxQL is not answered here; read with GET /v1/logs/{log}/records";
    ApiError::bad(remedy).for_influx().into_response()
}

//! `GET /v1/logs` and `GET /v1/logs/{log}`: what there is to read.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Api, reply};
use crate::config::nearest;
use crate::ring::LogSummary;
use crate::status::receipted;

/// How many names an error lists before it says "and more".
const LISTED: usize = 10;

pub(super) async fn list(State(api): State<Api>) -> Response {
    let logs: Vec<Value> = api.ring.logs().iter().map(describe).collect();
    reply::json(&json!({ "logs": logs }))
}

pub(super) async fn one(State(api): State<Api>, Path(log): Path<String>) -> Result<Response, ApiError> {
    api.ring.log(&log).map(|summary| reply::json(&describe(&summary))).ok_or_else(|| unknown(&api, &log))
}

/// 404 with the nearest name, or with the names that there are.
pub(super) fn unknown(api: &Api, log: &str) -> ApiError {
    let logs = api.ring.logs();
    let names: Vec<&str> = logs.iter().map(|log| &*log.name).collect();
    let shown: String = log.chars().take(255).collect();
    let remedy = match nearest(log, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if names.is_empty() => "there is none yet; a log appears with its first record".to_owned(),
        None => {
            let more = if names.len() > LISTED { " and more (GET /v1/logs)" } else { "" };
            format!("there are {}{more}", names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", "))
        }
    };
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no log \"{shown}\"; {remedy}"))
}

fn describe(log: &LogSummary) -> Value {
    let columns: Vec<Value> =
        log.schema.columns().iter().map(|column| json!({"name": column.name, "type": column.ty.suffix()})).collect();
    json!({
        "name": &*log.name,
        "schema": {"columns": columns},
        "tail": log.tail,
        "head": log.head,
        "rows": log.rows,
        "segments": log.segments,
        "bytes": log.bytes,
        "min_time": log.times.map(|(min, _)| min),
        "max_time": log.times.map(|(_, max)| max),
        "accepted": log.account.accepted,
        "committed": log.account.committed,
        "pending": log.account.pending,
        "receipted": receipted(log.account.receipted),
    })
}

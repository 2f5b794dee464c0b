//! `GET /v1/logs` and `GET /v1/logs/{log}`: what there is to read.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::{Api, reply};
use crate::config::nearest;
use crate::ring::LogSummary;
use crate::status::receipted;

/// How many names an error lists before it says "and more".
const LISTED: usize = 10;

pub(super) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let logs = api.ring.logs();
    let _held = reply::room(&api.ring, logs.iter().map(bytes).sum()).await?;
    let logs: Vec<LogDocument<'_>> = logs.iter().map(LogDocument::of).collect();
    Ok(reply::json(&BTreeMap::from([("logs", logs)])))
}

pub(super) async fn one(State(api): State<Api>, Path(log): Path<String>) -> Result<Response, ApiError> {
    let summary = api.ring.log(&log).ok_or_else(|| unknown(&api, &log))?;
    let _held = reply::room(&api.ring, bytes(&summary)).await?;
    Ok(reply::json(&LogDocument::of(&summary)))
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

/// What the API says of a log.
#[derive(Serialize)]
struct LogDocument<'a> {
    name: &'a str,
    schema: SchemaDocument<'a>,
    tail: u64,
    head: u64,
    rows: u64,
    segments: usize,
    bytes: u64,
    min_time: Option<i64>,
    max_time: Option<i64>,
    accepted: u64,
    committed: u64,
    pending: u64,
    receipted: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct SchemaDocument<'a> {
    columns: Vec<ColumnDocument<'a>>,
}

#[derive(Serialize)]
struct ColumnDocument<'a> {
    name: &'a str,
    r#type: &'static str,
}

impl<'a> LogDocument<'a> {
    fn of(log: &'a LogSummary) -> Self {
        let columns = log.schema.columns().iter();
        let columns = columns.map(|column| ColumnDocument { name: &column.name, r#type: column.ty.suffix() });
        Self {
            name: &log.name,
            schema: SchemaDocument { columns: columns.collect() },
            tail: log.tail,
            head: log.head,
            rows: log.rows,
            segments: log.segments,
            bytes: log.bytes,
            min_time: log.times.map(|(min, _)| min),
            max_time: log.times.map(|(_, max)| max),
            accepted: log.account.accepted,
            committed: log.account.committed,
            pending: log.account.pending,
            receipted: receipted(log.account.receipted),
        }
    }
}

/// What the document of a log and its text take, roughly from above.
fn bytes(log: &LogSummary) -> u64 {
    // The text is written into a buffer that doubles.
    let columns: usize = log.schema.columns().iter().map(|column| 2 * (column.name.len() + 40) + 48).sum();
    (columns + 2 * log.name.len() + 2048) as u64
}

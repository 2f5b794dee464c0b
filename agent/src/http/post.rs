//! `POST /v1/logs/{log}/records`: JSON, NDJSON and Arrow into one log.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::appender::{Appender, Tally};
use super::error::ApiError;
use super::intake::Received;
use super::json_stream::{JsonStream, MAX_OBJECT, Misplaced};
use super::{Api, arrow};
use crate::config::nearest;
use crate::ingest::decode::arrow_stream::StreamOptions;
use crate::ingest::decode::json::{self as json_decoder, JsonOptions};
use crate::ingest::decode::ndjson::Ndjson;
use crate::ingest::decode::{DecodeError, Scratch, Target};

/// Longest name of a log, in bytes.
const MAX_LOG_NAME: usize = 255;
const PARAMETERS: [&str; 3] = ["tags", "time_key", "time_unit"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Ndjson,
    Arrow,
}

/// 200 with the number of records stored; 400 names the first bad line and says how many good ones were kept.
pub(super) async fn post(
    State(api): State<Api>,
    Path(log): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    if log.is_empty() || log.len() > MAX_LOG_NAME {
        return Err(ApiError::bad(format!("the name of a log has 1 to {MAX_LOG_NAME} bytes")));
    }
    let kind = kind(&headers)?;
    let options = options(&uri)?;
    let received = Received::of(&api, &headers, body).await?;
    let tally = match kind {
        Kind::Json => json(&api, &log, options, received).await?,
        Kind::Ndjson => ndjson(&api, &log, options, received).await?,
        Kind::Arrow => arrow::store(&api, &log, stream_options(options), received).await?,
    };
    Ok(Json(json!({ "stored": tally.stored })))
}

async fn ndjson(api: &Api, log: &str, options: JsonOptions, received: Received) -> Result<Tally, ApiError> {
    let target = Target { log: Some(log), tags: &[] };
    let mut appender = Appender::new(api, log);
    let mut decoder = Ndjson::new(options);
    let taken = received
        .pieces(&api.ring, |piece| appender.decode(piece, |part, records, bad| decoder.feed(part, target, records, bad)));
    taken.await?;
    appender.last(|records, bad| decoder.finish(target, records, bad))?;
    appender.outcome()
}

async fn json(api: &Api, log: &str, options: JsonOptions, received: Received) -> Result<Tally, ApiError> {
    let target = Target { log: Some(log), tags: &[] };
    let _held = api.ring.reserve(MAX_OBJECT as u64)?;
    let mut appender = Appender::new(api, log);
    let mut stream = JsonStream::new();
    let mut scratch = Scratch::default();
    let mut misplaced = None;
    let taken = received.pieces(&api.ring, |piece| {
        appender.decode(piece, |part, records, bad| {
            if misplaced.is_some() {
                return;
            }
            let mut take = |object: &[u8], began| {
                if let Err(error) = json_decoder::decode(object, &options, target, records, &mut scratch) {
                    records.abandon();
                    bad.bad_line(within(error, began), object);
                }
            };
            if let Err(error) = stream.feed(part, &mut take) {
                bad.bad_line(decode_error(&error), part);
                misplaced = Some(error);
            }
        })
    });
    taken.await?;
    if misplaced.is_none()
        && let Err(error) = stream.finish()
    {
        appender.last(|_, bad| bad.bad_line(decode_error(&error), &[]))?;
    }
    appender.outcome()
}

/// The place in the body of a place in an object that began at `began`.
fn within(error: DecodeError, began: (u64, u64)) -> DecodeError {
    let column = if error.line == 1 { began.1 + error.column - 1 } else { error.column };
    DecodeError { line: began.0 + error.line - 1, column, ..error }
}

fn decode_error(error: &Misplaced) -> DecodeError {
    DecodeError { line: error.line, column: error.column, message: error.message.into() }
}

fn kind(headers: &HeaderMap) -> Result<Kind, ApiError> {
    let media = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
    match media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        // Without a word, or with curl's default for -d, it is most likely JSON; a fault is then named by its place.
        "" | "application/json" | "application/x-www-form-urlencoded" | "text/json" => Ok(Kind::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok(Kind::Ndjson),
        "application/vnd.apache.arrow.stream" => Ok(Kind::Arrow),
        other => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "Content-Type {other} is not taken here; send application/json, application/x-ndjson or \
                 application/vnd.apache.arrow.stream (line protocol goes to /write)"
            ),
        )),
    }
}

/// Arrow has its own units of time.
fn stream_options(options: JsonOptions) -> StreamOptions {
    let default = JsonOptions::default().time_key;
    StreamOptions { time_key: Some(options.time_key).filter(|key| *key != default), tags: options.tags }
}

fn options(uri: &Uri) -> Result<JsonOptions, ApiError> {
    let query = Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|error| ApiError::bad(error.to_string()))?;
    let mut options = JsonOptions::default();
    for (key, value) in &query.0 {
        match key.as_str() {
            "tags" => {
                options.tags = value.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
            }
            "time_key" => options.time_key.clone_from(value),
            "time_unit" => options.time_unit = value.parse().map_err(|error| ApiError::bad(format!("{error}")))?,
            other => {
                let remedy = match nearest(other, PARAMETERS) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("there are {}", PARAMETERS.join(", ")),
                };
                return Err(ApiError::bad(format!("unknown parameter {other}; {remedy}")));
            }
        }
    }
    Ok(options)
}

//! `POST /v1/logs/{log}/records`: JSON, NDJSON and Arrow into one log.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::json;

use super::error::ApiError;
use super::{Api, intake, reply};
use crate::config::nearest;
use crate::ingest::decode::MAX_NAME;
use crate::ingest::decode::arrow_stream::StreamOptions;
use crate::ingest::decode::json::JsonOptions;
use crate::ingest::upload::{LineBody, WholeBody, WriteError, WriteReport, write_arrow, write_json};
use crate::ring::Reservation;

/// Bodies that are decoded on the thread that serves the network; larger ones would keep others waiting.
const INLINE: usize = 64 << 10;

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
) -> Result<Response, ApiError> {
    if log.is_empty() || log.len() > MAX_NAME {
        return Err(ApiError::bad(format!("the name of a log has 1 to {MAX_NAME} bytes")));
    }
    let (kind, options) = (kind(&headers)?, options(&uri)?);
    let coding = intake::coding(&headers)?;
    let (limit, length) = (api.limits.max_body, intake::length(&headers, coding));
    let report = if kind == Kind::Ndjson {
        let origin = format!("POST {}", uri.path());
        let limit = length.map_or(limit, |length| length.min(limit));
        let open = || LineBody::ndjson(&api.ring, api.clock, &log, options.clone(), coding, limit, &origin);
        let mut lines = intake::when_there_is_room(open).await?;
        let take = |chunk: &[u8]| lines.feed(chunk).map_err(|error| intake::broken(&api, error));
        intake::pump(&api, &headers, body, take).await?;
        lines.finish()
    } else {
        let mut whole = intake::when_there_is_room(|| WholeBody::new(&api.ring, coding, limit, length)).await?;
        intake::pump(&api, &headers, body, |chunk| Ok(whole.feed(chunk)?)).await?;
        let (bytes, held) = whole.finish()?;
        let whole = Whole { api: api.clone(), kind, log, options, bytes, held: Arc::new(held) };
        whole.store().await?
    };
    let report = report.map_err(|error| intake::broken(&api, error))?;
    let report = intake::complete(&api, report)?;
    Ok(reply::json(&json!({ "stored": report.accepted })))
}

/// A body that is there as a whole.
#[derive(Clone)]
struct Whole {
    api: Api,
    kind: Kind,
    log: String,
    options: JsonOptions,
    bytes: Bytes,
    /// Pays for the bytes until the last who decodes them is done.
    held: Arc<Reservation>,
}

impl Whole {
    async fn store(&self) -> Result<Result<WriteReport, WriteError>, ApiError> {
        let mut tries = 0;
        loop {
            let whole = self.clone();
            let decoded =
                if self.bytes.len() > INLINE { off_thread(move || whole.decode()).await? } else { whole.decode() };
            if !intake::pauses_for_room(&decoded, tries).await {
                return Ok(decoded);
            }
            tries += 1;
        }
    }

    fn decode(self) -> Result<WriteReport, WriteError> {
        let Self { api, kind, log, options, bytes, held } = self;
        let stored = match kind {
            Kind::Arrow => write_arrow(&api.ring, api.clock, &log, stream_options(options), bytes),
            _ => write_json(&api.ring, api.clock, &log, &options, &bytes),
        };
        drop(held);
        stored
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let message = |error| format!("decoding failed, which is a fault of ours: {error}");
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message(error)))
}

fn kind(headers: &HeaderMap) -> Result<Kind, ApiError> {
    let media = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
    match media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        // Without a word, or with curl's default for -d, it is most likely JSON; a fault is then named by its place.
        "" | "application/json" | "application/x-www-form-urlencoded" | "text/json" => Ok(Kind::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(Kind::Ndjson)
        }
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
    let query =
        Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|error| ApiError::bad(error.to_string()))?;
    let mut options = JsonOptions::default();
    for (key, value) in &query.0 {
        match key.as_str() {
            "tags" => {
                options.tags =
                    value.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
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

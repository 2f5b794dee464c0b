//! Queries: `POST /v1/sql` with the query as the body.
//!
//! As with records, an answer that cannot come to its end breaks off, so that every client reports an incomplete transfer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::header::{ACCEPT, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use pyralog_lake::{Lake, LakeError};
use pyralog_sql::{Answer, Engine, Format, Limits, MAX_QUERY, Scanned, SourceError, SqlError};
use tokio::sync::OnceCell;

use super::App;
use super::caller::Asker;
use super::query::{Parameters, bad};
use super::records::DAMAGED;
use super::reply::Failure;
use crate::archive::open_lake_to_read;
use crate::auth::tokens::Scope;
use crate::config::Config;
use crate::sql::{Notes, Tables};
use crate::store::StoreUrl;

/// How long an answer that breaks off waits for what came before to be sent.
const FLUSH: Duration = Duration::from_millis(50);

/// Says how much of what the query's tables consist of was read: `files=3/1461 chains=1/4`.
const SCANNED: HeaderName = HeaderName::from_static("x-pyralog-scanned");

/// What queries are run by; all of it is made for the first one.
pub(super) struct Sql {
    limits: Limits,
    engine: OnceCell<Engine>,
    at: Option<StoreUrl>,
    lake: OnceCell<Lake>,
}

impl Sql {
    pub(super) fn new(config: &Config) -> Self {
        // The other half is for agents, who must not wait for readers.
        let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        let limits = Limits {
            memory: usize::try_from(config.sql.max_memory).unwrap_or(usize::MAX),
            queries: config.sql.max_queries,
            timeout: config.sql.timeout,
            threads,
        };
        Self { limits, engine: OnceCell::new(), at: config.lake.clone(), lake: OnceCell::new() }
    }

    async fn engine(&self) -> Result<&Engine, Failure> {
        let made = self.engine.get_or_try_init(|| async { Engine::new(self.limits.clone()) }).await;
        made.map_err(|error| Failure::new(StatusCode::SERVICE_UNAVAILABLE, format!("no threads for SQL: {error}")))
    }

    async fn lake(&self) -> Result<Option<Lake>, Failure> {
        let Some(url) = &self.at else { return Ok(None) };
        let lake = self.lake.get_or_try_init(|| open_lake_to_read(url)).await;
        lake.cloned().map(Some).map_err(|error| match error {
            LakeError::Unavailable { .. } | LakeError::Unreachable(_) => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(5)
            }
            _ => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error} (here: the hub's `lake`)")),
        })
    }
}

pub(super) async fn sql(
    State(app): State<App>,
    Asker(caller): Asker,
    query: RawQuery,
    body: Body,
) -> Result<Response, Failure> {
    app.admit(&caller, Scope::Read, None)?;
    let parameters = Parameters::parse(query.0.as_deref(), &["format", "damaged"])?;
    let format = format(&parameters, &caller.headers)?;
    let skip = parameters.get("damaged", "stop or skip", |text| match text {
        "stop" => Some(false),
        "skip" => Some(true),
        _ => None,
    })?;
    let sql = text(body, app.live().request_timeout).await?;
    let notes = Notes::new(skip.unwrap_or(false));
    let tables = Tables::new(app.store(), app.inner.sql.lake().await?, Arc::clone(&notes));
    let answer = app.inner.sql.engine().await?.query(Arc::new(tables), &sql, format).await;
    let answer = answer.map_err(|error| {
        app.inner.metrics.queried(result(&error));
        tracing::debug!("a query failed: {error}");
        failure(error)
    })?;
    Ok(streamed(app, answer, format, notes))
}

fn streamed(app: App, answer: Answer, format: Format, notes: Arc<Notes>) -> Response {
    let scanned = scanned(answer.scanned);
    let frames = stream::unfold(Some((app, answer, notes)), |state| async {
        let (app, mut answer, notes) = state?;
        match answer.next().await {
            Some(Ok(piece)) => Some((Ok(Frame::data(piece)), Some((app, answer, notes)))),
            Some(Err(error)) => {
                app.inner.metrics.queried(result(&error));
                pyralog_service::every_10s!(skipped => tracing::error!(skipped, "a query's answer broke off: {error}"));
                // An error makes the server drop what it has not sent yet.
                tokio::time::sleep(FLUSH).await;
                Some((Err(std::io::Error::other(error.to_string())), None))
            }
            None => {
                app.inner.metrics.queried("ok");
                trailer(&notes).map(|trailer| (Ok(Frame::trailers(trailer)), None))
            }
        }
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames.boxed())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(TRAILER, HeaderValue::from(DAMAGED));
    headers.extend(HeaderValue::from_str(&scanned).ok().map(|scanned| (SCANNED, scanned)));
    response
}

fn scanned(scanned: Scanned) -> String {
    let Scanned { files, files_read, parts, parts_read } = scanned;
    format!("files={files_read}/{files} chains={parts_read}/{parts}")
}

/// What was left out since it is damaged.
fn trailer(notes: &Notes) -> Option<HeaderMap> {
    let (mut names, count) = notes.damaged();
    let more = count.saturating_sub(names.len() as u64);
    names.extend((more > 0).then(|| format!("{more} more")));
    // Names of logs may have signs that a header cannot.
    let text: String =
        names.join(", ").chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let value = HeaderValue::from_str(&text).ok().filter(|_| count > 0)?;
    Some(HeaderMap::from_iter([(DAMAGED, value)]))
}

async fn text(body: Body, timeout: Duration) -> Result<String, Failure> {
    let collected = tokio::time::timeout(timeout, Limited::new(body, MAX_QUERY).collect()).await;
    let collected =
        collected.map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the query took too long to arrive"))?;
    let bytes: Bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let error = format!("a query has at most {MAX_QUERY} bytes");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        Err(error) => return Err(bad(format!("the query ended early: {error}; send it again"))),
    };
    let text = String::from_utf8(bytes.into()).map_err(|_| bad("the query is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(bad("the body is the query, as in: curl --data 'SELECT * FROM climate LIMIT 10' …/v1/sql"));
    }
    Ok(text)
}

fn format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format, Failure> {
    if let Some(format) = parameters.get("format", "ndjson, csv, arrow or table", |text| text.parse().ok())? {
        return Ok(format);
    }
    let accept = headers.get(ACCEPT).map(|accept| accept.to_str()).transpose();
    let accept = accept.map_err(|_| bad("the Accept header is not readable"))?.unwrap_or_default();
    let wanted: Vec<_> = accept.split(',').map(|one| one.split(';').next().unwrap_or_default().trim()).collect();
    let plain = |format: &Format| format.content_type().split(';').next().unwrap_or_default();
    let known = Format::ALL.into_iter().find(|format| wanted.contains(&plain(format)));
    let any = wanted.iter().any(|one| matches!(*one, "" | "*/*" | "application/*")).then_some(Format::Ndjson);
    known.or(any).ok_or_else(|| {
        let known: Vec<_> = Format::ALL.iter().map(plain).collect();
        let error = format!(
            "answers do not come as {accept:?}; accept one of {}, or say ?format=ndjson|csv|arrow|table",
            known.join(", ")
        );
        Failure::new(StatusCode::NOT_ACCEPTABLE, error)
    })
}

/// How a failed query is counted.
fn result(error: &SqlError) -> &'static str {
    match error {
        SqlError::Query(_) | SqlError::Source(SourceError::Refused(_)) => "refused",
        SqlError::Busy(_) => "busy",
        SqlError::Memory(_) => "memory",
        SqlError::Time(_) => "timeout",
        SqlError::Source(SourceError::Damaged(_)) => "damaged",
        SqlError::Source(_) | SqlError::Internal(_) => "failed",
    }
}

fn failure(error: SqlError) -> Failure {
    let failure = |status| Failure::new(status, error.to_string());
    let limited = |status, key: &str| Failure::new(status, format!("{error}; the hub's `{key}` is the limit"));
    match &error {
        SqlError::Query(_) => failure(StatusCode::BAD_REQUEST),
        SqlError::Busy(_) | SqlError::Source(SourceError::Stale(_)) => {
            failure(StatusCode::SERVICE_UNAVAILABLE).retry_after(1)
        }
        SqlError::Source(SourceError::Unavailable(_)) => failure(StatusCode::SERVICE_UNAVAILABLE).retry_after(5),
        SqlError::Source(SourceError::Refused(_)) => failure(StatusCode::UNPROCESSABLE_ENTITY),
        SqlError::Memory(_) => limited(StatusCode::UNPROCESSABLE_ENTITY, "sql.max_memory"),
        SqlError::Time(_) => limited(StatusCode::GATEWAY_TIMEOUT, "sql.timeout"),
        SqlError::Source(SourceError::Damaged(_) | SourceError::Ours(_)) | SqlError::Internal(_) => {
            failure(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

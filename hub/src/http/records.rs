//! Records out of the store, streamed.
//!
//! Damage is never passed over in silence. By default the stream breaks off at the first damaged entry, so that every
//! client reports an incomplete transfer (one that is damaged from the start gets status 500); `?damaged=skip` leaves out
//! what is damaged, and names it in the trailer `x-pyralog-damaged`. Both are logged and counted.

use std::fmt::Write;
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
use http_body_util::StreamBody;
use pyralog_segment::{Format, RecordsWriter};
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::caller::Asker;
use super::query::{Parameters, bad, time};
use super::reply::{Failure, Names};
use crate::auth::tokens::Scope;
use crate::scan::{Damage, Deleted, Found, Scan, Segment, Selection};
use crate::store::StoreError;

/// Names what a stream left out: `epoch/offset` of each damaged entry, separated by commas.
pub(super) const DAMAGED: HeaderName = HeaderName::from_static("x-pyralog-damaged");

/// Says what was selected and deleted by retention: `epoch/offset`, below which all committed records of the epoch are deleted. What
/// was deleted while the stream went on is in the trailer of the same name.
pub(super) const DELETED_BELOW: HeaderName = HeaderName::from_static("x-pyralog-deleted-below");

/// Values written into one chunk, so that chunks stay at a few MiB however wide the log is.
const CELLS_PER_CHUNK: usize = 1 << 18;

/// How long a stream that breaks off waits for what came before to be sent.
const FLUSH: Duration = Duration::from_millis(50);

/// Damaged entries named in the trailer; all are counted.
const MAX_NAMED: usize = 64;

const PARAMETERS: &[&str] = &["epoch", "from_offset", "from", "to", "limit", "format", "damaged"];

pub(super) async fn records(
    State(app): State<App>,
    Names((agent, log)): Names<(String, String)>,
    Asker(caller): Asker,
    query: RawQuery,
) -> Result<Response, Failure> {
    app.admit(&caller, Scope::Read, Some(&agent))?;
    let parameters = Parameters::parse(query.0.as_deref(), PARAMETERS)?;
    let selection = selection(&parameters)?;
    let format = format(&parameters, &caller.headers)?;
    let skip = parameters.get("damaged", "stop or skip", |text| match text {
        "stop" => Some(false),
        "skip" => Some(true),
        _ => None,
    })?;
    let Ok(permit) = Arc::clone(&app.live().reads).try_acquire_owned() else {
        let error = "the hub serves all the readers that it takes; try again soon";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, error).retry_after(1));
    };
    let (scan, schema) = Scan::open(app.inner.store.clone(), &agent, &log, selection).await?;
    let writer = RecordsWriter::new(format, &schema, true);
    let skip = skip.unwrap_or(false);
    let columns = schema.columns().len() + 3;
    let deleted = named(scan.deleted());
    let rows_per_chunk = (CELLS_PER_CHUNK / columns).max(1);
    let mut out = Outgoing {
        app,
        agent,
        log,
        scan,
        writer: Some(writer),
        current: None,
        rows_per_chunk,
        skip,
        damaged: (String::new(), 0),
        deleted: deleted.clone(),
        stage: Stage::Header,
        _permit: permit,
    };
    // The first records are fetched before the status is sent: what fails at once gets a proper answer.
    let first = out.next().await.map_err(Failure::from)?;
    let rest = stream::unfold(Some(out), |out| async {
        let mut out = out?;
        match out.next().await {
            Ok(Some(frame)) => Some((Ok(frame), Some(out))),
            Ok(None) => None,
            Err(broken) => {
                // An error makes the server drop what it has not sent yet; what was sound should arrive.
                tokio::time::sleep(FLUSH).await;
                Some((Err(std::io::Error::other(broken.to_string())), None))
            }
        }
    });
    let frames = stream::iter(first.map(Ok)).chain(rest);
    let mut response = Response::new(Body::new(StreamBody::new(Box::pin(frames))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.append(TRAILER, HeaderValue::from(DELETED_BELOW));
    if skip {
        headers.append(TRAILER, HeaderValue::from(DAMAGED));
    }
    headers.extend(deleted.map(|deleted| (DELETED_BELOW, deleted)));
    Ok(response)
}

fn selection(parameters: &Parameters) -> Result<Selection, Failure> {
    let nanos = "a time: Unix nanoseconds, or RFC 3339 in UTC such as 2026-11-23T12:00:00Z";
    Ok(Selection {
        epoch: parameters.get("epoch", "an epoch: a number from 1", |text| text.parse().ok())?,
        from_offset: parameters.get("from_offset", "an offset: a number from 0", |text| text.parse().ok())?,
        from: parameters.get("from", nanos, time)?,
        to: parameters.get("to", nanos, time)?,
        limit: parameters.get("limit", "a number of records", |text| text.parse().ok())?,
    })
}

fn format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format, Failure> {
    if let Some(format) = parameters.get("format", "ndjson, csv or arrow", |text| text.parse().ok())? {
        return Ok(format);
    }
    let accept = headers.get(ACCEPT).map(|accept| accept.to_str()).transpose();
    let accept = accept.map_err(|_| bad("the Accept header is not readable"))?.unwrap_or_default();
    Format::from_accept(accept).ok_or_else(|| {
        let known = Format::ALL.map(Format::content_type).join(", ");
        let error =
            format!("records do not come as {accept:?}; accept one of {known}, or say ?format=ndjson|csv|arrow");
        Failure::new(StatusCode::NOT_ACCEPTABLE, error)
    })
}

/// A stream of records on its way.
struct Outgoing {
    app: App,
    agent: String,
    log: String,
    scan: Scan,
    /// Away while a chunk is written on another thread.
    writer: Option<RecordsWriter>,
    current: Option<Box<Segment>>,
    rows_per_chunk: usize,
    skip: bool,
    damaged: (String, u64),
    /// What the head of the answer says of deleted records.
    deleted: Option<HeaderValue>,
    stage: Stage,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy)]
enum Stage {
    Header,
    Records,
    Trailer,
    End,
}

/// Why a stream broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{} is damaged: {}; run `pyralog-hub verify`, or read on with ?damaged=skip or from a higher from_offset",
        .0.name, .0.reason
    )]
    Damaged(Damage),
    #[error("the records could not be written: {0}")]
    Output(String),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Store(error) => error.into(),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}

impl Outgoing {
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, Broken> {
        let mut out = Vec::new();
        loop {
            match self.stage {
                Stage::Header => {
                    if let Some(writer) = &mut self.writer {
                        writer.header(&mut out).map_err(|error| Broken::Output(error.to_string()))?;
                    }
                    self.stage = Stage::Records;
                }
                Stage::Records => {
                    out = self.records(out).await?;
                    if !out.is_empty() {
                        return Ok(Some(Frame::data(out.into())));
                    }
                }
                Stage::Trailer => {
                    self.stage = Stage::End;
                    if let Some(trailer) = self.trailer() {
                        return Ok(Some(Frame::trailers(trailer)));
                    }
                }
                Stage::End => return Ok(None),
            }
        }
    }

    /// Appends the next chunk of records, or the end.
    async fn records(&mut self, mut out: Vec<u8>) -> Result<Vec<u8>, Broken> {
        let run = self.current.as_mut().and_then(|segment| segment.rows.pop_front());
        if let (Some(mut run), Some(mut segment)) = (run, self.current.take()) {
            if run.len() > self.rows_per_chunk {
                let cut = run.start + self.rows_per_chunk;
                segment.rows.push_front(cut..run.end);
                run.end = cut;
            }
            self.app.inner.metrics.read(run.len() as u64);
            return self.write(segment, run, out).await;
        }
        match self.scan.next().await? {
            Some(Found::Segment(segment)) => self.current = Some(segment),
            Some(Found::Damaged(damage)) => self.note(damage)?,
            Some(Found::Receipt(_)) => {}
            None => {
                if let Some(writer) = &mut self.writer {
                    writer.finish(&mut out).map_err(|error| Broken::Output(error.to_string()))?;
                }
                self.stage = Stage::Trailer;
            }
        }
        Ok(out)
    }

    /// Writes `run` off the async threads.
    async fn write(
        &mut self,
        segment: Box<Segment>,
        run: std::ops::Range<usize>,
        mut out: Vec<u8>,
    ) -> Result<Vec<u8>, Broken> {
        let Some(mut writer) = self.writer.take() else { return Err(Broken::Output("no writer".into())) };
        let written = tokio::task::spawn_blocking(move || {
            let done = writer.batch(segment.epoch, segment.base, &segment.batch, &segment.schema, run, &mut out);
            (writer, segment, out, done)
        });
        let (writer, segment, out, done) = written.await.map_err(|error| Broken::Output(error.to_string()))?;
        (self.writer, self.current) = (Some(writer), Some(segment));
        done.map_err(|error| Broken::Output(error.to_string()))?;
        Ok(out)
    }

    fn note(&mut self, damage: Damage) -> Result<(), Broken> {
        self.app.inner.metrics.damaged();
        pyralog_service::every_10s!(skipped => tracing::error!(
            agent = self.agent, log = self.log, object = damage.name, skipped, "met damage while reading: {}", damage.reason
        ));
        if !self.skip {
            return Err(Broken::Damaged(damage));
        }
        let (names, count) = &mut self.damaged;
        if *count < MAX_NAMED as u64 {
            let comma = if names.is_empty() { "" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(names, "{comma}{}/{}", damage.epoch, damage.offset);
        }
        *count += 1;
        Ok(())
    }

    fn trailer(&self) -> Option<HeaderMap> {
        let mut trailer = HeaderMap::new();
        let (names, count) = &self.damaged;
        let more = count.saturating_sub(MAX_NAMED as u64);
        let text = if more > 0 { format!("{names},{more} more") } else { names.clone() };
        trailer.extend(HeaderValue::from_str(&text).ok().filter(|_| *count > 0).map(|value| (DAMAGED, value)));
        let deleted = named(self.scan.deleted()).filter(|deleted| self.deleted.as_ref() != Some(deleted));
        trailer.extend(deleted.map(|deleted| (DELETED_BELOW, deleted)));
        (!trailer.is_empty()).then_some(trailer)
    }
}

/// Deleted records as a header says them; `None` where there are none.
fn named(deleted: &[Deleted]) -> Option<HeaderValue> {
    let mut names: Vec<_> =
        deleted.iter().take(MAX_NAMED).map(|deleted| format!("{}/{}", deleted.epoch, deleted.below)).collect();
    let more = deleted.len() - names.len();
    names.extend((more > 0).then(|| format!("{more} more")));
    HeaderValue::from_str(&names.join(",")).ok().filter(|_| !deleted.is_empty())
}

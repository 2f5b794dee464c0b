//! `GET /v1/logs/{log}/records`: a log's records as they are in the ring, segment by segment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use pyralog_segment::{Format, OutputError, RecordsWriter, Schema};

use super::error::ApiError;
use super::{Api, logs};
use crate::config::nearest;
use crate::ingest::decode::time::TimeUnit;
use crate::ring::{Chunk, ReadError, ReadRange, Reader, Reservation};

/// Bytes of a batch that one step of the answer aims at.
const STEP_BYTES: usize = 64 << 10;
/// Most rows of one step.
const STEP_ROWS: usize = 8192;
/// Bytes of text per byte of a batch, roughly from above: names and digits.
const TEXT_PER_BYTE: u64 = 4;
/// An answer that finds no memory waits for others to give some back; after so many pauses it breaks off.
const MEMORY_PAUSE: Duration = Duration::from_millis(50);
const MEMORY_PAUSES: u32 = 100;

const PARAMETERS: [&str; 5] = ["from_offset", "from", "to", "limit", "format"];

/// Streams a log. The head of the answer is sent once the first segment is in memory.
pub(super) async fn read(
    State(api): State<Api>,
    Path(log): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (range, format) = parse(&uri, &headers)?;
    let unknown = || logs::unknown(&api, &log);
    let schema = api.ring.log(&log).ok_or_else(unknown)?.schema;
    let reader = api.ring.read(&log, range).ok_or_else(unknown)?;
    let writer = RecordsWriter::new(format, &schema, false);
    let mut answer = Answer { api, reader, writer, schema, format, at: At::Header, chunk: None, held: None };
    answer.advance().await?;
    let stream = stream::unfold(answer, |mut answer| async move {
        let step = answer.step().await;
        if let Err(error) = &step {
            tracing::warn!("a records answer broke off: {error}");
        }
        let step = step.transpose()?;
        Some((step, answer))
    });
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

/// An answer under way. It holds one chunk of the ring and one step of output, whatever the size of the log.
struct Answer {
    api: Api,
    reader: Reader,
    writer: RecordsWriter,
    schema: Arc<Schema>,
    format: Format,
    at: At,
    chunk: Option<Chunk>,
    /// Budget of the step that is being sent.
    held: Option<Reservation>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Rows,
    End,
}

/// Why an answer breaks off in the middle; the client sees a body that is cut short.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Answer {
    /// The next bytes; `None` at the end.
    async fn step(&mut self) -> Result<Option<Bytes>, Broken> {
        let mut out = Vec::new();
        while out.is_empty() {
            match self.at {
                At::End => return Ok(None),
                At::Header => {
                    self.writer.header(&mut out)?;
                    self.at = At::Rows;
                }
                At::Rows => {
                    // The step before is sent. Its room may be what the next segment needs.
                    self.held = None;
                    if self.chunk.is_none() {
                        self.advance().await?;
                    }
                    match self.chunk.take() {
                        Some(chunk) => self.rows(chunk, &mut out).await?,
                        None => {
                            self.writer.finish(&mut out)?;
                            self.at = At::End;
                        }
                    }
                }
            }
        }
        Ok(Some(out.into()))
    }

    /// Writes some rows of a chunk and puts the rest back.
    async fn rows(&mut self, mut chunk: Chunk, out: &mut Vec<u8>) -> Result<(), Broken> {
        let per_row = (chunk.batch.get_array_memory_size() / chunk.batch.num_rows().max(1)).max(1);
        let largest = self.api.ring.largest();
        let aim = STEP_BYTES.min(largest as usize / 32);
        // Each Arrow message costs hundreds of bytes of its own, so there much of a segment goes at once.
        let (aim, growth) = if self.format == Format::ArrowStream { (8 * aim, 2) } else { (aim, TEXT_PER_BYTE) };
        let rows = (aim / per_row).clamp(1, STEP_ROWS).min(chunk.rows.len());
        // The segment itself has its room already, and one long text hardly grows.
        let bytes = ((rows * per_row) as u64 * growth + 4096).min(largest / 3);
        self.held = Some(self.reserve(bytes).await?);
        let end = chunk.rows.start + rows;
        // A column that came after this answer began is not in its header.
        let known = self.schema.columns().len();
        if chunk.schema.columns().len() > known {
            let indices: Vec<usize> = (0..=known).collect();
            chunk.batch = chunk.batch.project(&indices).map_err(OutputError::from)?;
            chunk.schema = Arc::clone(&self.schema);
        }
        self.writer.batch(0, chunk.base, &chunk.batch, &chunk.schema, chunk.rows.start..end, out)?;
        if let Some(held) = &mut self.held {
            held.shrink_to(out.capacity() as u64);
        }
        chunk.rows.start = end;
        self.chunk = Some(chunk).filter(|chunk| !chunk.rows.is_empty());
        Ok(())
    }

    /// Loads the next chunk, if there is one.
    async fn advance(&mut self) -> Result<(), ReadError> {
        let mut pauses = 0;
        loop {
            match self.reader.next_chunk() {
                Ok(chunk) => {
                    self.chunk = chunk;
                    return Ok(());
                }
                Err(error @ ReadError::Damaged { .. }) => tracing::error!("{error}"),
                Err(ReadError::Memory(full)) if pauses == MEMORY_PAUSES => return Err(full.into()),
                Err(ReadError::Memory(_)) => {
                    pauses += 1;
                    tokio::time::sleep(MEMORY_PAUSE).await;
                }
            }
        }
    }

    async fn reserve(&self, bytes: u64) -> Result<Reservation, ReadError> {
        let mut pauses = 0;
        loop {
            match self.api.ring.reserve(bytes) {
                Ok(held) => return Ok(held),
                Err(full) if pauses == MEMORY_PAUSES => return Err(full.into()),
                Err(_) => {
                    pauses += 1;
                    tokio::time::sleep(MEMORY_PAUSE).await;
                }
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Memory(full) => full.into(),
            ReadError::Damaged { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

fn parse(uri: &Uri, headers: &HeaderMap) -> Result<(ReadRange, Format), ApiError> {
    let query =
        Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|error| ApiError::bad(error.to_string()))?;
    if let Some(unknown) = query.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        let remedy = match nearest(unknown, PARAMETERS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", PARAMETERS.join(", ")),
        };
        return Err(ApiError::bad(format!("unknown parameter {unknown}; {remedy}")));
    }
    let range = ReadRange {
        from_offset: number(&query, "from_offset")?,
        from_time: time(&query, "from")?,
        to_time: time(&query, "to")?,
        limit: number(&query, "limit")?,
    };
    let format = match query.get("format") {
        Some(name) => name.parse().map_err(|error| ApiError::bad(format!("format={name}: {error}")))?,
        None => {
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            Format::from_accept(accept).ok_or_else(|| {
                let known = Format::ALL.map(Format::content_type).join(", ");
                ApiError::new(
                    StatusCode::NOT_ACCEPTABLE,
                    format!("Accept: {accept} is none of {known}; or use ?format="),
                )
            })?
        }
    };
    Ok((range, format))
}

fn number(query: &BTreeMap<String, String>, name: &str) -> Result<Option<u64>, ApiError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| ApiError::bad(format!("{name}={text} is not a whole number, such as {name}=100")))
    };
    query.get(name).map(parse).transpose()
}

fn time(query: &BTreeMap<String, String>, name: &str) -> Result<Option<i64>, ApiError> {
    let parse = |text: &String| {
        // In a query "+" stands for a blank, and the offset of RFC 3339 begins with one.
        let text = text.replace(' ', "+");
        TimeUnit::default().text(&text).ok_or_else(|| {
            ApiError::bad(format!(
                "{name}={text} is not a time; write Unix nanoseconds, or RFC 3339 such as {name}=2026-01-31T12:00:00Z"
            ))
        })
    };
    query.get(name).map(parse).transpose()
}

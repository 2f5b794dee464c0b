//! Request bodies on their way to a decoder: every chunk under a limit, every wait under a limit.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::Api;
use super::error::ApiError;
use crate::ingest::body::Coding;
use crate::ingest::upload::{Reason, WriteError, WriteReport};

/// How long and how often a request waits for memory.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSES: u32 = 80;
/// Bytes of a body, as sent, that are worked on before others get their turn.
const TURN: usize = 1024;

/// The packing of a body, from its header.
///
/// # Errors
/// 415 for one that we do not know.
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, ApiError> {
    let named = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    Ok(Coding::from_header(named)?)
}

/// The length that a body says it has, as sent.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// The length that a body will have, if that is known before it is there.
pub(super) fn length(headers: &HeaderMap, coding: Coding) -> Option<u64> {
    announced(headers).filter(|_| coding == Coding::Identity)
}

/// Opens a body once the budget has room for it. Requests that come together wait for one another a little before one of
/// them is sent away.
///
/// # Errors
/// 503 when there is no room for [`PAUSES`] pauses, and what `open` says otherwise.
pub(super) async fn when_there_is_room<T>(mut open: impl FnMut() -> Result<T, Reason>) -> Result<T, ApiError> {
    for _ in 0..PAUSES {
        match open() {
            Err(Reason::Memory(full)) if full.wanted <= full.cap => tokio::time::sleep(PAUSE).await,
            opened => return Ok(opened?),
        }
    }
    Ok(open()?)
}

/// Whether decoding a whole body may be tried again after a pause, of which there were `tries`: there was no room for it, and
/// nothing of it is stored.
pub(super) async fn pauses_for_room(decoded: &Result<WriteReport, WriteError>, tries: u32) -> bool {
    let Err(WriteError { reason: Reason::Memory(full), report }) = decoded else { return false };
    let again = tries < PAUSES && report.accepted == 0 && full.wanted <= full.cap;
    if again {
        tokio::time::sleep(PAUSE).await;
    }
    again
}

/// Hands the chunks of a body to `take` as they come.
///
/// # Errors
/// 413 over the limit, 408 when the body pauses for too long, 400 when it breaks off, and what `take` says.
pub(super) async fn pump(
    api: &Api,
    headers: &HeaderMap,
    mut body: Body,
    mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let (limit, patience) = (api.limits.max_body, api.limits.body_timeout);
    let announced = announced(headers);
    if announced.is_some_and(|len| len > limit) {
        return Err(ApiError::too_large(limit));
    }
    let mut len = 0;
    loop {
        let frame = tokio::time::timeout(patience, body.frame()).await.map_err(|_| {
            let waited = crate::config::format_duration(patience);
            ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("the body paused for {waited} (http.body_timeout)"))
        })?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| ApiError::bad(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        len += data.len() as u64;
        api.counters.body(data.len());
        if len > limit {
            return Err(ApiError::too_large(limit));
        }
        // A few packed bytes can be a thousand times as many to decode: others get their turn in between.
        for part in data.chunks(TURN) {
            take(part)?;
            tokio::task::yield_now().await;
        }
    }
}

/// The report of a body of which every part is stored.
///
/// # Errors
/// 400 with the first bad line, or with what no log has a place for.
pub(super) fn complete(api: &Api, report: WriteReport) -> Result<WriteReport, ApiError> {
    let WriteReport { accepted, rejected, rejected_values, .. } = report;
    api.counters.refused(rejected + rejected_values);
    let kept = format!("{accepted} good records were stored");
    if let Some(error) = report.errors.first() {
        let others = if rejected > 1 { format!(" ({} more are bad)", rejected - 1) } else { String::new() };
        let message = format!("partial write: {error}{others}; {kept}");
        return Err(ApiError { line: Some(error.line), ..ApiError::bad(message) });
    }
    if rejected + rejected_values > 0 {
        return Err(ApiError::bad(format!(
            "partial write: {rejected} records and {rejected_values} values have no place (a name over 255 bytes, or beyond \
             storage.max_logs or storage.max_columns) and went to the log _rejected; {kept}"
        )));
    }
    Ok(report)
}

/// A write that ended early, counted and in words.
pub(super) fn broken(api: &Api, error: WriteError) -> ApiError {
    api.counters.refused(error.report.rejected + error.report.rejected_values);
    error.into()
}

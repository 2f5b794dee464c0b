//! JSON answers.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::error::ApiError;
use crate::ring::{Reservation, Ring};

/// A document up to this size is within what its connection holds anyway: the status of a full ring must be seen.
const SMALL: u64 = 16 << 10;
/// How long and how often a larger one waits for memory.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSES: u32 = 80;

/// Memory for a document, to be held while it is made.
///
/// # Errors
/// 503 when there is none for [`PAUSES`] pauses.
pub(super) async fn room(ring: &Ring, bytes: u64) -> Result<Option<Reservation>, ApiError> {
    if bytes <= SMALL {
        return Ok(None);
    }
    for _ in 0..PAUSES {
        if let Ok(held) = ring.reserve(bytes) {
            return Ok(Some(held));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Some(ring.reserve(bytes)?))
}

/// 200 with `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    match serde_json::to_vec(value) {
        Ok(body) => (content_type, body).into_response(),
        Err(error) => {
            let message = format!("the answer cannot be written: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

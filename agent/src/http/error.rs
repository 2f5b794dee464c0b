//! Refusals: a status and a JSON body that says what is wrong and what to do.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::ingest::body::BodyError;
use crate::ingest::upload::{Reason, WriteError};
use crate::ring::Exhausted;

/// A refusal. The body is `{"error": "<what and remedy>"}`; on InfluxDB paths `code`, `message` and, for a bad line,
/// `line` stand beside it, where its clients look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub message: String,
    /// First bad line of a write, from 1.
    pub line: Option<u64>,
    /// Whether to add what InfluxDB clients read.
    pub influx: bool,
}

/// How long a writer is asked to wait when the ring is full: about one sync.
const RETRY_AFTER_SECONDS: u32 = 5;

impl ApiError {
    /// A refusal with this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), line: None, influx: false }
    }

    /// 400: the request must change.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same refusal in the shape that InfluxDB clients read.
    pub fn for_influx(mut self) -> Self {
        self.influx = true;
        self
    }

    /// 413 with the limit and the key that raises it.
    pub fn too_large(limit: u64) -> Self {
        let limit = crate::config::format_size(limit);
        let message =
            format!("the body is over {limit}; send smaller batches, or raise http.max_body or storage.max_memory");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    fn influx_code(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "invalid",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::NOT_FOUND => "not found",
            StatusCode::PAYLOAD_TOO_LARGE => "request too large",
            StatusCode::TOO_MANY_REQUESTS => "too many requests",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "internal error",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message });
        if self.influx {
            body["code"] = self.influx_code().into();
            body["message"] = self.message.as_str().into();
            if let Some(line) = self.line {
                body["line"] = line.into();
            }
        }
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (self.status, json, body.to_string()).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of a refused body is not worth reading.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl From<Exhausted> for ApiError {
    fn from(error: Exhausted) -> Self {
        if error.wanted > error.cap {
            // Waiting would not help.
            let (wanted, cap) = (crate::config::format_size(error.wanted), crate::config::format_size(error.cap));
            let message = format!(
                "this takes {wanted} of memory, and a request gets {cap} at most; ask for less, or raise storage.max_memory"
            );
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, message);
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Unknown(_) => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()),
            BodyError::TooLarge { limit } => Self::too_large(limit),
            BodyError::Truncated(_) | BodyError::Corrupt { .. } => Self::bad(error.to_string()),
        }
    }
}

impl From<Reason> for ApiError {
    fn from(reason: Reason) -> Self {
        use crate::ingest::decode::arrow_stream::StreamError;
        match reason {
            Reason::Body(error) => error.into(),
            Reason::Json(error) => Self { line: Some(error.line), ..Self::bad(error.to_string()) },
            Reason::Memory(full) => full.into(),
            Reason::Full | Reason::Arrow(StreamError::NoMemory { .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_string())
            }
            Reason::Arrow(error) => Self::bad(error.to_string()),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let accepted = error.report.accepted;
        let mut refusal = Self::from(error.reason);
        refusal.message = format!("{}; {accepted} records before it were stored", refusal.message);
        refusal
    }
}

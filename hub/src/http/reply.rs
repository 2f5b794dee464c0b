//! Answers that are no records: JSON, and errors in JSON that say what to do.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::account::AccountError;
use crate::auth::Denied;
use crate::store::StoreError;

/// The names in a request's path.
pub(super) struct Names<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let names = Path::from_request_parts(parts, state).await;
        names.map(|Path(names)| Self(names)).map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.body_text()))
    }
}

/// A request that failed, for its client.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
    nearest: Option<String>,
    retry_after: Option<u64>,
}

impl Failure {
    /// A failure with this status, in words that say what to do.
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), nearest: None, retry_after: None }
    }

    /// Something unknown, and what may have been meant.
    pub(super) fn unknown(what: &str, name: &str, nearest: Option<String>) -> Self {
        let hint = match &nearest {
            Some(near) => format!("; did you mean {near:?}?"),
            None => String::new(),
        };
        let error = format!("there is no {what} {name:?} here{hint}");
        Self { nearest, ..Self::new(StatusCode::NOT_FOUND, error) }
    }

    /// The same, with the seconds after which to try again.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error });
        if let (Some(nearest), Some(body)) = (self.nearest, body.as_object_mut()) {
            body.insert("nearest".into(), nearest.into());
        }
        let mut response = json(self.status, &body);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let failure = |status| Self::new(status, denied.to_string());
        match &denied {
            Denied::ShutOut { retry_after } => {
                failure(StatusCode::TOO_MANY_REQUESTS).retry_after(retry_after.as_secs())
            }
            _ if denied.wants_token() => failure(StatusCode::UNAUTHORIZED),
            _ => failure(StatusCode::FORBIDDEN),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(5)
            }
            StoreError::Damaged { .. } => {
                let text = format!("{error}; run `pyralog-hub verify` on the store");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Store(error) => error.into(),
            AccountError::UnknownAgent { agent, nearest } => Self::unknown("agent", &agent, nearest),
            AccountError::UnknownLog { log, nearest, .. } => Self::unknown("log", &log, nearest),
            wide @ AccountError::TooWide { .. } => Self::new(StatusCode::BAD_REQUEST, wide.to_string()),
            damaged @ AccountError::Damaged { .. } => {
                let text = format!("{damaged}; run `pyralog-hub verify` on the store");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

/// `value` as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error.to_string() }).to_string().into_bytes())
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) async fn no_such_path(uri: Uri) -> Failure {
    let error = format!(
        "there is nothing at {:?}; try /v1/agents, /v1/agents/AGENT, /v1/agents/AGENT/logs/LOG, \
         /v1/agents/AGENT/logs/LOG/records, POST /v1/sql, /metrics, /healthz, /readyz or /",
        uri.path()
    );
    Failure::new(StatusCode::NOT_FOUND, error)
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Response {
    let allowed = if uri.path().starts_with("/v1/sync/") || uri.path() == "/v1/sql" { "POST" } else { "GET, HEAD" };
    let error = format!("{method} does not work at {:?}; use {allowed}", uri.path());
    let mut response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

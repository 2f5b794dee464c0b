//! Who may use the API.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use pyralog_service::SecretDigest;

use super::Api;
use super::error::ApiError;
use crate::config::Secret;

/// The tokens that open the API, held as digests so that comparing takes the same time whatever was sent.
#[derive(Clone, Default)]
pub struct Access {
    digests: Vec<SecretDigest>,
}

impl Access {
    /// These tokens open the API; with none it is open to whoever reaches the listener.
    pub fn new(tokens: &[Secret]) -> Self {
        Self { digests: tokens.iter().map(|token| SecretDigest::of(token.expose().as_bytes())).collect() }
    }

    /// Whether the request may pass.
    pub fn allows(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        self.digests.is_empty() || credentials(headers, query).iter().any(|token| self.knows(token))
    }

    fn knows(&self, token: &str) -> bool {
        SecretDigest::of(token.as_bytes()).is_among(&self.digests)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({} tokens)", self.digests.len())
    }
}

/// Lets a request through or answers 401. Stands before every path that gives or takes data.
pub(super) async fn require(State(api): State<Api>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    if api.access.allows(request.headers(), request.uri().query()) {
        return next.run(request).await;
    }
    api.counters.unauthorized();
    let message = if request.headers().contains_key(header::AUTHORIZATION) {
        "the token is not one of http.tokens or http.token_file"
    } else {
        "a token is needed: send \"Authorization: Bearer TOKEN\" with one of http.tokens or http.token_file"
    };
    let influx = super::write::is_influx(request.uri().path());
    ApiError { influx, ..ApiError::new(StatusCode::UNAUTHORIZED, message) }.into_response()
}

/// The tokens that a request offers: Bearer, InfluxDB's Token, the password of Basic, and the query of InfluxDB 1.
fn credentials(headers: &HeaderMap, query: Option<&str>) -> Vec<String> {
    let mut offered = Vec::new();
    if let Some((scheme, value)) =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| text.split_once(' '))
    {
        let value = value.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => offered.push(value.to_owned()),
            "token" => {
                offered.push(value.to_owned());
                // InfluxDB's 1.x compatibility: "Token name:password".
                offered.extend(value.split_once(':').map(|(_, password)| password.to_owned()));
            }
            "basic" => offered.extend(basic_password(value)),
            _ => {}
        }
    }
    for pair in query.unwrap_or_default().split('&') {
        if let Some(password) = pair.strip_prefix("p=") {
            offered.extend(percent_encoding::percent_decode_str(password).decode_utf8().map(|text| text.into_owned()));
        }
    }
    offered
}

fn basic_password(value: &str) -> Option<String> {
    let pair = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn each_way_to_bring_a_token_opens_the_api_and_a_wrong_one_does_not() {
        let access = Access::new(&[Secret::new("other"), Secret::new("key")]);
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("anyone:key"));
        for good in ["Bearer key", "bearer  key", "Token key", "Token anyone:key", &basic] {
            assert!(access.allows(&headers(good), None), "{good}");
        }
        for bad in ["Bearer kez", "Bearer", "key", "Digest key", "Basic !!!", "Token key:", "Bearer "] {
            assert!(!access.allows(&headers(bad), None), "{bad}");
        }
        assert!(access.allows(&HeaderMap::new(), Some("db=x&u=anyone&p=key")));
        assert!(!access.allows(&HeaderMap::new(), Some("db=x&p=")));
        assert!(!access.allows(&HeaderMap::new(), None));
    }

    #[test]
    fn without_tokens_everyone_may_pass() {
        assert!(Access::default().allows(&HeaderMap::new(), None));
    }
}

//! Who may use the API.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::RwLock;
use pyralog_service::{Guesses, SecretDigest, Verdict};

use super::Api;
use super::error::ApiError;
use crate::config::Secret;

/// The tokens that open the API, held as digests so that comparing takes the same time whatever was sent.
#[derive(Default)]
pub struct Access {
    /// Replaced when the configuration is read again.
    digests: RwLock<Vec<SecretDigest>>,
    guesses: Arc<Guesses>,
}

/// Where a request comes from. The server has put it into the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

impl Access {
    /// These tokens open the API; with none it is open to whoever reaches the listener. Wrong ones are counted in `guesses`.
    pub fn new(tokens: &[Secret], guesses: Arc<Guesses>) -> Self {
        Self { digests: RwLock::new(digests(tokens)), guesses }
    }

    /// These tokens count from now on; answers under way come to their end. What was guessed stays counted.
    pub fn set_tokens(&self, tokens: &[Secret]) {
        *self.digests.write() = digests(tokens);
    }

    /// Whether a request with these tokens may pass.
    fn judge(&self, offered: &[String], peer: Option<Peer>) -> Verdict {
        if self.digests.read().is_empty() {
            return Verdict::Right;
        }
        let knows = || offered.iter().any(|token| SecretDigest::of(token.as_bytes()).is_among(&*self.digests.read()));
        match peer {
            Some(Peer(peer)) if !offered.is_empty() => {
                self.guesses.judge("HTTP", peer, offered.join("\n").as_bytes(), Instant::now(), knows)
            }
            _ if knows() => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({} tokens)", self.digests.read().len())
    }
}

/// Lets a request through or answers 401, or 429 to a host that guesses. Stands before every path that gives or takes data.
pub(super) async fn require(State(api): State<Api>, request: Request, next: Next) -> Response {
    let offered = credentials(request.headers(), request.uri().query());
    let influx = super::write::is_influx(request.uri().path());
    let refuse = |status, message: String| ApiError { influx, ..ApiError::new(status, message) }.into_response();
    match api.access.judge(&offered, request.extensions().get().copied()) {
        Verdict::Right => next.run(request).await,
        Verdict::Wrong => {
            api.counters.unauthorized();
            let message = if request.headers().contains_key(header::AUTHORIZATION) {
                "the token is not one of http.tokens or http.token_file"
            } else {
                "a token is needed: send \"Authorization: Bearer TOKEN\" with one of http.tokens or http.token_file"
            };
            refuse(StatusCode::UNAUTHORIZED, message.to_owned())
        }
        Verdict::ShutOut(left) => {
            api.counters.shut_out();
            let seconds = left.as_secs() + 1;
            let message = format!(
                "too many wrong tokens came from this address, so no new one is looked at: try again in {seconds} s"
            );
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, message);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
    }
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
    // The first alone: a request with many would be as many guesses.
    let password = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("p="));
    if let Some(Ok(password)) = password.map(|text| percent_encoding::percent_decode_str(text).decode_utf8()) {
        offered.push(password.into_owned());
    }
    offered
}

fn basic_password(value: &str) -> Option<String> {
    let pair = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

fn digests(tokens: &[Secret]) -> Vec<SecretDigest> {
    tokens.iter().map(|token| SecretDigest::of(token.expose().as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    fn judge(access: &Access, headers: &HeaderMap, query: Option<&str>) -> Verdict {
        access.judge(&credentials(headers, query), Some(Peer(IpAddr::from([10, 0, 0, 1]))))
    }

    #[test]
    fn each_way_to_bring_a_token_opens_the_api_and_a_wrong_one_does_not() {
        let access = Access::new(&[Secret::new("other"), Secret::new("key")], Arc::default());
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("anyone:key"));
        for good in ["Bearer key", "bearer  key", "Token key", "Token anyone:key", &basic] {
            assert_eq!(judge(&access, &headers(good), None), Verdict::Right, "{good}");
        }
        for bad in ["Bearer kez", "Bearer", "key", "Digest key", "Basic !!!", "Token key:", "Bearer "] {
            assert_eq!(judge(&access, &headers(bad), None), Verdict::Wrong, "{bad}");
        }
        let none = HeaderMap::new();
        assert_eq!(judge(&access, &none, Some("db=x&u=anyone&p=key")), Verdict::Right);
        assert_eq!(judge(&access, &none, Some("db=x&p=")), Verdict::Wrong);
        assert_eq!(judge(&access, &none, Some("p=a&p=key")), Verdict::Wrong, "one guess a request");
        assert_eq!(judge(&access, &none, None), Verdict::Wrong);
    }

    #[test]
    fn a_guess_that_is_too_many_is_not_looked_at_and_to_bring_no_token_is_no_guess() {
        let access = Access::new(&[Secret::new("key")], Arc::default());
        let guess = |number: u32| judge(&access, &headers(&format!("Bearer guess-{number}")), None);
        let shut_out = (0..100).map(guess).find(|verdict| *verdict != Verdict::Wrong);
        assert!(matches!(shut_out, Some(Verdict::ShutOut(_))), "{shut_out:?}");
        assert!(matches!(judge(&access, &headers("Bearer key"), None), Verdict::ShutOut(_)));
        assert_eq!(judge(&access, &HeaderMap::new(), None), Verdict::Wrong);
    }

    #[test]
    fn without_tokens_everyone_may_pass() {
        assert_eq!(judge(&Access::default(), &HeaderMap::new(), None), Verdict::Right);
    }
}

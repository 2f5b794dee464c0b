//! An HTTP client with a limit on every request.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Identity, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::Result;

/// A client for the local servers of a test.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> Result<Client> {
    Ok(builder().build()?)
}

/// A client for servers whose certificates `ca` has signed, which shows the certificate and key in `identity`.
///
/// # Errors
/// When the files are no good.
pub fn trusting(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Client> {
    Ok(builder_trusting(ca, identity)?.build()?)
}

/// As [`trusting`], for what is to be set beyond.
///
/// # Errors
/// When the files are no good.
pub fn builder_trusting(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<ClientBuilder> {
    let mut builder = builder().tls_certs_only(Certificate::from_pem_bundle(&std::fs::read(ca)?)?);
    if let Some((cert, key)) = identity {
        let pem = [std::fs::read(cert)?, std::fs::read(key)?].concat();
        builder = builder.identity(Identity::from_pem(&pem)?);
    }
    Ok(builder)
}

/// As [`client`], for what is to be set beyond.
pub fn builder() -> ClientBuilder {
    // An error means that another test of this process has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(60)).no_proxy()
}

/// The same, with a bearer token in every request.
///
/// # Errors
/// When TLS cannot be set up, or the token cannot stand in a header.
pub fn authorized(token: &str) -> Result<Client> {
    let header = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?)]);
    Ok(builder().default_headers(header).build()?)
}

/// Sends a request; the status and the body, whatever they are.
///
/// # Errors
/// When there is no answer.
pub async fn answer(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>)> {
    let response = request.send().await?;
    let status = response.status();
    Ok((status, response.bytes().await?.to_vec()))
}

/// The JSON of an answer that must be a success.
///
/// # Errors
/// When it is not, with what the server said.
pub async fn json(request: RequestBuilder) -> Result<Value> {
    let body = bytes(request).await?;
    serde_json::from_slice(&body).map_err(|error| format!("{error} in {}", String::from_utf8_lossy(&body)).into())
}

/// The body of an answer that must be a success.
///
/// # Errors
/// When it is not, with what the server said.
pub async fn bytes(request: RequestBuilder) -> Result<Vec<u8>> {
    let (status, body) = answer(request).await?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()) }
}

//! Clients that begin with TLS and do not go on.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stubborn;
use crate::Result;
use crate::memory::target::Target;

/// Clients of the MQTT endpoint that stop when it is their turn to answer.
///
/// # Errors
/// When there is no TLS.
pub async fn mqtt_half(target: &Target, count: usize) -> Result<()> {
    let hello = client_hello()?;
    stubborn(target, count, move |target, _| begin(target.mqtt, target, hello.clone())).await
}

/// Clients of the HTTP endpoint of whom one half stops in the middle of its first message, and the other when it is its turn to
/// answer.
///
/// # Errors
/// When there is no TLS.
pub async fn https_half(target: &Target, count: usize) -> Result<()> {
    let hello = client_hello()?;
    stubborn(target, count, move |target, number| {
        let length = if number.is_multiple_of(2) { hello.len() / 2 } else { hello.len() };
        begin(target.http, target, hello.iter().copied().take(length).collect())
    })
    .await
}

/// Clients of the HTTP endpoint that shake hands and then never say a word.
///
/// # Errors
/// None of its own.
pub async fn https_mute(target: &Target, count: usize) -> Result<()> {
    stubborn(target, count, |target, _| async move {
        let mut stream = target.shake(TcpStream::connect(target.http).await?).await?;
        target.note("shaken hands");
        let _ = stream.read(&mut [0; 16]).await;
        Ok("hung up on later".to_owned())
    })
    .await
}

/// Sends `hello` and reads until it is hung up on.
async fn begin(to: SocketAddr, target: Target, hello: Vec<u8>) -> Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&hello).await?;
    let mut first = [0; 5];
    if stream.read_exact(&mut first).await.is_err() {
        return Ok("hung up on".to_owned());
    }
    target.note("answered");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    Ok("hung up on later".to_owned())
}

fn client_hello() -> Result<Vec<u8>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
    let config = std::sync::Arc::new(config.with_no_client_auth());
    let mut client = rustls::ClientConnection::new(config, "localhost".try_into()?)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}

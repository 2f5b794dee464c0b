//! Connections that do nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stubborn;
use crate::memory::target::Target;
use crate::{Result, packets, wait};

/// MQTT clients that connect and then say nothing.
///
/// # Errors
/// None of its own.
pub async fn mqtt_idle(target: &Target, count: usize) -> Result<()> {
    stubborn(target, count, |target, number| async move {
        let connect = packets::connect(&format!("idle-{number}"), true, 0);
        let mut stream = target.mqtt_in(&connect, wait::LONG).await?;
        target.note("let in");
        let _ = stream.read(&mut [0; 16]).await;
        Ok("hung up on later".to_owned())
    })
    .await
}

/// Connections to the MQTT endpoint that never say a word.
///
/// # Errors
/// None of its own.
pub async fn mqtt_mute(target: &Target, count: usize) -> Result<()> {
    stubborn(target, count, |target, _| async move {
        let mut stream = TcpStream::connect(target.mqtt).await?;
        let _ = stream.read(&mut [0; 16]).await;
        Ok("hung up on".to_owned())
    })
    .await
}

/// Clients of the MQTT endpoint that begin with TLS and stop when it is their turn to answer.
///
/// # Errors
/// When there is no TLS.
pub async fn half_handshakes(target: &Target, count: usize) -> Result<()> {
    let hello = client_hello()?;
    stubborn(target, count, move |target, _| {
        let hello = hello.clone();
        async move {
            let mut stream = TcpStream::connect(target.mqtt).await?;
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
    })
    .await
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

//! Connections that do nothing.

use tokio::io::AsyncReadExt;
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

//! MQTT clients that keep to the letter of the protocol, and not to its spirit.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stubborn;
use crate::memory::target::Target;
use crate::{Result, packets, wait};

const TRICKLERS: usize = 500;
const BYTE_EVERY: Duration = Duration::from_millis(200);
const QOS2_CLIENTS: usize = 500;
const QOS2_MESSAGES: u16 = 1_000;
const SESSION_CLIENTS: usize = 200;

/// Packets of 256 MiB that are announced, and the largest that are taken, sent but for the last byte.
///
/// # Errors
/// None of its own.
pub async fn announced(target: &Target) -> Result<()> {
    let largest = (target.cap / 8).min(256 << 10) as usize - 64;
    stubborn(target, TRICKLERS, move |target, number| async move {
        let connect = packets::connect(&format!("trickle-{number}"), true, 0);
        let mut stream = target.mqtt_in(&connect, wait::LONG).await?;
        target.note("let in");
        let mut out = Vec::new();
        match number % 4 {
            0 => packets::publish_head(&mut out, 1, 1, "a/b", 268_000_000),
            1 => packets::publish_head(&mut out, 0, 1, "a/b", largest),
            _ => {
                packets::publish_head(&mut out, 1, 1, "a/b", largest);
                out.resize(out.len() + largest - 1, b'7');
            }
        }
        if number.is_multiple_of(4) || number % 4 == 1 {
            out.resize(out.len() + 2_048, b'7');
        }
        let (mut reader, mut writer) = stream.split();
        let trickle = async {
            writer.write_all(&out).await?;
            // All but one byte is there: nothing more to send.
            while number % 4 < 2 {
                tokio::time::sleep(BYTE_EVERY).await;
                writer.write_all(b"7").await?;
            }
            std::future::pending::<std::io::Result<()>>().await
        };
        let mut answer = [0; 16];
        tokio::select! {
            _ = reader.read(&mut answer) => Ok("hung up on later".to_owned()),
            _ = trickle => Ok("hung up on later".to_owned()),
        }
    })
    .await
}

/// QoS 2 messages by the thousand that are never released, by clients that stay.
///
/// # Errors
/// None of its own.
pub async fn half_qos2(target: &Target) -> Result<()> {
    stubborn(target, QOS2_CLIENTS, |target, number| async move {
        let connect = packets::connect(&format!("half-{number}"), false, 0);
        let stream = target.mqtt_in(&connect, wait::LONG).await?;
        target.note("let in");
        let mut out = Vec::new();
        for id in 1..=QOS2_MESSAGES {
            packets::publish(&mut out, 2, id, "half/done", br#"{"a":1}"#);
        }
        let (mut reader, mut writer) = stream.into_split();
        let read = async {
            let mut chunk = [0; 4096];
            while reader.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
        };
        let write = async {
            // The second time is over what a session may have open.
            let _ = writer.write_all(&out).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
        Ok("hung up on later".to_owned())
    })
    .await
}

/// Clients with long names who begin a session, leave messages half done in it, and vanish; each time under another name.
///
/// # Errors
/// None of its own.
pub async fn sessions(target: &Target) -> Result<()> {
    super::many(target, SESSION_CLIENTS, |target, number| async move {
        let mut out = Vec::new();
        for id in 1..=100 {
            packets::publish(&mut out, 2, id, "half/done", br#"{"a":1}"#);
        }
        for round in 0_u64.. {
            let name = format!("{number}-{round}-{}", "n".repeat(200));
            match target.mqtt_in(&packets::connect(&name, false, 0), wait::LONG).await {
                Ok(mut stream) => {
                    target.note("let in");
                    let _ = stream.write_all(&out).await;
                    let mut answers = [0; 400];
                    if stream.read_exact(&mut answers).await.is_err() {
                        target.note("hung up on later");
                    }
                }
                Err(error) => {
                    target.note(&error.to_string());
                    tokio::time::sleep(super::AGAIN).await;
                }
            }
        }
        Ok(())
    })
    .await
}

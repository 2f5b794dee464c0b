//! HTTP clients that take their time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stubborn;
use crate::Result;
use crate::memory::target::{self, Target};

/// Between two bytes.
const BYTE_EVERY: Duration = Duration::from_millis(200);
const COUNT: usize = 1_000;

/// Heads, a byte at a time.
///
/// # Errors
/// None of its own.
pub async fn heads(target: &Target) -> Result<()> {
    let head: &[u8] = b"POST /write HTTP/1.1\r\nhost: agent\r\nx-patience: ";
    stubborn(target, COUNT, move |target, _| crawl(target, head.to_vec(), b'z')).await
}

/// Bodies, a byte at a time.
///
/// # Errors
/// None of its own.
pub async fn bodies(target: &Target) -> Result<()> {
    stubborn(target, COUNT, |target, number| {
        let (path, headers) = PATHS[number % PATHS.len()];
        crawl(target, target::head(path, headers, 100_000), b' ')
    })
    .await
}

/// Large bodies that are announced, begun, and then come a byte at a time.
///
/// # Errors
/// None of its own.
pub async fn announced(target: &Target) -> Result<()> {
    let most = (target.cap / 4).min(8 << 20);
    stubborn(target, COUNT, move |target, number| {
        let (path, headers) = PATHS[number % PATHS.len()];
        let mut begun = target::head(path, headers, most);
        begun.resize(begun.len() + (most / 4) as usize, b' ');
        crawl(target, begun, b' ')
    })
    .await
}

const PATHS: [(&str, &str); 4] = [
    ("/v1/logs/slow/records", "content-type: application/json\r\n"),
    ("/write", ""),
    ("/v1/logs/slow/records", "content-type: application/vnd.apache.arrow.stream\r\n"),
    ("/v1/logs/slow/records", "content-type: application/x-ndjson\r\n"),
];

async fn crawl(target: Target, begin: Vec<u8>, byte: u8) -> Result<String> {
    let stream = TcpStream::connect(target.http).await?;
    let (mut reader, mut writer) = stream.into_split();
    let send = async {
        if writer.write_all(&begin).await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(BYTE_EVERY).await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let mut answer = [0; 12];
    let answered = tokio::select! {
        read = reader.read_exact(&mut answer) => read.is_ok(),
        () = send => false,
    };
    let status = String::from_utf8_lossy(answer.get(9..).unwrap_or_default()).into_owned();
    Ok(if answered { status } else { "hung up on".to_owned() })
}

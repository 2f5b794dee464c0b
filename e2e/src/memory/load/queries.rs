//! Readers of large answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{flood, stubborn};
use crate::Result;
use crate::memory::target::Target;

const READERS: usize = 96;
const FORMATS: [&str; 3] = ["ndjson", "csv", "arrow"];
const SIP: usize = 8 << 10;
const SIP_EVERY: Duration = Duration::from_millis(50);

/// How readers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it comes, all at once.
    Fast,
    /// A little at a time.
    Slow,
    /// The beginning, and then never again.
    Never,
}

/// Fills the ring for the first third of the time, then reads all of it, many at once.
///
/// # Errors
/// As the flood.
pub async fn read(target: &Target, pace: Pace) -> Result<()> {
    let left = target.until.saturating_duration_since(std::time::Instant::now());
    let fill = Target { until: target.until - left * 2 / 3, ..target.clone() };
    flood::http(&fill, flood::Body::Lines).await?;
    stubborn(target, READERS, move |target, number| async move {
        let mut stream = TcpStream::connect(target.http).await?;
        let format = FORMATS[number % FORMATS.len()];
        let path = format!("/v1/logs/flood{}/records?format={format}", number % 4);
        let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok("hung up on".to_owned());
        }
        target.note(&String::from_utf8_lossy(head.get(9..).unwrap_or_default()));
        let mut sip = vec![0; SIP];
        if pace == Pace::Never {
            target.over().await;
        }
        while stream.read(&mut sip).await? > 0 {
            if pace == Pace::Slow {
                tokio::time::sleep(SIP_EVERY).await;
            }
        }
        Ok("end of the answer".to_owned())
    })
    .await
}

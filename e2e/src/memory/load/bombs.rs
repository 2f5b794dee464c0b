//! Bodies that are small on the wire and large when they are unpacked.

use std::io::Write;

use super::many;
use crate::Result;
use crate::memory::target::{self, Target};

const CONNECTIONS: usize = 32;
/// Unpacked bytes of a bomb.
const LARGE: usize = 24 << 20;

/// How bombs are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// Throws bombs of every kind at every path that unpacks.
///
/// # Errors
/// When one cannot be made.
pub async fn bombs(target: &Target, packing: Packing) -> Result<()> {
    let mut requests = Vec::new();
    for body in [packed(b"x", LARGE, packing)?, packed(b"m f=1\n", LARGE, packing)?, packed(b" ", LARGE, packing)?] {
        for (path, headers) in [
            ("/write", ""),
            ("/api/v2/write", ""),
            ("/v1/logs/bomb/records", "content-type: application/x-ndjson\r\n"),
            ("/v1/logs/bomb/records", "content-type: application/json\r\n"),
            ("/v1/logs/bomb/records", "content-type: application/vnd.apache.arrow.stream\r\n"),
        ] {
            let coding = match packing {
                Packing::Gzip => "gzip",
                Packing::Zstd => "zstd",
            };
            requests.push(target::post(path, &format!("{headers}content-encoding: {coding}\r\n"), &body));
        }
    }
    throw(target, requests).await
}

/// Lines without an end: gzipped, plain, as JSON.
///
/// # Errors
/// When one cannot be made.
pub async fn endless_lines(target: &Target) -> Result<()> {
    let most = (target.cap / 4).min(8 << 20) as usize - 1;
    let gzipped = packed(b"x", most, Packing::Gzip)?;
    let json = [br#"{"a": ""#.to_vec(), vec![b'x'; most - 7]].concat();
    let array = [b"[".to_vec(), b"{},".repeat(most / 3 - 1)].concat();
    let depths = b"[".repeat(most / 2);
    let (ndjson, whole) = ("content-type: application/x-ndjson\r\n", "content-type: application/json\r\n");
    let requests = vec![
        target::post("/write", "content-encoding: gzip\r\n", &gzipped),
        target::post("/write", "", &vec![b'x'; most]),
        target::post("/write", "", &[b"m f=\"".to_vec(), vec![b'y'; most - 5]].concat()),
        target::post("/v1/logs/bomb/records", ndjson, &json),
        target::post("/v1/logs/bomb/records", whole, &json),
        target::post("/v1/logs/bomb/records", whole, &array),
        target::post("/v1/logs/bomb/records", whole, &depths),
        target::post("/v1/logs/bomb/records", &format!("{whole}content-encoding: gzip\r\n"), &gzipped),
    ];
    throw(target, requests).await
}

async fn throw(target: &Target, requests: Vec<Vec<u8>>) -> Result<()> {
    let requests = std::sync::Arc::new(requests);
    many(target, CONNECTIONS, |target, number| {
        let requests = std::sync::Arc::clone(&requests);
        async move {
            let mut at = number;
            while !target.is_over() {
                let request = requests.get(at % requests.len()).ok_or("no bombs")?;
                at += 1;
                match target.exchange(request).await {
                    Ok(status) => target.note(&status.to_string()),
                    Err(_) => target.note("hung up on"),
                }
            }
            Ok(())
        }
    })
    .await
}

fn packed(pattern: &[u8], length: usize, packing: Packing) -> Result<Vec<u8>> {
    let block = pattern.repeat((64 << 10) / pattern.len());
    let write = |out: &mut dyn Write| -> Result<()> {
        for _ in 0..length / block.len() {
            out.write_all(&block)?;
        }
        out.write_all(block.get(..length % block.len()).unwrap_or_default())?;
        Ok(())
    };
    Ok(match packing {
        Packing::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            write(&mut packer)?;
            packer.finish()?
        }
        Packing::Zstd => {
            let mut packer = zstd::Encoder::new(Vec::new(), 1)?;
            // The largest window that the agent takes.
            packer.window_log(21)?;
            write(&mut packer)?;
            packer.finish()?
        }
    })
}

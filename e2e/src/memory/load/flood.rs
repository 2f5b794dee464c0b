//! Honest readings, as many as the agent takes.

use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::many;
use crate::dataset::Dataset;
use crate::memory::target::{self, Target};
use crate::{Result, generate, packets, wait};

/// Connections at once.
const CONNECTIONS: usize = 4;
/// Bodies or packets that a connection repeats.
const ROUNDS: usize = 8;
const LINES: usize = 1_000;
const OBJECTS: usize = 500;
const NOISY_LINES: usize = 400;

/// What is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Line protocol.
    Lines,
    /// A JSON array.
    Json,
    /// Line protocol in gzip.
    Gzip,
    /// Line protocol with long texts that hardly pack: it fills the largest ring in seconds.
    Noise,
}

/// Publishes as fast as the connection takes it.
///
/// # Errors
/// When nobody is let in.
pub async fn mqtt(target: &Target, qos: u8) -> Result<()> {
    many(target, CONNECTIONS, |target, number| publisher(target, number, qos)).await
}

async fn publisher(target: Target, number: usize, qos: u8) -> Result<()> {
    let data = generate::weather(number as u64, 2_000);
    let mut out = Vec::new();
    for (id, row) in data.rows.iter().enumerate() {
        let mut json = String::new();
        data.json(row, &mut json);
        packets::publish(&mut out, qos, id as u16 + 1, &format!("plant/{number}/weather"), json.as_bytes());
    }
    let connect = packets::connect(&format!("flood-{number}"), true, 0);
    while !target.is_over() {
        let stream = match target.mqtt_in(&connect, wait::LONG).await {
            Ok(stream) => stream,
            Err(error) => {
                target.note(&error.to_string());
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (mut reader, mut writer) = stream.into_split();
        let drain = async {
            let mut chunk = vec![0; 16 << 10];
            while reader.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
        };
        let send = async { while writer.write_all(&out).await.is_ok() {} };
        tokio::select! {
            () = drain => {}
            () = send => {}
        }
        target.note("connection closed by the agent");
    }
    Ok(())
}

/// Posts bodies one after the other on each connection.
///
/// # Errors
/// When a body cannot be made.
pub async fn http(target: &Target, body: Body) -> Result<()> {
    many(target, CONNECTIONS, |target, number| poster(target, number, body)).await
}

async fn poster(target: Target, number: usize, body: Body) -> Result<()> {
    let data = generate::weather(number as u64, ROUNDS * LINES);
    let requests = (0..ROUNDS).map(|round| request(&data, number, round, body)).collect::<Result<Vec<_>>>()?;
    let mut at = 0;
    while !target.is_over() {
        let mut stream = TcpStream::connect(target.http).await?;
        loop {
            let request = requests.get(at % ROUNDS).ok_or("no bodies")?;
            at += 1;
            if stream.write_all(request).await.is_err() {
                target.note("connection closed by the agent");
                break;
            }
            match answer(&mut stream).await {
                Ok(status) => target.note(&status.to_string()),
                Err(_) => {
                    target.note("connection closed by the agent");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Reads one answer to its end; answers to writes are short and have a length.
async fn answer(stream: &mut TcpStream) -> Result<u16> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        stream.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(Ok(0), str::parse::<usize>)?];
    stream.read_exact(&mut body).await?;
    target::status(&mut head.as_bytes()).await
}

fn request(data: &Dataset, number: usize, round: usize, body: Body) -> Result<Vec<u8>> {
    let rows = round * LINES..(round + 1) * LINES;
    let log = format!("flood{number}");
    Ok(match body {
        Body::Lines => target::post("/write", "", data.line_protocol(&log, rows).as_bytes()),
        Body::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(data.line_protocol(&log, rows).as_bytes())?;
            target::post("/write", "content-encoding: gzip\r\n", &packer.finish()?)
        }
        Body::Noise => target::post("/write", "", noise(&log, (number * ROUNDS + round) as u64).as_bytes()),
        Body::Json => {
            let mut json = "[".to_owned();
            for row in data.rows.iter().skip(rows.start).take(OBJECTS) {
                if json.len() > 1 {
                    json.push(',');
                }
                data.json(row, &mut json);
            }
            json.push(']');
            let path = format!("/v1/logs/{log}/records?tags=station");
            target::post(&path, "content-type: application/json\r\n", json.as_bytes())
        }
    })
}

/// Lines whose texts are any of 64 characters.
fn noise(log: &str, seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = String::new();
    for _ in 0..NOISY_LINES {
        let length = 200 + next() as usize % 800;
        out.push_str(&format!("{log} value={},text=\"", next() % 1_000));
        out.extend((0..length).map(|_| char::from(LETTERS[next() as usize % LETTERS.len()])));
        out.push_str("\"\n");
    }
    out
}

/// Fills the ring by MQTT and HTTP at once.
///
/// # Errors
/// As [`mqtt`] and [`http`].
pub async fn fill(target: &Target) -> Result<()> {
    let (mqtt, http) = tokio::join!(mqtt(target, 1), http(target, Body::Noise));
    mqtt.and(http)
}

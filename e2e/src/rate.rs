//! QoS 1 publishes acknowledged per second: one load generator, whatever server.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Process, free_address};
use crate::{Result, packets, wait};

/// How the load is shaped.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections at once.
    pub connections: usize,
    /// Publishes of all connections together.
    pub publishes: usize,
    /// Publishes of one connection that wait for their acknowledgement.
    pub window: usize,
}

/// A mosquitto that takes everything and, as nobody subscribes, discards it.
///
/// # Errors
/// When it does not come up.
pub async fn mosquitto(folder: &std::path::Path) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let config = folder.join("mosquitto.conf");
    std::fs::write(
        &config,
        format!("listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type error\n", address.port()),
    )?;
    let program =
        if std::path::Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let process = Process::start("mosquitto", command)?;
    wait::until("mosquitto", wait::LONG, async || Ok(TcpStream::connect(address).await.map(|_| ()).ok())).await?;
    Ok((process, address))
}

/// Publishes `payload` over and over; acknowledgements per second from the first byte to the last acknowledgement.
///
/// # Errors
/// When a connection breaks, or the server falls silent.
pub async fn measure(to: SocketAddr, load: Load, payload: &str) -> Result<f64> {
    let each = load.publishes / load.connections.max(1);
    let begun = Instant::now();
    let work = (0..load.connections).map(|number| tokio::spawn(one(to, number, each, load.window, payload.to_owned())));
    for task in work.collect::<Vec<_>>() {
        task.await??;
    }
    Ok((each * load.connections) as f64 / begun.elapsed().as_secs_f64())
}

async fn one(to: SocketAddr, number: usize, publishes: usize, window: usize, payload: String) -> Result<()> {
    let mut stream = TcpStream::connect(to).await.map_err(|error| format!("{to}: {error}"))?;
    stream.set_nodelay(true)?;
    stream.write_all(&packets::connect(&format!("load-{number}"), true, 0)).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    if answer != [0x20, 2, 0, 0] {
        return Err(format!("CONNECT was answered {answer:x?}").into());
    }
    let (mut reader, mut writer) = stream.split();
    let (mut sent, mut acknowledged, mut out, mut bytes) = (0, 0, Vec::new(), 0);
    let mut chunk = vec![0; 64 << 10];
    while acknowledged < publishes {
        out.clear();
        while sent < publishes && sent - acknowledged < window {
            sent += 1;
            packets::publish(&mut out, 1, (sent % 65_535) as u16 + 1, "load/readings", payload.as_bytes());
        }
        writer.write_all(&out).await?;
        // An acknowledgement of version 3.1.1 has four bytes.
        let read = tokio::time::timeout(Duration::from_secs(30), reader.read(&mut chunk)).await;
        match read.map_err(|_| "the server is silent")?? {
            0 => return Err(format!("the server closed after {acknowledged} acknowledgements").into()),
            read => bytes += read,
        }
        acknowledged = bytes / 4;
    }
    Ok(())
}

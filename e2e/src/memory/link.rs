//! A link that lets through so many bytes a second.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Result;

const CHUNK: usize = 4 << 10;

/// A slow link to a server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Slow {
    /// The near end.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Slow {
    /// A link to `server` for `rate` bytes a second in each direction of each connection.
    pub(crate) async fn to(server: SocketAddr, rate: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // While the server is not there, the near end is closed at once.
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near_in, far_out, rate), pass(far_in, near_out, rate));
                });
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, rate: u64) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read) = from.read(&mut chunk).await {
        if read == 0 || to.write_all(chunk.get(..read).unwrap_or_default()).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
    }
}

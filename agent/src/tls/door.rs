//! The TLS of a listener: certificates as their files are now, and little memory for whoever is still a stranger.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pyralog_service::Watched;
use pyralog_service::tls::{Pair, opening};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{TlsError, server_config};

/// Bytes that a TLS connection takes at most beyond a plain one: rustls holds a record on its way in, its plaintext, what the
/// peer has not read yet, and keys. `tests/tls_memory.rs` measures it.
pub const CONNECTION_BYTES: u64 = 64 << 10;

/// Bytes that are read of a client until its handshake is over. An honest one needs two to three thousand, and may send a first
/// record of 16 KiB with the last of them, which is then read with it; rustls would hold 64 KiB.
const HANDSHAKE_BYTES: usize = 24 << 10;

/// HTTP as TLS clients call it when they ask which protocol is spoken.
pub const HTTP: &[u8] = b"http/1.1";

/// Bytes of answers that are held encrypted for a peer that does not read; then whoever writes waits.
const UNSENT_BYTES: usize = 16 << 10;

/// The TLS of a listener, as its files are now. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Door {
    ready: Arc<Watched<Ready>>,
    /// Whether HTTP is spoken behind it.
    http: bool,
}

struct Ready(TlsAcceptor);

/// A connection that shook hands.
pub type Stream = TlsStream<Metered>;

impl Door {
    /// With this certificate and key, for the protocols `alpn` (empty: any).
    ///
    /// # Errors
    /// Names the file and what it must hold.
    pub fn open(files: &Pair, alpn: &'static [&'static [u8]]) -> Result<Self, TlsError> {
        let (watched, files) = (vec![files.cert.clone(), files.key.clone()], files.clone());
        let read = move || server_config(&files, alpn).map(|config| Ready(TlsAcceptor::from(config)));
        let ready = Arc::new(Watched::open("certificates", watched, read)?);
        Ok(Self { ready, http: alpn.contains(&HTTP) })
    }

    /// Shakes hands with the next client; connections from before keep the certificate that they began with. Who speaks plain
    /// HTTP where HTTPS is spoken is told so. The caller limits the time.
    ///
    /// # Errors
    /// When the client does not speak TLS, or says too much before the handshake is over.
    pub async fn shake(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = if self.http { opening::https(stream).await? } else { stream };
        let metered = Metered { stream, allowance: Some(HANDSHAKE_BYTES) };
        let limit = |connection: &mut rustls::ServerConnection| connection.set_buffer_limit(Some(UNSENT_BYTES));
        let mut shaken = self.ready.get().0.accept_with(metered, limit).await?;
        shaken.get_mut().0.allowance = None;
        Ok(shaken)
    }

    /// Looks at the files now; otherwise they are looked at every few seconds, while there are clients.
    pub fn look(&self) {
        self.ready.look();
    }
}

/// A stream from which only so much may be read, until the limit is lifted.
#[derive(Debug)]
pub struct Metered {
    stream: TcpStream,
    allowance: Option<usize>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(allowance) = &mut self.allowance {
            match allowance.checked_sub(buf.filled().len() - before) {
                Some(left) => *allowance = left,
                None => {
                    let words = format!("more than {HANDSHAKE_BYTES} bytes before the TLS handshake was over");
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
                }
            }
        }
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

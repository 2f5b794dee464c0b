//! The first bytes on a TLS port: a handshake, or plain HTTP, which gets an answer that says where it should have gone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The content type of a TLS record that carries a handshake, and so the first byte of every TLS connection.
const HANDSHAKE: u8 = 22;

/// How long a plain client may take to read its answer, and how many bytes of its request are read meanwhile: to close over
/// unread bytes would take the answer away with them.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: u64 = 64 << 10;

const ANSWER: &str = "{\"error\":\"this port speaks HTTPS: use https:// in the URL; a token that came with this request \
                      crossed the network in the clear and should be replaced\"}";

/// Shakes hands with a client.
///
/// # Errors
/// When the client speaks something else, or the handshake fails.
pub(super) async fn handshake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it said nothing"));
    }
    let [first] = first;
    if first == HANDSHAKE {
        return acceptor.accept(stream).await;
    }
    if first.is_ascii_uppercase() {
        // It is sent away in any case.
        let _ = tokio::time::timeout(FAREWELL, explain(&mut stream)).await;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks plain HTTP"));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks neither TLS nor HTTP"))
}

async fn explain(stream: &mut TcpStream) -> io::Result<()> {
    let length = ANSWER.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{ANSWER}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

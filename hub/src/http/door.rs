//! The first bytes on a TLS port: a handshake, or plain HTTP, which gets an answer that says where it should have gone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The content type of a TLS record that carries a handshake, and so the first byte of every TLS connection.
const HANDSHAKE: u8 = 22;

/// How long a client that is sent away may take to read why, and how many bytes of what it sent are read meanwhile: to close
/// over unread bytes would take the answer away with them.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: u64 = 64 << 10;

const ANSWER: &str = "{\"error\":\"this port speaks HTTPS: use https:// in the URL; a token that came with this request \
                      crossed the network in the clear and should be replaced\"}";

/// Shakes hands with a client.
///
/// # Errors
/// When the client speaks something else, or the handshake fails.
pub(super) async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it said nothing"));
    }
    let [first] = first;
    if first == HANDSHAKE {
        return match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                // The alert that says why is written already.
                farewell(stream, "").await;
                Err(error)
            }
        };
    }
    if first.is_ascii_uppercase() {
        farewell(stream, &answer()).await;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks plain HTTP"));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks neither TLS nor HTTP"))
}

fn answer() -> String {
    let length = ANSWER.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{ANSWER}"
    )
}

/// Sends the last words and sees to it that they arrive, if the client takes them.
async fn farewell(mut stream: TcpStream, words: &str) {
    let say = async {
        stream.write_all(words.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
    };
    // It is gone in any case.
    let _ = tokio::time::timeout(FAREWELL, say).await;
}

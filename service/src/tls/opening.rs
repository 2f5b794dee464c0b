//! The first byte on a TLS port: a handshake, or plain HTTP, which gets an answer that says where it should have gone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The content type of a TLS record that carries a handshake, and so the first byte of every TLS connection.
const HANDSHAKE: u8 = 22;

/// How long a client that is sent away may take to read why, and how many bytes of what it sent are read meanwhile: to close
/// over unread bytes would take the answer away with them.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: u64 = 64 << 10;

const ANSWER: &str = "{\"error\":\"this port speaks HTTPS: use https:// in the URL; a token that came with this request \
                      crossed the network in the clear and should be replaced\"}";

/// Gives the connection back if it begins with a TLS handshake. Plain HTTP is told to use https://.
///
/// # Errors
/// When the client speaks something else, or nothing.
pub async fn https(stream: TcpStream) -> io::Result<TcpStream> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it said nothing"));
    }
    let what = match first {
        [HANDSHAKE] => return Ok(stream),
        [byte] if byte.is_ascii_uppercase() => {
            farewell(stream, &answer()).await;
            "it speaks plain HTTP"
        }
        _ => "it speaks neither TLS nor HTTP",
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Sends the last words and sees to it that they arrive, if the client takes them.
pub async fn farewell(mut stream: TcpStream, words: &str) {
    let say = async {
        stream.write_all(words.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
    };
    // It is gone in any case.
    let _ = tokio::time::timeout(FAREWELL, say).await;
}

fn answer() -> String {
    let length = ANSWER.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{ANSWER}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `https` makes of a client that says `words`, and what the client hears.
    async fn opened(words: &[u8]) -> (io::Result<TcpStream>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(words).await.unwrap();
        client.shutdown().await.unwrap();
        let opened = https(listener.accept().await.unwrap().0).await;
        let mut heard = String::new();
        if opened.is_err() {
            // Reset, where nothing is said.
            let _ = client.read_to_string(&mut heard).await;
        }
        (opened, heard)
    }

    #[tokio::test]
    async fn a_handshake_is_left_as_it_is_and_http_is_told_where_to_go() {
        let (stream, _) = opened(b"\x16\x03\x01").await;
        let mut begin = Vec::new();
        stream.unwrap().read_to_end(&mut begin).await.unwrap();
        assert_eq!(begin, b"\x16\x03\x01", "nothing was taken of it");
        let (stream, heard) = opened(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(stream.is_err() && heard.starts_with("HTTP/1.1 400") && heard.ends_with(ANSWER), "{heard}");
        for silent in [&b""[..], b"\x10\x0d\x00\x04MQTT", b"hello"] {
            let (stream, heard) = opened(silent).await;
            assert!(stream.is_err() && heard.is_empty(), "{heard}");
        }
    }
}

//! The TLS handshake at the hub's door.

use std::io;

use pyralog_service::tls::opening;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Shakes hands with a client.
///
/// # Errors
/// When the client speaks something else, or the handshake fails.
pub(super) async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    match acceptor.accept(opening::https(stream).await?).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => {
            // The alert that says why is written already.
            opening::farewell(stream, "").await;
            Err(error)
        }
    }
}

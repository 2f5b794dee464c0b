//! TLS of the listeners, from PEM files.

use std::sync::Arc;

use pyralog_service::tls::{Pair, PemError, certificates, install_provider, private_key};

pub mod door;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM of the right kind.
    #[error(transparent)]
    File(#[from] PemError),
    /// The files are good and do not go together.
    #[error("{} and {} do not go together: {reason}", files.cert.display(), files.key.display())]
    Pair {
        /// The files.
        files: Pair,
        /// What rustls said.
        reason: rustls::Error,
    },
}

/// The server side of TLS with this certificate and key, for the protocols `alpn` (empty: any).
///
/// # Errors
/// Names the file and what it must hold.
pub fn server_config(files: &Pair, alpn: &[&[u8]]) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    install_provider();
    let (certs, key) =
        (certificates(&files.cert, "the certificate chain")?, private_key(&files.key, "the private key")?);
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certs, key);
    let mut config = config.map_err(|reason| TlsError::Pair { files: files.clone(), reason })?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // Sessions are memory that clients make grow; tickets are off by default, and a few cached ones save most handshakes.
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(32);
    Ok(Arc::new(config))
}

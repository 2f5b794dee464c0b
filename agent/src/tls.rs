//! TLS for listeners, from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM of the right kind.
    #[error("{}: {reason}; it must be a PEM file with {wanted}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What reading it said.
        reason: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The files are good and do not go together.
    #[error("{} and {} do not go together: {reason}", cert.display(), key.display())]
    Pair {
        /// Certificate file.
        cert: std::path::PathBuf,
        /// Key file.
        key: std::path::PathBuf,
        /// What rustls said.
        reason: rustls::Error,
    },
}

/// Makes ring the process's TLS provider; further calls do nothing. Everything that speaks TLS needs it first.
pub fn install_provider() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The server side of TLS with this certificate and key, for the protocols `alpn` (empty: any).
///
/// # Errors
/// Names the file and what it must hold.
pub fn server_config(tls: &Tls, alpn: &[&[u8]]) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    install_provider();
    let certs = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad_file(&tls.cert, &error, "the certificate chain"))?;
    if certs.is_empty() {
        return Err(bad_file(&tls.cert, &"it holds no certificate", "the certificate chain"));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|e| bad_file(&tls.key, &e, "the private key"))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certs, key);
    let mut config =
        config.map_err(|reason| TlsError::Pair { cert: tls.cert.clone(), key: tls.key.clone(), reason })?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // Sessions are memory that clients make grow; tickets are off by default, and a few cached ones save most handshakes.
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(32);
    Ok(Arc::new(config))
}

fn bad_file(path: &Path, reason: &dyn std::fmt::Display, wanted: &'static str) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string(), wanted }
}

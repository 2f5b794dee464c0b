//! TLS at the hub's door: certificate, key and the authorities of clients from PEM files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::watched::Watched;

/// Which files the hub's TLS is made of, and what it asks of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The hub's certificate chain, its own first.
    pub cert: PathBuf,
    /// The private key that goes with it.
    pub key: PathBuf,
    /// Whose certificates clients may show; `None` asks for none.
    pub clients: Option<Clients>,
}

/// What the hub asks of clients' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The authorities that sign them.
    pub ca: PathBuf,
    /// Lists of those that are revoked; with any, each authority needs one.
    pub crl: Option<PathBuf>,
    /// Whether every client needs one.
    pub auth: ClientAuth,
}

/// Whether a client may come without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// No: its handshake fails.
    #[default]
    Required,
    /// Yes: it then needs a token for all but the page and the health of the hub.
    Optional,
}

/// Why the hub cannot speak TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM of the right kind.
    #[error("{key}: {}: {reason}; it must be a PEM file with {wanted}", path.display())]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What reading it said.
        reason: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The files are good and do not go together.
    #[error("tls.cert {} and tls.key {} do not go together: {reason}", cert.display(), key.display())]
    Pair {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What rustls said.
        reason: String,
    },
}

/// The TLS side of a listener, as its files are now.
#[derive(Debug)]
pub(crate) struct Tls {
    ready: Watched<Ready>,
    /// How long a connection lives on what its handshake found.
    pub(crate) max_connection_age: Duration,
}

struct Ready(TlsAcceptor);

impl Tls {
    /// Reads the files.
    pub(crate) fn open(files: TlsFiles, max_connection_age: Duration) -> Result<Self, TlsError> {
        let mut watched = vec![files.cert.clone(), files.key.clone()];
        watched
            .extend(files.clients.iter().flat_map(|clients| [Some(clients.ca.clone()), clients.crl.clone()]).flatten());
        let read = move || server_config(&files).map(|config| Ready(TlsAcceptor::from(Arc::new(config))));
        Ok(Self { ready: Watched::open("certificates", watched, read)?, max_connection_age })
    }

    /// For the next connection; those before keep what they began with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.ready.get().0.clone()
    }

    /// Looks at the files now.
    pub(crate) fn look(&self) {
        self.ready.look();
    }
}

fn server_config(files: &TlsFiles) -> Result<rustls::ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs = certificates("tls.cert", &files.cert, "the hub's certificate and those between it and its authority")?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| bad("tls.key", &files.key, &error, "the private key of tls.cert"))?;
    let pair = |reason: rustls::Error| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        reason: reason.to_string(),
    };
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &files.clients {
        Some(clients) => builder.with_client_cert_verifier(verifier(clients, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certs, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if files.clients.is_some() {
        // A resumed session would bring a certificate that nobody looks at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

type Verifier = Arc<dyn rustls::server::danger::ClientCertVerifier>;

fn verifier(clients: &Clients, provider: Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    const WANTED: &str = "the authorities that sign clients' certificates";
    let ca = &clients.ca;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", ca, WANTED)? {
        roots.add(certificate).map_err(|error| bad("tls.client_ca", ca, &error, WANTED))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(file) = &clients.crl {
        // Authorities between a root and a client would need lists of their own.
        builder = builder.with_crls(revocations(file)?).only_check_end_entity_revocation();
    }
    if clients.auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let file = |error: &VerifierBuilderError| match (error, &clients.crl) {
        (VerifierBuilderError::InvalidCrl(_), Some(crl)) => ("tls.client_crl", crl.clone()),
        _ => ("tls.client_ca", ca.clone()),
    };
    builder.build().map_err(|error| {
        let (key, path) = file(&error);
        bad(key, &path, &error, WANTED)
    })
}

fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let read = CertificateRevocationListDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let none =
        |reason: &dyn std::fmt::Display| bad("tls.client_crl", file, reason, "a revocation list of each authority");
    match read {
        Ok(found) if found.is_empty() => Err(none(&"it holds no revocation list")),
        Ok(found) => Ok(found),
        Err(error) => Err(none(&error)),
    }
}

fn certificates(
    key: &'static str,
    path: &Path,
    wanted: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(bad(key, path, &"it holds no certificate", wanted)),
        Ok(found) => Ok(found),
        Err(error) => Err(bad(key, path, &error, wanted)),
    }
}

fn bad(key: &'static str, path: &Path, reason: &dyn std::fmt::Display, wanted: &'static str) -> TlsError {
    TlsError::File { key, path: path.to_owned(), reason: reason.to_string(), wanted }
}

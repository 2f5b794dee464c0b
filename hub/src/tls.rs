//! TLS at the hub's door: certificate, key and the authorities of clients from PEM files, read again when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyralog_service::Watched;
use pyralog_service::tls::{PemError, authorities, certificates, private_key, revocations};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

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
    #[error("{key}: {file}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file and what it must hold.
        file: PemError,
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
    const CHAIN: &str = "the hub's certificate and those between it and its authority";
    let certs = certificates(&files.cert, CHAIN).map_err(bad("tls.cert"))?;
    let key = private_key(&files.key, "the private key of tls.cert").map_err(bad("tls.key"))?;
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
    const LISTS: &str = "a revocation list of each authority";
    let ca = &clients.ca;
    let bad_ca = bad("tls.client_ca");
    let roots = authorities(ca, WANTED).map_err(&bad_ca)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(file) = &clients.crl {
        // Authorities between a root and a client would need lists of their own.
        builder = builder
            .with_crls(revocations(file, LISTS).map_err(bad("tls.client_crl"))?)
            .only_check_end_entity_revocation();
    }
    if clients.auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| match (&error, &clients.crl) {
        (VerifierBuilderError::InvalidCrl(_), Some(crl)) => bad("tls.client_crl")(PemError::new(crl, error, LISTS)),
        _ => bad_ca(PemError::new(ca, error, WANTED)),
    })
}

fn bad(key: &'static str) -> impl Fn(PemError) -> TlsError {
    move |file| TlsError::File { key, file }
}

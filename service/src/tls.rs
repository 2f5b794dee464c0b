//! TLS from PEM files: what listeners and clients of both sides read, and in which words they complain.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

pub mod client;
pub mod opening;

/// A certificate chain and its private key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Certificate chain, its own first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// A file cannot be read, or is not PEM of the right kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}; it must be a PEM file with {wanted}", path.display())]
pub struct PemError {
    /// The file.
    pub path: PathBuf,
    /// What reading it said.
    pub reason: String,
    /// What it should hold.
    pub wanted: &'static str,
}

impl PemError {
    /// For `path`, which should hold what `wanted` says.
    pub fn new(path: &Path, reason: impl Display, wanted: &'static str) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string(), wanted }
    }
}

/// Makes ring the process's TLS provider; further calls do nothing. Everything that speaks TLS needs it first.
pub fn install_provider() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The certificates in a file, of which there is at least one.
///
/// # Errors
/// Names the file and what it must hold.
pub fn certificates(file: &Path, wanted: &'static str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    all(CertificateDer::pem_file_iter(file), file, "it holds no certificate", wanted)
}

/// The authorities in a file, of which there is at least one.
///
/// # Errors
/// Names the file and what it must hold.
pub fn authorities(file: &Path, wanted: &'static str) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, wanted)? {
        roots.add(certificate).map_err(|error| PemError::new(file, error, wanted))?;
    }
    Ok(roots)
}

/// The revocation lists in a file, of which there is at least one.
///
/// # Errors
/// Names the file and what it must hold.
pub fn revocations(file: &Path, wanted: &'static str) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    all(CertificateRevocationListDer::pem_file_iter(file), file, "it holds no revocation list", wanted)
}

/// The private key in a file.
///
/// # Errors
/// Names the file and what it must hold.
pub fn private_key(file: &Path, wanted: &'static str) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| PemError::new(file, error, wanted))
}

fn all<T>(
    found: Result<impl Iterator<Item = Result<T, pem::Error>>, pem::Error>,
    file: &Path,
    none: &str,
    wanted: &'static str,
) -> Result<Vec<T>, PemError> {
    match found.and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(found) if found.is_empty() => Err(PemError::new(file, none, wanted)),
        Ok(found) => Ok(found),
        Err(error) => Err(PemError::new(file, error, wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_something_else_is_named_with_what_it_should_hold() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pem");
        let told = |file: &Path| {
            let chain = certificates(file, "the chain").unwrap_err().to_string();
            let lists = revocations(file, "the lists").unwrap_err().to_string();
            let key = private_key(file, "the key").unwrap_err().to_string();
            for (told, wanted) in [(&chain, "with the chain"), (&lists, "with the lists"), (&key, "with the key")] {
                assert!(told.contains("x.pem") && told.contains(wanted), "{told}");
            }
            chain
        };
        assert!(told(&file).contains("No such file"));
        std::fs::write(&file, "nothing").unwrap();
        assert!(told(&file).contains("it holds no certificate"));
    }
}

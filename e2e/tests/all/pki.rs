//! An authority and what it signs, as PEM files.

use std::path::{Path, PathBuf};

use pyralog_e2e::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    pub file: PathBuf,
}

/// A certificate and its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem())?;
        Ok(Self { issuer, folder: folder.to_owned(), file })
    }

    /// A certificate for these names, in files that are called `file`.
    pub fn sign(&self, file: &str, names: &[&str]) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        let path = |what| self.folder.join(format!("{file}.{what}.pem"));
        let pair = Pair { cert: path("cert"), key: path("key") };
        std::fs::write(&pair.key, key.serialize_pem())?;
        std::fs::write(&pair.cert, cert.pem())?;
        Ok(pair)
    }
}

/// A path as the command line takes it.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

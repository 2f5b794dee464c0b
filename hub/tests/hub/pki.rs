//! Authorities and certificates for tests, as PEM files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

/// An authority and the folder of its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its certificate.
    pub file: PathBuf,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, folder: folder.to_owned(), file }
    }

    /// A list that revokes the certificates in the files that are called so.
    pub fn revoke(&self, files: &[&str]) -> PathBuf {
        let when = rcgen::date_time_ymd(2026, 1, 1);
        let revoked = files.iter().map(|file| RevokedCertParams {
            serial_number: serial(file),
            revocation_time: when,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: when,
            next_update: rcgen::date_time_ymd(2026, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.join("crl.pem");
        std::fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    /// A certificate for these names, in files that are called `file`.
    pub fn sign(&self, file: &str, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.serial_number = Some(serial(file));
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            cert: self.folder.join(format!("{file}.cert.pem")),
            key: self.folder.join(format!("{file}.key.pem")),
        };
        // The key first: a hub that looks in between meets an old certificate with a new key, and keeps what it has.
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        std::fs::write(&pair.cert, cert.pem()).unwrap();
        pair
    }
}

/// The same name gives the same number.
fn serial(file: &str) -> SerialNumber {
    SerialNumber::from(file.bytes().fold(1_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte)))
}

impl Pair {
    /// Both in one, as HTTP clients take them.
    pub fn identity(&self) -> reqwest::Identity {
        let text = [&self.cert, &self.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        reqwest::Identity::from_pem(text.as_bytes()).unwrap()
    }
}

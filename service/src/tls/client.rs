//! TLS of clients: whom they trust, and who they are.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use super::{Pair, PemError};

/// What a client trusts and shows. The default trusts the system's authorities and shows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Its own certificate and key.
    pub identity: Option<Pair>,
}

/// Why a client cannot trust or show what its files say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientTlsError {
    /// The file of authorities.
    #[error(transparent)]
    Authorities(PemError),
    /// The file of the certificate, or that of its key.
    #[error(transparent)]
    Own(PemError),
    /// The files are good in themselves, and no client can be made of them.
    #[error("{} and {} are not the certificate and key of a client: {reason}", pair.cert.display(), pair.key.display())]
    Identity {
        /// The files.
        pair: Pair,
        /// What is wrong.
        reason: String,
    },
}

/// What messages call the settings of a client.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// The URL.
    pub url: &'static str,
    /// The file of authorities.
    pub ca: &'static str,
    /// The file of the client's certificate.
    pub cert: &'static str,
}

impl ClientTls {
    /// The files that it is made of.
    pub fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]);
        self.ca.iter().cloned().chain(identity).collect()
    }

    /// A builder that trusts and shows this.
    ///
    /// # Errors
    /// Names the file and what it must hold.
    pub fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, ClientTlsError> {
        if let Some(file) = &self.ca {
            builder = builder.tls_certs_only(authorities(file).map_err(ClientTlsError::Authorities)?);
        } else if rustls_native_certs::load_native_certs().certs.is_empty() {
            // Small systems have no authorities. No client at all could be built then, not even for plain HTTP.
            builder = builder.tls_certs_only([]);
        }
        if let Some(pair) = &self.identity {
            let pem = pair.in_one().map_err(ClientTlsError::Own)?;
            let identity = Identity::from_pem(&pem).map_err(|error| not_a_clients(pair, &error))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    /// Finds out now whether a client can be made of the files.
    ///
    /// # Errors
    /// Names the file and what it must hold.
    pub fn check(&self) -> Result<(), ClientTlsError> {
        if *self == Self::default() {
            return Ok(());
        }
        super::install_provider();
        let built = self.apply(reqwest::Client::builder())?.build();
        match (built, &self.identity, &self.ca) {
            (Err(error), Some(pair), _) => Err(not_a_clients(pair, &error)),
            (Err(error), None, Some(ca)) => {
                Err(ClientTlsError::Authorities(PemError::new(ca, innermost(&error), AUTHORITY)))
            }
            _ => Ok(()),
        }
    }
}

const AUTHORITY: &str = "the authority that signed the server's certificate";
const CHAIN: &str = "this client's certificate chain";
const KEY: &str = "the private key of this client's certificate";

impl Pair {
    /// Both as one PEM text, which is how HTTP clients take them.
    fn in_one(&self) -> Result<Vec<u8>, PemError> {
        super::certificates(&self.cert, CHAIN)?;
        super::private_key(&self.key, KEY)?;
        let mut pem = read(&self.cert, CHAIN)?;
        pem.push(b'\n');
        pem.extend_from_slice(&read(&self.key, KEY)?);
        Ok(pem)
    }
}

/// The authorities in a file, of which there is at least one.
fn authorities(file: &Path) -> Result<Vec<Certificate>, PemError> {
    let found = Certificate::from_pem_bundle(&read(file, AUTHORITY)?);
    match found.map_err(|error| PemError::new(file, innermost(&error), AUTHORITY))? {
        none if none.is_empty() => Err(PemError::new(file, "it holds no certificate", AUTHORITY)),
        found => Ok(found),
    }
}

fn not_a_clients(pair: &Pair, error: &reqwest::Error) -> ClientTlsError {
    ClientTlsError::Identity { pair: pair.clone(), reason: innermost(error) }
}

/// What went wrong with a connection, with the remedy where TLS has one.
pub fn explained(error: &reqwest::Error, named: Named) -> String {
    let over_tls = error.url().is_some_and(|url| url.scheme() == "https");
    let error = innermost(error);
    match remedy(&error, over_tls, named) {
        Some(remedy) => format!("{error} ({remedy})"),
        None => error,
    }
}

/// The words of hyper and of the system for a connection that ended.
const GONE: [&str; 4] = ["closed", "connection was not ready", "Connection reset", "Broken pipe"];

fn remedy(error: &str, over_tls: bool, Named { url, ca, cert }: Named) -> Option<String> {
    let says = |words: &str| error.contains(words);
    Some(match () {
        () if says("UnknownIssuer") => format!(
            "its certificate is not signed by a trusted authority: set {ca}, or install ca-certificates if it is a public one"
        ),
        () if says("CaUsedAsEndEntity") => {
            "it shows the certificate of an authority: have a certificate of its own signed by it".to_owned()
        }
        () if says("not valid for name") => {
            format!("its certificate is for another name: use one of its names in {url}")
        }
        () if says("certificate expired") || says("certificate not valid yet") => {
            "look at the dates of its certificate and at the clock of this machine".to_owned()
        }
        () if says("InvalidContentType") => format!("it does not speak TLS: use http:// in {url}"),
        () if says("alert: CertificateRequired") => format!("it asks for a client certificate: set {cert} and its key"),
        () if says("alert: CertificateExpired") => format!("the certificate in {cert} has expired"),
        () if says("alert: CertificateRevoked") => format!("it has revoked the certificate in {cert}"),
        () if says("alert: UnknownCA") => format!("its authority has not signed the certificate in {cert}"),
        // What TLS 1.3 has to say about a certificate comes after the handshake, and may get lost on the way: then the connection is
        // just gone, before the request, in it or after it.
        () if over_tls && GONE.iter().any(|words| says(words)) => {
            format!("if it asks for client certificates, set {cert} and its key")
        }
        () => return None,
    })
}

/// reqwest wraps the reason ("connection refused") several times.
pub fn innermost(error: &reqwest::Error) -> String {
    let mut current: &dyn std::error::Error = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

fn read(file: &Path, wanted: &'static str) -> Result<Vec<u8>, PemError> {
    std::fs::read(file).map_err(|error| PemError::new(file, error, wanted))
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn what_rustls_says_is_followed_by_what_to_do() {
        let named = Named { url: "URL", ca: "CA", cert: "CERT" };
        let name = rustls_pki_types::ServerName::try_from("hub").unwrap();
        let other = CertificateError::NotValidForNameContext { expected: name, presented: vec!["x".into()] };
        let now = rustls_pki_types::UnixTime::now();
        let expired = CertificateError::ExpiredContext { time: now, not_after: now };
        let early = CertificateError::NotValidYetContext { time: now, not_before: now };
        for (error, words) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "set CA"),
            (Error::InvalidCertificate(expired), "clock"),
            (Error::InvalidCertificate(early), "clock"),
            (Error::InvalidCertificate(other), "names in URL"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "use http:// in URL"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "set CERT"),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "CERT has expired"),
            (Error::AlertReceived(AlertDescription::CertificateRevoked), "revoked"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "CERT"),
        ] {
            let remedy = remedy(&error.to_string(), true, named).unwrap_or_default();
            assert!(remedy.contains(words), "{error}: {remedy}");
        }
        assert_eq!(remedy("connection refused", true, named), None);
        for gone in [
            "connection closed before message completed",
            "connection was not ready",
            "Connection reset by peer (os error 104)",
        ] {
            assert!(remedy(gone, true, named).is_some_and(|remedy| remedy.contains("client certificates")), "{gone}");
            assert_eq!(remedy(gone, false, named), None);
        }
    }

    #[test]
    fn files_of_no_use_are_told_apart_from_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nothing.pem");
        std::fs::write(&file, "nothing").unwrap();
        assert_eq!(ClientTls::default().check(), Ok(()));
        let error = ClientTls { ca: Some(file.clone()), identity: None }.check().unwrap_err();
        assert!(matches!(&error, ClientTlsError::Authorities(_)), "{error}");
        let pair = Pair { cert: file.clone(), key: file };
        let error = ClientTls { ca: None, identity: Some(pair) }.check().unwrap_err();
        assert!(matches!(&error, ClientTlsError::Own(bad) if bad.wanted == CHAIN), "{error}");
    }
}

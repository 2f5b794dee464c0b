//! Whom a client command trusts over TLS, and who it is itself.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder, Identity};

use super::TlsArgs;
use super::client::chain;

/// A client that trusts and shows what the flags say. With an authority of its own it trusts no other.
///
/// # Errors
/// A sentence that names the flag and the file.
pub(super) fn with(args: &TlsArgs, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
    if let Some(file) = &args.ca_file {
        let bad = |reason: String| wrong("--ca-file", file, &reason, "the authority that signed the hub's certificate");
        let found = Certificate::from_pem_bundle(&read("--ca-file", file)?).map_err(|error| bad(chain(&error)))?;
        if found.is_empty() {
            return Err(bad("it holds no certificate".into()));
        }
        builder = builder.tls_certs_only(found);
    }
    if let (Some(cert), Some(key)) = (&args.cert_file, &args.key_file) {
        let mut pem = read("--cert-file", cert)?;
        pem.push(b'\n');
        pem.extend_from_slice(&read("--key-file", key)?);
        let identity = Identity::from_pem(&pem).map_err(|error| {
            let (files, error) = (format!("{} and {}", cert.display(), key.display()), chain(&error));
            format!("--cert-file, --key-file: {files}: {error}; they must be PEM files with this client's certificate and its private key")
        })?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

/// What TLS says, with the remedy where there is one.
pub(super) fn explained(error: &str) -> String {
    const REMEDIES: [(&str, &str); 11] = [
        ("UnknownIssuer", "the hub's certificate is not signed by a trusted authority: name it by --ca-file"),
        ("CaUsedAsEndEntity", "the hub shows the certificate of an authority: have one of its own signed by it"),
        ("not valid for name", "the hub's certificate is for another name: use one of its names in --url"),
        ("certificate expired", "look at the dates of the hub's certificate and at the clock of this machine"),
        ("certificate not valid yet", "look at the dates of the hub's certificate and at the clock of this machine"),
        ("InvalidContentType", "it does not speak TLS: use http:// in --url"),
        ("alert: CertificateRequired", "the hub wants a client certificate: --cert-file and --key-file"),
        ("alert: CertificateExpired", "the certificate in --cert-file has expired"),
        ("alert: CertificateRevoked", "the hub has revoked the certificate in --cert-file"),
        ("alert: UnknownCA", "the hub's authorities have not signed the certificate in --cert-file"),
        // What TLS 1.3 has to say about a certificate comes after the handshake, and may get lost on the way.
        (" closed", "if the hub asks for client certificates: --cert-file and --key-file"),
    ];
    match REMEDIES.iter().find(|(word, _)| error.contains(word)) {
        Some((_, remedy)) => format!("{error} ({remedy})"),
        None => error.to_owned(),
    }
}

/// A URL fit for a screen.
pub(super) fn without_password(url: &str) -> String {
    // What has no host in it may still hold a password: `name:password@host`.
    let Some(mut shown) = reqwest::Url::parse(url).ok().filter(reqwest::Url::has_host) else {
        return "the URL".to_owned();
    };
    if shown.password().is_some() {
        // Fails for URLs that cannot hold one.
        let _ = shown.set_password(Some("***"));
    }
    shown.as_str().trim_end_matches('/').to_owned()
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{flag}: cannot read {}: {error}", file.display()))
}

fn wrong(flag: &str, file: &Path, reason: &str, wanted: &str) -> String {
    format!("{flag}: {}: {reason}; it must be a PEM file with {wanted}", file.display())
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn what_rustls_says_is_followed_by_what_to_do() {
        let name = rustls_pki_types::ServerName::try_from("hub").unwrap();
        let other = CertificateError::NotValidForNameContext { expected: name, presented: vec!["x".into()] };
        let now = rustls_pki_types::UnixTime::now();
        let expired = CertificateError::ExpiredContext { time: now, not_after: now };
        let early = CertificateError::NotValidYetContext { time: now, not_before: now };
        for (error, words) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "--ca-file"),
            (Error::InvalidCertificate(expired), "clock"),
            (Error::InvalidCertificate(early), "clock"),
            (Error::InvalidCertificate(other), "names in --url"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "use http://"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "--cert-file"),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "has expired"),
            (Error::AlertReceived(AlertDescription::CertificateRevoked), "revoked"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "--cert-file"),
        ] {
            let told = explained(&error.to_string());
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(explained("connection refused"), "connection refused");
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(without_password("http://bob:s3c@hub:7390/"), "http://bob:***@hub:7390");
        assert_eq!(without_password("bob:s3c@hub"), "the URL");
    }
}

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
    const REMEDIES: [(&str, &str); 8] = [
        ("UnknownIssuer", "the hub's certificate is not signed by a trusted authority: name it by --ca-file"),
        (
            "CaUsedAsEndEntity",
            "the hub shows the certificate of an authority: have a certificate of its own signed by it",
        ),
        ("NotValidForName", "the hub's certificate is not for this name: use one of its names in --url"),
        ("Expired", "the hub's certificate has expired, or this machine's clock is wrong"),
        ("InvalidContentType", "it does not speak TLS: use http:// in --url"),
        ("CertificateRequired", "the hub wants a client certificate: --cert-file and --key-file"),
        // What TLS 1.3 has to say about a certificate comes after the handshake, and may get lost on the way.
        (" closed", "if the hub asks for client certificates: --cert-file and --key-file"),
        ("UnknownCA", "the hub's authorities have not signed the certificate in --cert-file"),
    ];
    match REMEDIES.iter().find(|(word, _)| error.contains(word)) {
        Some((_, remedy)) => format!("{error} ({remedy})"),
        None => error.to_owned(),
    }
}

fn read(flag: &str, file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{flag}: cannot read {}: {error}", file.display()))
}

fn wrong(flag: &str, file: &Path, reason: &str, wanted: &str) -> String {
    format!("{flag}: {}: {reason}; it must be a PEM file with {wanted}", file.display())
}

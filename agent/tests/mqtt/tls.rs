//! The endpoint behind TLS.

use std::{process::Command, sync::Arc, time::Duration};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{Client, Server, connect, run};

#[test]
fn mosquitto_pub_publishes_over_tls_and_plain_clients_are_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Server::with(u64::MAX / 2, |config| {
        config.tls = Some(Arc::new(tls));
        config.connect_timeout = Duration::from_secs(5);
    });

    let port = server.address.port().to_string();
    let lines: String = (0..2000).map(|n| format!("{n}\n")).collect();
    for version in ["mqttv311", "mqttv5"] {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-q", "1", "-t", "t", "-l", "--cafile"]).arg(&ca);
        let output = run(&mut command, &lines);
        assert!(output.status.success(), "{output:?}");
    }
    let payloads = server.payloads(4000);
    assert!(payloads.iter().zip((0..2000).chain(0..2000)).all(|(payload, n)| *payload == n.to_string()));

    let mut plain = Client::open(server.address);
    plain.send(&connect("a", true, None));
    assert!(plain.rest().iter().all(|byte| *byte != 0x20), "no CONNACK");
}

//! The endpoint behind TLS.

use std::{io::Write, path::Path, process::Command, time::Duration};

use pyralog_agent::tls::door::{CONNECTION_BYTES, Door};
use pyralog_service::tls::Pair;

use crate::support::{Client, Server, connect, run, wait_until};

/// A new certificate, and its key, in the files that `tls` names; it stands for its own authority.
fn renew(tls: &Pair) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&tls.cert, made.cert.pem()).unwrap();
}

fn files(folder: &Path) -> Pair {
    let tls = Pair { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    renew(&tls);
    tls
}

#[test]
fn mosquitto_pub_publishes_over_tls_and_plain_clients_are_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let tls = files(directory.path());
    let ca = tls.cert.clone();
    let server = Server::with(u64::MAX / 2, |config| {
        config.tls = Some(Door::open(&tls, &[]).unwrap());
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

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_open_connections_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let tls = files(directory.path());
    let door = Door::open(&tls, &[]).unwrap();
    let server = Server::with(u64::MAX / 2, |config| config.tls = Some(door.clone()));
    let port = server.address.port().to_string();
    // Without -l it gives up at once; with it, it tries again for ever.
    let publish = |ca: &Path, what: &[&str]| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "t", "--cafile"]).arg(ca).args(what);
        command
    };
    let old = directory.path().join("old.pem");
    std::fs::copy(&tls.cert, &old).unwrap();
    let mut open = publish(&old, &["-l"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = open.stdin.take().unwrap();
    writeln!(lines, "before").unwrap();
    assert_eq!(server.payloads(1), ["before"]);

    std::fs::write(&tls.cert, "no certificate").unwrap();
    door.look();
    assert!(run(&mut publish(&old, &["-m", "broken"]), "").status.success(), "a broken file changes nothing");
    renew(&tls);
    // Nobody looks on purpose: it is noticed by itself.
    let noticed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        run(&mut publish(&tls.cert, &["-m", "renewed"]), "").status.success()
    });
    assert!(noticed, "the new certificate is not shown");
    assert!(!run(&mut publish(&old, &["-m", "old"]), "").status.success(), "the old one still is");
    writeln!(lines, "after").unwrap();
    drop(lines);
    assert!(open.wait().unwrap().success());
    assert_eq!(server.payloads(4), ["before", "broken", "renewed", "after"]);
}

#[test]
fn a_handshake_is_charged_from_its_first_byte_and_is_not_waited_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let tls = files(directory.path());
    let server = Server::with(u64::MAX / 2, |config| {
        config.tls = Some(Door::open(&tls, &[]).unwrap());
        config.connect_timeout = Duration::from_millis(300);
    });
    let mut silent = Client::open(server.address);
    wait_until("the charge", || server.reserved() >= CONNECTION_BYTES);
    silent.send(b"\x16\x03\x01\x02\x00\x01");
    // Ends only because the server closes the connection.
    silent.rest();
    wait_until("the memory", || server.reserved() == 0);
}

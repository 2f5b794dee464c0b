//! What one TLS connection makes the agent hold, against what is charged for it.
//!
//! A binary of its own, since it counts with a global allocator. The server runs on this thread, whose allocations are
//! counted; the client runs on another.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "helpers of tests fail by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pyralog_agent::tls::door::{CONNECTION_BYTES, Door, Stream};
use pyralog_service::tls::Pair;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A door with a certificate of its own, and that certificate.
fn door(folder: &std::path::Path) -> (Door, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Pair { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&tls.cert, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    (Door::open(&tls, &[]).unwrap(), made.cert.der().clone())
}

/// The most bytes that `serve` held at one time beyond those at its beginning, while `client` ran on another thread.
fn peak<F: Future<Output = ()>>(
    door: &Door,
    serve: impl Fn(std::io::Result<Stream>) -> F,
    client: impl FnOnce(SocketAddr) + Send + 'static,
) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || client(address));
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            let (stream, _) = listener.accept().await.unwrap();
            let limit = Duration::from_secs(60);
            tokio::time::timeout(limit, async { serve(door.shake(stream).await).await }).await.unwrap();
        });
    });
    client.join().unwrap();
    counted.bytes_max
}

fn connect(
    address: SocketAddr,
    trusted: CertificateDer<'static>,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

/// Reads nothing until it is told to, then all.
fn read_late(stream: &mut impl Read, go: &Receiver<()>) {
    go.recv().unwrap();
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

#[test]
fn a_connection_holds_no_more_than_is_charged_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (door, trusted) = door(folder.path());
    let (go, gone) = channel();
    let ready = std::sync::Mutex::new(Some(go));
    // Records of the largest size come in, and answers pile up for a peer that does not read.
    let serve = |shaken: std::io::Result<Stream>| {
        let go = ready.lock().unwrap().take();
        async move {
            let mut stream = shaken.unwrap();
            let (mut seen, mut input, answer) = (0, vec![0; 512], vec![7; 1 << 20]);
            while seen < 256 << 10 {
                seen += stream.read(&mut input).await.unwrap();
            }
            let written = tokio::time::timeout(Duration::from_millis(300), stream.write_all(&answer)).await;
            go.unwrap().send(()).unwrap();
            if written.is_err() {
                let _ = stream.shutdown().await;
            }
        }
    };
    let own = 512 + (1 << 20);
    let peak = peak(&door, serve, move |address| {
        let mut stream = connect(address, trusted);
        stream.write_all(&vec![1; 256 << 10]).unwrap();
        stream.flush().unwrap();
        read_late(&mut stream, &gone);
    });
    let held = peak.saturating_sub(own);
    println!("a busy TLS connection: {held} bytes at most");
    assert!(held <= CONNECTION_BYTES, "{held} bytes");
    assert!(held >= CONNECTION_BYTES / 4, "{held} bytes: far less than is charged");
}

#[test]
fn a_record_of_the_largest_size_may_come_with_the_end_of_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let (door, trusted) = door(folder.path());
    let take_all = |shaken: std::io::Result<Stream>| async move {
        let mut input = vec![0; 16 << 10];
        shaken.unwrap().read_exact(&mut input).await.unwrap();
        assert!(input.iter().all(|byte| *byte == 1));
    };
    let peak = peak(&door, take_all, move |address| {
        let mut stream = connect(address, trusted);
        stream.conn.write_tls(&mut stream.sock).unwrap();
        while stream.conn.is_handshaking() {
            stream.conn.read_tls(&mut stream.sock).unwrap();
            stream.conn.process_new_packets().unwrap();
        }
        // As over a slow network, or to a busy agent: all of it is there at once.
        stream.conn.writer().write_all(&vec![1; 16 << 10]).unwrap();
        let mut last = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut last).unwrap();
        }
        stream.sock.write_all(&last).unwrap();
        let _ = stream.sock.read(&mut [0; 64]);
    });
    let held = peak.saturating_sub(16 << 10);
    assert!(held <= CONNECTION_BYTES, "{held} bytes");
}

#[test]
fn a_handshake_that_goes_on_and_on_is_cut_off_before_it_holds_more_than_is_charged() {
    let folder = tempfile::tempdir().unwrap();
    let (door, _) = door(folder.path());
    let refused = |shaken: std::io::Result<Stream>| async move {
        let error = shaken.map(drop).unwrap_err().to_string();
        assert!(error.contains("before the TLS handshake"), "{error}");
    };
    // A ClientHello that announces 60,000 bytes, in records of 4,000.
    let peak = peak(&door, refused, |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut body = vec![1, 0, 0xea, 0x60, 3, 3];
        body.resize(60_004, 0);
        for part in body.chunks(4_000) {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            let record = [&[22, 3, 1][..], &length, part].concat();
            if stream.write_all(&record).is_err() {
                break;
            }
        }
        let _ = stream.read(&mut [0; 64]);
    });
    println!("an endless TLS handshake: {peak} bytes at most");
    assert!(peak <= CONNECTION_BYTES, "{peak} bytes");
}

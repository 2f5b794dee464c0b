//! What somebody without credentials can make the hub do: little, and not for long.

use std::time::Duration;

use pyralog_hub::auth::tokens::{Scope, create};
use pyralog_hub::config::Config;
use pyralog_hub::run::{Running, start};
use pyralog_hub::store::StoreUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::device::config;
use crate::pki::Authority;

/// A hub with a token that nobody here knows.
async fn guarded(folder: &std::path::Path, change: impl FnOnce(&mut Config)) -> Running {
    let tokens = folder.join("tokens");
    create(&tokens, "board-17", Scope::Sync).unwrap();
    let store = StoreUrl::Directory(folder.join("store"));
    let mut config = Config { tokens: Some(tokens), store, ..config() };
    change(&mut config);
    start(&config).await.unwrap()
}

/// Sends bytes as they are and gives all that comes back until the hub closes the connection.
async fn raw(hub: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(hub.address()).await.unwrap();
    // The hub may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(60), read).await.expect("the hub does not close the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_stranger_is_refused_before_a_byte_of_the_body_is_read_or_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let hub = guarded(folder.path(), |config| config.limits.max_in_flight = 1).await;
    let head = "POST /v1/sync/board-17/batch HTTP/1.1\r\nhost: hub\r\ncontent-encoding: zstd\r\n\
                content-length: 1000000\r\n\r\n";
    // More of them than the hub takes batches at once: they hold no place among those.
    for _ in 0..3 {
        let answer = raw(&hub, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_or_has_too_many_lines_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = guarded(folder.path(), |_| ()).await;
    let large = format!("GET / HTTP/1.1\r\nhost: hub\r\nx: {}\r\n\r\n", "y".repeat(100 << 10));
    assert!(raw(&hub, large.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many: String = (0..100).map(|n| format!("x{n}: y\r\n")).collect();
    assert!(raw(&hub, format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).await.starts_with("HTTP/1.1 431"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let two = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let large = two.get(format!("{}/healthz", hub.url())).header("x", "y".repeat(40 << 10)).send().await;
    assert!(
        large.is_err() || large.is_ok_and(|answer| answer.status() == 431),
        "more than the list of headers may have"
    );
    let good = two.get(format!("{}/healthz", hub.url())).send().await.unwrap();
    assert_eq!((good.status().as_u16(), good.version()), (200, reqwest::Version::HTTP_2));
}

#[tokio::test]
async fn whoever_says_nothing_or_half_of_it_is_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let own = authority.sign("hub", &["127.0.0.1"]);
    let plain = guarded(folder.path(), |_| ()).await;
    let secure = guarded(folder.path(), |config| {
        (config.tls.cert, config.tls.key) = (Some(own.cert), Some(own.key));
    });
    let secure = secure.await;
    // Each returns only because the hub closes the connection.
    tokio::join!(
        raw(&plain, b""),
        raw(&plain, b"GET /healthz HTTP/1.1\r\nhost: h"),
        raw(&plain, b"PRI * HTTP/2.0\r\n"),
        raw(&secure, b""),
        raw(&secure, b"\x16\x03\x01\x02\x00\x01"),
    );
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_though_it_answers_pings() {
    let folder = tempfile::tempdir().unwrap();
    let hub = guarded(folder.path(), |config| config.limits.idle_timeout = Duration::from_millis(200)).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let mut stream = TcpStream::connect(hub.address()).await.unwrap();
    stream.write_all(preface).await.unwrap();
    let told_to_go = async {
        let (mut head, mut settings) = ([0; 9], Vec::new());
        loop {
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            stream.read_exact(&mut payload).await.unwrap();
            match head[3] {
                // SETTINGS, which say how much a client may begin at a time. An empty one acknowledges ours.
                4 if !payload.is_empty() => settings = payload,
                // GOAWAY.
                7 => return settings,
                _ => {}
            }
        }
    };
    let settings = tokio::time::timeout(Duration::from_secs(60), told_to_go).await.expect("no GOAWAY");
    for (what, setting) in [("streams", [0, 3, 0, 0, 0, 64]), ("headers", [0, 6, 0, 0, 0x80, 0])] {
        assert!(settings.chunks(6).any(|told| told == setting), "{what}: {settings:?}");
    }
}

#[tokio::test]
async fn open_connections_are_counted_and_further_ones_wait() {
    let folder = tempfile::tempdir().unwrap();
    let hub = guarded(folder.path(), |config| config.limits.max_connections = 2).await;
    let idle = [TcpStream::connect(hub.address()).await.unwrap(), TcpStream::connect(hub.address()).await.unwrap()];
    let url = format!("{}/healthz", hub.url());
    let third = tokio::spawn(async move { crate::device::client().get(url).send().await.unwrap().status() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!third.is_finished(), "there is no third place");
    drop(idle);
    assert_eq!(third.await.unwrap(), 200);
}

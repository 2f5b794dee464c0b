//! Clients that mean harm, or that are merely broken.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use reqwest::StatusCode;

use crate::agent::{Agent, answer};

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_or_never_begins_is_given_up() {
    let agent = Agent::start(&[("http.header_timeout", "200ms")]).await;
    // Returns only because the agent closes the connection.
    agent.raw(b"GET /v1/status HTTP/1.1\r\nhost: a\r\nx-slow: ".to_vec()).await;
    agent.raw(Vec::new()).await;
    assert!(agent.get("/healthz").await.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_pauses_is_given_up_and_what_came_is_kept() {
    let agent = Agent::start(&[("http.body_timeout", "200ms")]).await;
    let answer = agent.raw(b"POST /write HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\nm f=1\n".to_vec()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("http.body_timeout"), "{answer}");
    assert_eq!(agent.records("m").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enormous_head_is_refused() {
    let agent = Agent::start(&[]).await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(agent.raw(head.into_bytes()).await.starts_with("HTTP/1.1 431"));
    let many: String = (0..500).map(|n| format!("x{n}: y\r\n")).collect();
    assert!(agent.raw(format!("GET / HTTP/1.1\r\n{many}\r\n").into_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(agent.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec()).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_stopped_at_the_limit_of_the_unpacked_body() {
    let agent = Agent::start(&[("storage.max_memory", "16MiB")]).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b'x'; 64 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let request = agent.client.post(agent.at("/write")).header("content-encoding", "gzip").body(bomb);
    let (status, body) = answer(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert!(agent.app.ring().budget().used() <= 16 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_and_are_served_when_others_go() {
    let agent = Agent::start(&[("http.max_connections", "2"), ("http.header_timeout", "60s")]).await;
    let address = agent.app.endpoints().http;
    let idle: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    let waiting = agent.get("/healthz");
    let free = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(idle);
    };
    let (answer, ()) = tokio::join!(waiting, free);
    assert!(answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_is_served_while_one_holds_every_connection_and_sends_its_heads_by_the_byte() {
    let agent = Agent::start(&[("http.max_connections", "4"), ("http.header_timeout", "60s")]).await;
    let address = agent.app.endpoints().http;
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut slow = TcpStream::connect(address).unwrap();
            slow.write_all(b"POST /write HTTP/1.1\r\nhost: a\r\nx-slow: ").unwrap();
            slow
        })
        .collect();
    let other = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from([127, 0, 0, 2]));
    let answer = other.build().unwrap().get(agent.at("/healthz")).send().await.unwrap();
    assert!(answer.status().is_success());
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_writes_are_taken_while_large_bodies_hold_all_that_they_may() {
    let agent = Agent::start(&[("storage.max_memory", "4MiB")]).await;
    let address = agent.app.endpoints().http;
    let large: Vec<_> = (0..4)
        .map(|_| {
            let mut large = TcpStream::connect(address).unwrap();
            large.write_all(b"POST /v1/logs/m/records HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n[").unwrap();
            large
        })
        .collect();
    for n in 0..20 {
        agent.write(&format!("m f={n} {n}\n")).await;
    }
    assert_eq!(agent.records("m").await.len(), 20);
    drop(large);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_fit_is_too_large_and_what_fits_later_is_to_be_sent_again() {
    let agent = Agent::start(&[("storage.max_memory", "4MiB")]).await;
    let body = zstd::encode_all(&b"m f=1\n"[..], 3).unwrap();
    let request = agent.client.post(agent.at("/write")).header("content-encoding", "zstd").body(body);
    let (status, body) = answer(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert!(body.to_string().contains("storage.max_memory"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_holds_little_and_is_given_up() {
    let agent = Agent::start(&[("storage.max_memory", "8MiB"), ("http.body_timeout", "300ms")]).await;
    let lines: String = (0..20_000).map(|n| format!("m a=\"{}\" {n}\n", "x".repeat(200))).collect();
    for part in lines.as_bytes().chunks(1_000_000) {
        // Cut anywhere: a bad line at each cut is of no interest here.
        agent.client.post(agent.at("/write")).body(part.to_vec()).send().await.unwrap();
    }
    let mut deaf = TcpStream::connect(agent.app.endpoints().http).unwrap();
    deaf.write_all(b"GET /v1/logs/m/records HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let status = agent.app.ring().status();
        assert!(status.guest_bytes < 3 << 20, "{} bytes are held", status.guest_bytes);
        let metrics = agent.text("/metrics").await;
        if metrics.contains("pyralog_http_connections 1.0\n") || metrics.contains("pyralog_http_connections 1\n") {
            return;
        }
    }
    panic!("the connection was never closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_come_together_under_a_small_cap_wait_for_one_another() {
    let agent = Agent::start(&[("storage.max_memory", "4MiB")]).await;
    let lines: String = (0..200).map(|n| format!("m a={n} {n}\n")).collect();
    let writes = (0..16).map(|_| agent.write(&lines));
    for (status, body) in futures_util::future::join_all(writes).await {
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }
    assert_eq!(agent.json("/v1/status").await["logs"]["m"]["accepted"], 3200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_in_good_order_while_clients_hang_on() {
    let agent = Agent::start(&[("shutdown_grace", "2s")]).await;
    agent.write("m f=1\n").await;
    let _idle = TcpStream::connect(agent.app.endpoints().http).unwrap();
    let ring = agent.app.ring().clone();
    let stopped = tokio::time::timeout(Duration::from_secs(60), agent.app.stop()).await;
    assert!(stopped.is_ok(), "the stop hangs");
    assert_eq!(ring.status().open_bytes, 0, "what was open is sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_rests_gives_its_place_to_the_next_after_an_answer() {
    let agent = Agent::start(&[("http.max_connections", "1"), ("http.header_timeout", "60s")]).await;
    assert!(agent.get("/healthz").await.status().is_success());
    let (client, url) = (agent.client.clone(), agent.at("/healthz"));
    let busy = tokio::spawn(async move {
        for _ in 0..3_000 {
            // Never silent for long enough to be sent away for it, and never refused either.
            assert!(client.get(&url).send().await.unwrap().status().is_success());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let other = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(25)).build().unwrap();
    assert!(other.get(agent.at("/healthz")).send().await.unwrap().status().is_success());
    assert!(!busy.is_finished());
    busy.abort();
}

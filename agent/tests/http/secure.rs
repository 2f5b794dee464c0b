//! Tokens and TLS.

use std::process::Command;
use std::time::Duration;

use pyralog_agent::tls::door::CONNECTION_BYTES;
use reqwest::StatusCode;

use crate::agent::{Agent, answer};

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_nothing_is_read_or_written_without_one() {
    let agent = Agent::start(&[("http.tokens", "[\"s3cret\"]")]).await;
    for path in ["/v1/status", "/v1/logs", "/v1/logs/a/records", "/metrics"] {
        let response = agent.get(path).await;
        assert!(response.headers().contains_key("www-authenticate"), "{path}");
        let (status, body) = answer(response).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(body["error"].as_str().unwrap().contains("http.token"), "{body}");
    }
    let (status, body) = agent.post("/api/v2/write", "text/plain", "m f=1").await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("unauthorized")));
    for path in ["/", "/ping", "/health", "/healthz", "/readyz"] {
        assert!(agent.get(path).await.status().is_success(), "{path}");
    }
    let post = || agent.client.post(agent.at("/write?db=x")).body("m f=1 1");
    for request in [
        post().bearer_auth("s3cret"),
        post().header("authorization", "Token s3cret"),
        post().basic_auth("anyone", Some("s3cret")),
        agent.client.post(agent.at("/write?db=x&u=a&p=s3cret")).body("m f=1 1"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(post().bearer_auth("s3cres").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let status = agent.client.get(agent.at("/v1/status")).bearer_auth("s3cret").send().await.unwrap();
    assert_eq!(answer(status).await.1["logs"]["m"]["accepted"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_the_door_speaks_https() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let (cert, key) = (format!("{data}/cert.pem"), format!("{data}/key.pem"));
    let agent = Agent::start(&[("http.tls_cert", &cert), ("http.tls_key", &key)]).await;
    let trusted = reqwest::Certificate::from_pem(&std::fs::read(&cert).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let url = format!("https://localhost:{}", agent.app.endpoints().http.port());
    let written = client.post(format!("{url}/write")).body("climate temp=1").send().await.unwrap();
    assert_eq!(written.status(), StatusCode::NO_CONTENT);
    let read = client.get(format!("{url}/v1/logs/climate/records")).send().await.unwrap();
    assert_eq!(read.text().await.unwrap().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_agents_tls_port_is_told_where_to_go() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let (cert, key) = (format!("{data}/cert.pem"), format!("{data}/key.pem"));
    let agent = Agent::start(&[("http.tls_cert", &cert), ("http.tls_key", &key)]).await;
    let lines = "m f=1\n".repeat(5_000);
    for body in [None, Some(lines)] {
        let url = agent.at("/write");
        let curl = tokio::task::spawn_blocking(move || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "30", "--write-out", " %{http_code}", &url]);
            curl.args(body.iter().flat_map(|body| ["--data-binary", body])).output().unwrap()
        });
        let said = curl.await.unwrap();
        let [said, complaint] = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(said.contains("https://") && said.ends_with(" 400"), "{said} {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_open_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        made.cert.pem()
    };
    let trusting = |pem: &str| {
        let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap()
    };
    let old = renew();
    let files = [("http.tls_cert", cert.to_str().unwrap()), ("http.tls_key", key.to_str().unwrap())];
    let agent = Agent::start(&files).await;
    let url = format!("https://localhost:{}/healthz", agent.app.endpoints().http.port());
    let keeping = trusting(&old);
    assert!(keeping.get(&url).send().await.unwrap().status().is_success());

    std::fs::write(&key, "no key").unwrap();
    agent.app.look_at_files();
    assert!(trusting(&old).get(&url).send().await.is_ok(), "a broken file changes nothing");
    let new = renew();
    agent.app.look_at_files();
    assert!(trusting(&new).get(&url).send().await.unwrap().status().is_success());
    assert!(trusting(&old).get(&url).send().await.is_err(), "the old one is still shown");
    assert!(keeping.get(&url).send().await.is_ok(), "the connection from before goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_before_a_byte_of_the_body_is_read_or_unpacked() {
    let agent = Agent::start(&[("http.tokens", "[\"s3cret\"]"), ("http.header_timeout", "60s")]).await;
    for head in ["content-length: 8000000\r\n", "content-length: 8000000\r\ncontent-encoding: gzip\r\n"] {
        for path in ["/write", "/api/v2/write", "/v1/logs/climate/records"] {
            let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}\r\n");
            // The answer comes, and the connection ends, though the body never does.
            let answer = agent.raw(request.into_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
        }
    }
    assert_eq!(agent.app.ring().status().totals.accepted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_charged_from_its_first_byte_and_is_not_waited_for_long() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let (cert, key) = (format!("{data}/cert.pem"), format!("{data}/key.pem"));
    let files = [("http.tls_cert", cert.as_str()), ("http.tls_key", &key), ("http.header_timeout", "300ms")];
    let agent = Agent::start(&files).await;
    let before = agent.app.ring().budget().used();
    let ring = agent.app.ring().clone();
    let charged = tokio::spawn(async move {
        for _ in 0..600 {
            if ring.budget().used() >= before + CONNECTION_BYTES {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    });
    // Returns only because the agent closes the connection.
    agent.raw(b"\x16\x03\x01\x02\x00\x01".to_vec()).await;
    assert!(charged.await.unwrap(), "nothing was charged for the handshake");
}

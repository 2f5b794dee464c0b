//! TLS at the door, who may come in by which certificate, and what happens when the files change.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_hub::auth::tokens::{Scope, create};
use pyralog_hub::config::{Config, TlsConfig};
use pyralog_hub::run::{Running, StartError, start};
use pyralog_hub::store::StoreUrl;
use pyralog_hub::tls::ClientAuth;
use reqwest::{Certificate, Client, ClientBuilder, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::device::config;
use crate::pki::{Authority, Pair};

struct Plant {
    folder: tempfile::TempDir,
    authority: Authority,
    hub: Pair,
}

impl Plant {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let hub = authority.sign("hub", &["127.0.0.1", "localhost"]);
        Self { folder, authority, hub }
    }

    fn config(&self, client_ca: Option<&Path>, client_auth: Option<ClientAuth>, tokens: Option<PathBuf>) -> Config {
        let (cert, key) = (Some(self.hub.cert.clone()), Some(self.hub.key.clone()));
        let tls =
            TlsConfig { cert, key, client_ca: client_ca.map(Path::to_owned), client_auth, ..TlsConfig::default() };
        let store = StoreUrl::Directory(self.folder.path().join("store"));
        Config { tls, store, tokens, ..config() }
    }

    /// A client that trusts the authority, with the certificate of `pair`.
    fn client(&self, pair: Option<&Pair>) -> Client {
        let builder = trusting(&self.authority.file);
        pair.into_iter().fold(builder, |builder, pair| builder.identity(pair.identity())).build().unwrap()
    }
}

fn trusting(authority: &Path) -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
    // A connection for each request: none may live on what an earlier handshake found.
    Client::builder().tls_certs_only([trusted]).pool_max_idle_per_host(0)
}

async fn status(client: &Client, url: &str, token: Option<&str>) -> (u16, String) {
    let request = if url.contains("/v1/sync/") { client.post(url).body("PYR1") } else { client.get(url) };
    let response = token.into_iter().fold(request, |r, token| r.bearer_auth(token)).send().await.unwrap();
    (response.status().as_u16(), String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned())
}

/// The first certificate that the hub shows, whoever signed it.
async fn shown(hub: &Running) -> Vec<u8> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().tls_danger_accept_invalid_certs(true).tls_info(true).build().unwrap();
    let response = client.get(format!("{}/healthz", hub.url())).send().await.unwrap();
    response.extensions().get::<reqwest::tls::TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn with_a_certificate_the_hub_speaks_https_in_both_versions_of_http() {
    let plant = Plant::new();
    let hub = start(&plant.config(None, None, None)).await.unwrap();
    assert!(hub.url().starts_with("https://"), "{}", hub.url());
    let two = plant.client(None).get(format!("{}/healthz", hub.url())).send().await.unwrap();
    assert_eq!((two.status().as_u16(), two.version()), (200, Version::HTTP_2));
    let old = trusting(&plant.authority.file).http1_only().build().unwrap();
    let one = old.get(format!("{}/healthz", hub.url())).send().await.unwrap();
    assert_eq!((one.status().as_u16(), one.version()), (200, Version::HTTP_11));
    let other = Authority::new(plant.folder.path(), "other");
    let error = trusting(&other.file).build().unwrap().get(hub.url()).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert!(hub.stop().await);
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_where_to_go() {
    let plant = Plant::new();
    let hub = start(&plant.config(None, None, None)).await.unwrap();
    let said = reqwest::get(format!("http://{}/v1/agents", hub.address())).await.unwrap();
    assert_eq!(said.status(), 400);
    let said = said.text().await.unwrap();
    assert!(said.contains("https://"), "{said}");
    // A body is not read to its end, and does not take the answer away.
    let big = Client::new().post(format!("http://{}/v1/sync/a/batch", hub.address())).body(vec![0; 30_000]);
    assert_eq!(big.send().await.unwrap().status(), 400);
    for nonsense in [&b"\x00\x01\x02"[..], b"hello", b"\x16\x03\x01\x00\x05nope!"] {
        let mut stream = TcpStream::connect(hub.address()).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut answer = Vec::new();
        // Reset or closed, with at most a TLS alert.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 16, "{answer:?}");
    }
    assert_eq!(status(&plant.client(None), &format!("{}/healthz", hub.url()), None).await.0, 200);
}

#[tokio::test]
async fn handshakes_that_do_not_go_on_hold_places_and_no_stop() {
    let plant = Plant::new();
    let mut config = plant.config(None, None, None);
    config.limits.max_connections = 2;
    let hub = start(&config).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(hub.address()).await.unwrap();
        stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        silent.push(stream);
    }
    let client = plant.client(None);
    let url = format!("{}/healthz", hub.url());
    let third = tokio::spawn(async move { client.get(url).send().await.unwrap().status() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!third.is_finished(), "there is no third place");
    silent.pop();
    assert_eq!(third.await.unwrap(), 200);
    assert!(tokio::time::timeout(Duration::from_secs(60), hub.stop()).await.unwrap(), "the other one was in the way");
}

#[tokio::test]
async fn a_certificate_opens_the_agents_that_it_names_and_no_others() {
    let plant = Plant::new();
    let ca = plant.authority.file.clone();
    let hub = start(&plant.config(Some(&ca), None, None)).await.unwrap();
    let device = plant.client(Some(&plant.authority.sign("device", &["board-17", "press_4", "*.plant"])));
    for (path, expected) in [
        ("/v1/sync/board-17/hello", 409),
        ("/v1/sync/press_4/batch", 409),
        ("/v1/sync/board-18/hello", 403),
        ("/v1/sync/Board-17/hello", 403),
        ("/v1/sync/a.plant/hello", 403),
        ("/v1/sync/17/hello", 403),
        ("/v1/agents/board-17", 404),
        ("/v1/agents/board-18", 403),
        ("/v1/agents/board-18/logs/climate/records", 403),
        ("/v1/agents", 403),
        ("/metrics", 403),
        ("/healthz", 200),
    ] {
        let (status, said) = status(&device, &format!("{}{path}", hub.url()), None).await;
        assert_eq!(status, expected, "{path}: {said}");
    }
    let (_, said) = status(&device, &format!("{}/v1/sync/board-18/hello", hub.url()), None).await;
    assert!(said.contains("\\\"board-17\\\", \\\"press_4\\\"") && said.contains("board-18"), "{said}");
    let (_, said) = status(&device, &format!("{}/v1/sync/17/hello", hub.url()), None).await;
    assert!(said.contains("no DNS name"), "{said}");
}

#[tokio::test]
async fn nobody_comes_in_with_no_certificate_or_one_of_another_authority() {
    let plant = Plant::new();
    let hub = start(&plant.config(Some(&plant.authority.file), None, None)).await.unwrap();
    let url = format!("{}/healthz", hub.url());
    plant.client(None).get(&url).send().await.unwrap_err();
    let other = Authority::new(plant.folder.path(), "other");
    let forged = plant.client(Some(&other.sign("forged", &["board-17"])));
    forged.get(&url).send().await.unwrap_err();
}

#[tokio::test]
async fn where_certificates_are_optional_a_token_stands_for_one_that_is_not_shown() {
    let plant = Plant::new();
    let tokens = plant.folder.path().join("tokens");
    let any = create(&tokens, "*", Scope::Sync).unwrap();
    let reader = create(&tokens, "*", Scope::Read).unwrap();
    let ca = plant.authority.file.clone();
    let hub = start(&plant.config(Some(&ca), Some(ClientAuth::Optional), Some(tokens))).await.unwrap();
    let device = plant.client(Some(&plant.authority.sign("device", &["board-17"])));
    let nobody = plant.client(None);
    for (client, path, token, expected) in [
        (&nobody, "/v1/sync/board-17/hello", Some(&any), 409),
        (&nobody, "/v1/sync/board-17/hello", None, 401),
        (&nobody, "/v1/agents", Some(&reader), 200),
        (&device, "/v1/sync/board-17/hello", Some(&any), 409),
        (&device, "/v1/sync/board-17/hello", None, 401),
        (&device, "/v1/sync/board-18/hello", Some(&any), 403),
        (&device, "/v1/agents/board-17", None, 401),
        (&device, "/v1/agents", Some(&reader), 200),
    ] {
        let (status, said) = status(client, &format!("{}{path}", hub.url()), token.map(String::as_str)).await;
        assert_eq!(status, expected, "{path} {token:?}: {said}");
    }
    let alone = start(&plant.config(Some(&ca), Some(ClientAuth::Optional), None)).await.unwrap();
    for (path, expected) in [("/healthz", 200), ("/v1/sync/board-17/hello", 403), ("/v1/agents/board-17", 403)] {
        let (status, said) = status(&nobody, &format!("{}{path}", alone.url()), None).await;
        assert_eq!(status, expected, "{path}: {said}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_open_connections_go_on() {
    let plant = Plant::new();
    let hub = start(&plant.config(None, None, None)).await.unwrap();
    let before = shown(&hub).await;
    let keeping = trusting(&plant.authority.file).pool_max_idle_per_host(1).tls_info(true).build().unwrap();
    let url = format!("{}/healthz", hub.url());
    assert_eq!(keeping.get(&url).send().await.unwrap().status(), 200);

    std::fs::write(&plant.hub.cert, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    hub.look_at_files();
    assert_eq!(shown(&hub).await, before, "a broken file changes nothing");
    plant.authority.sign("hub", &["127.0.0.1"]);
    let after = until("the new certificate", async || {
        let now = shown(&hub).await;
        (now != before).then_some(now)
    });
    let after = after.await;
    let old = keeping.get(&url).send().await.unwrap();
    let info = old.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
    assert_eq!(info.peer_certificate().unwrap(), before, "the connection from before is still open");
    assert_eq!(shown(&hub).await, after);
}

#[tokio::test]
async fn new_authorities_of_clients_count_for_the_next_connection() {
    let plant = Plant::new();
    let ca = plant.folder.path().join("clients.pem");
    std::fs::copy(&plant.authority.file, &ca).unwrap();
    let hub = start(&plant.config(Some(&ca), None, None)).await.unwrap();
    let next = Authority::new(plant.folder.path(), "next");
    let (old, new) = (plant.authority.sign("old", &["board-17"]), next.sign("new", &["board-17"]));
    let (old, new) = (plant.client(Some(&old)), plant.client(Some(&new)));
    let url = format!("{}/v1/agents/board-17", hub.url());
    assert_eq!(status(&old, &url, None).await.0, 404);
    new.get(&url).send().await.unwrap_err();
    std::fs::copy(&next.file, &ca).unwrap();
    hub.look_at_files();
    assert_eq!(status(&new, &url, None).await.0, 404);
    old.get(&url).send().await.unwrap_err();
}

#[tokio::test]
async fn a_revoked_certificate_opens_nothing_from_the_next_connection_on() {
    let plant = Plant::new();
    let (stolen, other) = (plant.authority.sign("stolen", &["board-17"]), plant.authority.sign("other", &["board-18"]));
    let mut config = plant.config(Some(&plant.authority.file), None, None);
    config.tls.client_crl = Some(plant.authority.revoke(&[]));
    config.tls.max_connection_age = Duration::from_secs(1);
    let hub = start(&config).await.unwrap();
    let url = format!("{}/v1/agents/board-17", hub.url());
    let builder = trusting(&plant.authority.file).pool_max_idle_per_host(1).identity(stolen.identity());
    let keeping = builder.build().unwrap();
    assert_eq!(status(&keeping, &url, None).await.0, 404);
    plant.authority.revoke(&["stolen"]);
    hub.look_at_files();
    plant.client(Some(&stolen)).get(&url).send().await.unwrap_err();
    assert_eq!(status(&plant.client(Some(&other)), &url, None).await.0, 403, "the other is somebody still");
    // The connection from before goes on, but not for ever, though it is never idle.
    until("the end of the connection", async || keeping.get(&url).send().await.is_err().then_some(())).await;
}

#[tokio::test]
async fn files_that_are_no_good_are_named_at_the_start() {
    let plant = Plant::new();
    let good = plant.config(Some(&plant.authority.file), None, None);
    let other = plant.authority.sign("other", &["a"]);
    let empty = plant.folder.path().join("empty");
    std::fs::File::create(&empty).unwrap().write_all(b"nothing").unwrap();
    let changed = |change: fn(&mut TlsConfig, PathBuf), file: &Path| {
        let mut config = good.clone();
        change(&mut config.tls, file.to_owned());
        config
    };
    for (config, words) in [
        (changed(|tls, file| tls.cert = Some(file), Path::new("/no/such/cert")), "tls.cert: /no/such/cert"),
        (changed(|tls, file| tls.cert = Some(file), &empty), "it holds no certificate"),
        (changed(|tls, file| tls.key = Some(file), &empty), "tls.key"),
        (changed(|tls, file| tls.key = Some(file), &other.key), "do not go together"),
        (changed(|tls, file| tls.client_ca = Some(file), &empty), "tls.client_ca"),
        (changed(|tls, file| tls.client_crl = Some(file), &empty), "it holds no revocation list"),
    ] {
        let error = start(&config).await.unwrap_err();
        assert!(matches!(error, StartError::Tls(_)) && error.to_string().contains(words), "{words}: {error}");
    }
}

/// Asks again and again, for half a minute at most.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..300 {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within half a minute");
}

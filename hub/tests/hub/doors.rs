//! Who comes in, and how much they may carry.

use pyralog_hub::auth::Auth;
use pyralog_hub::auth::tokens::{Scope, create};
use pyralog_hub::config::Config;
use pyralog_hub::run::{Running, start};
use pyralog_hub::store::StoreUrl;
use pyralog_sync_protocol::frame::{RefusalKind, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::device::{Device, client, config, get, hub};

struct Guarded {
    tokens: std::path::PathBuf,
    hub: Running,
    agent: String,
    reader: String,
    one_reader: String,
    _folder: tempfile::TempDir,
}

async fn guarded() -> Guarded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let agent = create(&file, "board-17", Scope::Sync).unwrap();
    let reader = create(&file, "*", Scope::Read).unwrap();
    let one_reader = create(&file, "board-17", Scope::Read).unwrap();
    let store = StoreUrl::Directory(folder.path().join("store"));
    let hub = start(&Config { tokens: Some(file.clone()), store, ..config() }).await.unwrap();
    Guarded { tokens: file, hub, agent, reader, one_reader, _folder: folder }
}

async fn status(url: &str, token: Option<&str>, post: bool) -> (u16, String) {
    let request = if post { client().post(url).body("PYR1") } else { client().get(url) };
    let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned())
}

#[tokio::test]
async fn each_token_opens_its_own_door_alone() {
    let guarded = guarded().await;
    let url = guarded.hub.url();
    let (agent, reader, one) = (Some(&*guarded.agent), Some(&*guarded.reader), Some(&*guarded.one_reader));
    let cases = [
        ("/v1/sync/board-17/hello", true, agent, 409),
        ("/v1/sync/board-17/hello", true, None, 401),
        ("/v1/sync/board-17/hello", true, reader, 401),
        ("/v1/sync/board-17/hello", true, Some("guess"), 401),
        ("/v1/sync/board-18/batch", true, agent, 401),
        ("/v1/agents", false, reader, 200),
        ("/v1/agents", false, agent, 401),
        ("/v1/agents", false, one, 401),
        ("/v1/agents/board-17", false, one, 404),
        ("/v1/agents/board-18", false, one, 401),
        ("/v1/agents/board-18/logs/x/records", false, one, 401),
        ("/metrics", false, reader, 200),
        ("/metrics", false, None, 401),
        ("/healthz", false, None, 200),
        ("/readyz", false, None, 200),
        ("/", false, None, 200),
    ];
    for (path, post, token, expected) in cases {
        let (status, body) = status(&format!("{url}{path}"), token, post).await;
        assert_eq!(status, expected, "{path} {token:?}: {body}");
        if status == 401 {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert!(body["error"].as_str().unwrap().contains("pyralog-hub token"), "{body}");
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.limits.max_batch = 64 << 10;
    config.store = StoreUrl::Directory(folder.path().into());
    let hub = start(&config).await.unwrap();
    let device = Device::new("board-17", "climate", 1);
    // Only the head is sent, and the answer comes at once.
    let mut stream = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    let head = "POST /v1/sync/board-17/batch HTTP/1.1\r\nhost: hub\r\ncontent-length: 999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    // Without an announced length it is cut off at the limit; compressed, where it would grow beyond it.
    let (code, reply) = device.post(&hub.url(), "batch", vec![0; 80 << 10]).await;
    let too_large =
        |reply: &Reply| matches!(reply, Reply::Refusal(r) if r.kind == RefusalKind::TooLarge { limit: 64 << 10 });
    assert!(code == 413 && too_large(&reply), "{code} {reply:?}");
    let bomb = zstd::encode_all(&*vec![0; 10 << 20], 1).unwrap();
    let request = client().post(format!("{}/v1/sync/board-17/batch", hub.url())).header("content-encoding", "zstd");
    let response = request.body(bomb).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(too_large(&Reply::decode(&response.bytes().await.unwrap()).unwrap()));
}

#[tokio::test]
async fn a_compressed_batch_is_taken_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let pieces = [device.segment(10)];
    let body = zstd::encode_all(&*device.batch(&pieces), 1).unwrap();
    let request = client().post(format!("{}/v1/sync/board-17/batch", hub.url())).header("content-encoding", "zstd");
    let response = request.body(body).send().await.unwrap();
    let reply = Reply::decode(&response.bytes().await.unwrap()).unwrap();
    assert!(matches!(reply, Reply::Batch(ack) if ack.cursors[0].1.next == 10));
}

#[tokio::test]
async fn nonsense_is_answered_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let url = hub.url();
    for body in [&b""[..], b"PYR1", b"PYR1\x03\x00", b"GET / HTTP/1.1"] {
        let device = Device::new("board-17", "climate", 1);
        for what in ["hello", "batch"] {
            let (code, reply) = device.post(&url, what, body.to_vec()).await;
            assert!(
                code == 409 && matches!(&reply, Reply::Refusal(r) if r.kind == RefusalKind::Malformed),
                "{reply:?}"
            );
        }
    }
    let (code, body) = status(&format!("{url}/v1/sync/a%2Fb/hello"), None, true).await;
    assert!(code == 400 && body.contains("agent id"), "{code} {body}");
    let (code, body) = get(&format!("{url}/v1/sync/a/hello")).await;
    assert!(code == 405 && body.contains("POST"), "{code} {body}");
    let (code, body) = get(&format!("{url}/v2/nothing")).await;
    assert!(code == 404 && body.contains("/v1/agents"), "{code} {body}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of it is stored");
}

#[tokio::test]
async fn more_batches_than_the_hub_takes_are_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.limits.max_in_flight = 1;
    config.store = StoreUrl::Directory(folder.path().into());
    let store = pyralog_hub::store::open(&config.store).await.unwrap();
    let hub = pyralog_hub::run::start_on(&config, Auth::open(None).unwrap(), store).await.unwrap();
    // A client that began a body and does not go on holds the only place.
    let mut slow = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    let head =
        "POST /v1/sync/board-18/batch HTTP/1.1\r\nhost: hub\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100");
    let mut device = Device::new("board-17", "climate", 1);
    let refusal = device.try_hello(&hub.url()).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Busy { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_token_that_is_taken_out_of_the_file_opens_nothing_within_seconds() {
    let guarded = guarded().await;
    let url = format!("{}/v1/sync/board-17/hello", guarded.hub.url());
    assert_eq!(status(&url, Some(&guarded.agent), true).await.0, 409);
    let lines = std::fs::read_to_string(&guarded.tokens).unwrap();
    let left: String = lines.lines().filter(|line| !line.contains("sync")).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&guarded.tokens, left).unwrap();
    let refused = async || (status(&url, Some(&guarded.agent), true).await.0 == 401).then_some(());
    crate::tls::until("the revocation", refused).await;
    let readers = format!("{}/v1/agents", guarded.hub.url());
    assert_eq!(status(&readers, Some(&guarded.reader), false).await.0, 200, "the others still work");
}

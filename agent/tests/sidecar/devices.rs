//! What devices can rely on.

use std::io::Write;

use pyralog_agent::app::App;
use pyralog_agent::ingest::sidecar::Counter;
use pyralog_agent::records::{Records, Value};
use pyralog_agent::ring::Clock;
use pyralog_sync_protocol::sidecar::{Frame, FromDevice, Numbered, Refusal};

use super::support::{Firmware, accepted, agent, until};

async fn records(app: &App, log: &str) -> Vec<serde_json::Value> {
    let url = format!("http://{}/v1/logs/{log}/records", app.endpoints().http);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn records_are_in_the_ring_once_with_their_device_and_time_before_they_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let app = agent(&format!("unix:{}", path.display()), &[]).await.unwrap();
    let mut device = Firmware::connect(&path, "press-4", 7);
    for n in 0..100 {
        device.reads(n);
        device.hands_over().await;
        assert_eq!(accepted(&app, "vibration"), n + 1);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    for (n, record) in records(&app, "vibration").await.into_iter().enumerate() {
        assert_eq!((&record["device"], &record["axis"], &record["n"]), (&"press-4".into(), &"x".into(), &n.into()));
        let age = now - record["time"].as_i64().unwrap();
        assert!((0..60_000_000_000).contains(&age), "{age} ns old");
    }
    let view = app.status().status().sidecar.unwrap();
    let shown = &view.devices["press-4"];
    assert_eq!((shown.records, shown.next, shown.links, shown.dropped), (100, 100, 1, 0));
    assert_eq!(shown.boot, "0000000000000007");
    app.stop().await;
    assert!(!path.exists(), "the socket goes with its agent");
}

#[tokio::test]
async fn what_came_over_a_former_connection_is_known_and_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let app = agent(&format!("unix:{}", path.display()), &[]).await.unwrap();
    let mut device = Firmware::connect(&path, "press-4", 7);
    device.runs_until("a welcome", |producer| producer.is_connected()).await;
    for n in 0..10 {
        device.reads(n);
    }
    // The records leave, and the connection ends before an answer is read.
    let mut bytes = [0; 1024];
    let count = device.producer.transmit(device.now(), &mut bytes);
    device.link.write_all(&bytes[..count]).unwrap();
    until("the records to be taken", || accepted(&app, "vibration") == 10).await;
    device.link = std::os::unix::net::UnixStream::connect(&path).unwrap();
    device.link.set_nonblocking(true).unwrap();
    device.producer.reconnected();
    assert_eq!(device.producer.pending(), 10);
    device.reads(10);
    device.hands_over().await;
    assert_eq!(accepted(&app, "vibration"), 11);
    app.stop().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_raw_and_does_not_stop_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let app = agent(&format!("unix:{}", path.display()), &[]).await.unwrap();
    let mut device = Firmware::connect(&path, "press-4", 7);
    device.runs_until("a welcome", |producer| producer.is_connected()).await;
    let mut frame = Frame::new();
    FromDevice::Record(Numbered { sequence: 0, oldest: 0, body: b"\x01c\x00\x63" }).put(&mut frame);
    device.link.write_all(frame.bytes()).unwrap();
    until("the record to be kept", || accepted(&app, "_rejected") == 1).await;
    let kept = &records(&app, "_rejected").await[0];
    assert_eq!(kept["topic"], "sidecar/press-4");
    device.reads(0);
    device.reads(1);
    device.hands_over().await;
    // The first has the number of the one that was kept.
    assert_eq!(accepted(&app, "vibration"), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_full_ring_that_rejects_acknowledges_nothing_that_it_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let settings = [("storage.eviction_policy", "reject"), ("storage.max_memory", "2MiB")];
    let app = agent(&format!("unix:{}", path.display()), &settings).await.unwrap();
    let mut device = Firmware::connect(&path, "press-4", 7);
    device.reads(0);
    device.hands_over().await;
    fill(&app);
    device.reads(1);
    let status = app.status().sidecar.clone();
    device.runs_until("a refusal", |producer| producer.last_refusal() == Some(Refusal::Full(500))).await;
    assert!(status.count(Counter::Full) > 0);
    assert_eq!((device.producer.pending(), accepted(&app, "vibration")), (1, 1));
    assert_eq!(app.status().status().sidecar.unwrap().devices["press-4"].next, 1);
    app.stop().await;
}

/// Appends what cannot be packed until the ring takes no more.
fn fill(app: &App) {
    let now = Clock::start().now();
    let mut seed = 1_u64;
    for _ in 0..1_000_000 {
        let mut noise = [0; 256];
        for byte in &mut noise {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 56) as u8;
        }
        let mut records = Records::new();
        records.begin("noise", None);
        records.push("bytes", Value::Binary(&noise));
        records.finish();
        if app.ring().append(&records, now).is_err() {
            return;
        }
    }
    panic!("the ring never fills");
}

//! Hellos and batches over HTTP.

use std::time::Duration;

use pyralog_hub::store::{SharedStore, open_directory};
use pyralog_hub::verify::{Scope, verify};
use pyralog_sync_protocol::Epoch;
use pyralog_sync_protocol::frame::RefusalKind;

use crate::device::{Device, get_json, hub};

async fn assert_in_order(store: &SharedStore) {
    let scope = Scope { decode: true, ..Scope::default() };
    let mut findings = Vec::new();
    verify(&**store, &scope, |finding| findings.push(finding.clone())).await.unwrap();
    assert!(findings.iter().all(|finding| finding.fault.is_none()), "{findings:?}");
}

#[tokio::test]
async fn a_batch_is_committed_once_however_often_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let url = hub.url();
    let mut device = Device::new("board-17", "climate", 1);
    assert_eq!(device.hello(&url).await.epoch, Epoch(1));
    let pieces = [device.segment(10), device.segment(5), device.loss(3), device.segment(2)];
    assert_eq!(device.send(&url, &pieces).await, 20);
    assert_eq!(device.send(&url, &pieces).await, 20);
    assert_eq!(device.send(&url, &pieces[1..]).await, 20);
    let account = get_json(&device.at(&url)).await;
    let epoch = &account["epochs"][0];
    assert_eq!(
        (epoch["next_offset"].as_u64(), epoch["committed"].as_u64(), epoch["head_seen"].as_u64()),
        (Some(20), Some(17), Some(20))
    );
    let receipt = serde_json::json!([
        { "from": 15, "to": 18, "reason": "evicted", "min_time": 15_000, "max_time": 17_000 }
    ]);
    assert_eq!(epoch["receipts"], receipt);
    assert_eq!(epoch["receipted"], serde_json::json!({ "evicted": 3 }));
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = Device::new("board-17", "climate", 1);
    let first = hub(folder.path()).await;
    device.hello(&first.url()).await;
    let (a, b) = (device.segment(10), device.segment(10));
    assert_eq!(device.send(&first.url(), std::slice::from_ref(&a)).await, 10);
    assert!(first.stop().await);

    let second = hub(folder.path()).await;
    // No hello: the session lives in the store.
    assert_eq!(device.send(&second.url(), &[a, b]).await, 20);
    let ack = device.hello(&second.url()).await;
    assert_eq!((ack.epoch, ack.cursors[0].1.next), (Epoch(1), 20));
}

#[tokio::test]
async fn a_gap_is_refused_with_the_offset_that_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let url = hub.url();
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&url).await;
    let (a, b) = (device.segment(10), device.segment(10));
    let refusal = device.try_send(&url, std::slice::from_ref(&b)).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Expected { offset: 0, .. }), "{refusal:?}");
    assert_eq!(device.send(&url, &[a, b]).await, 20);
}

#[tokio::test]
async fn a_new_incarnation_fences_the_old_one_and_receipts_what_it_never_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let url = hub.url();
    let mut old = Device::new("board-17", "climate", 1);
    old.hello(&url).await;
    let shipped = old.segment(10);
    old.send(&url, &[shipped]).await;
    let late = old.segment(7);
    old.hello(&url).await;

    let mut new = Device::new("board-17", "climate", 2);
    assert_eq!(new.hello(&url).await.epoch, Epoch(2));
    let refusal = old.try_send(&url, &[late]).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Fenced { newest: Epoch(2) });
    assert_eq!(old.try_hello(&url).await.unwrap_err().kind, RefusalKind::Fenced { newest: Epoch(2) });
    let piece = new.segment(4);
    assert_eq!(new.send(&url, &[piece]).await, 4);

    let account = get_json(&new.at(&url)).await;
    let epochs = account["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    assert_eq!((epochs[0]["closed"].as_bool(), epochs[0]["committed"].as_u64()), (Some(true), Some(10)));
    assert_eq!(epochs[0]["receipts"][0]["reason"], "lost");
    assert_eq!(
        (epochs[0]["receipts"][0]["from"].as_u64(), epochs[0]["receipts"][0]["to"].as_u64()),
        (Some(10), Some(17))
    );
    assert_eq!((epochs[1]["committed"].as_u64(), epochs[1]["receipts"].as_array().unwrap().len()), (Some(4), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_before_one_store_commit_each_offset_once() {
    let folder = tempfile::tempdir().unwrap();
    let hubs = [hub(folder.path()).await, hub(folder.path()).await];
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hubs[0].url()).await;
    let mut expected = 0;
    for round in 0..30 {
        // A segment at one hub races the receipt that replaces it at the other, as when a request hangs and is retried.
        let mut replaced = Device {
            hash: device.hash,
            schema: device.schema.clone(),
            log: device.log.clone(),
            agent: device.agent.clone(),
            ..device
        };
        let (segment, receipt) = (device.segment(3), replaced.loss(3));
        let (batch, loss) = ([segment], [receipt]);
        let (urls, swap) = ([hubs[0].url(), hubs[1].url()], round % 2);
        let both = tokio::join!(device.try_send(&urls[swap], &batch), replaced.try_send(&urls[1 - swap], &loss));
        expected += 3;
        let (one, other) = (both.0.map(|ack| ack.cursors[0].1), both.1.map(|ack| ack.cursors[0].1));
        assert_eq!(one.as_ref().map(|cursor| cursor.next), Ok(expected), "{one:?}");
        assert_eq!(one, other, "both learn the same truth");
        // The next segment must follow from what won.
        let stored = open_directory(folder.path()).unwrap();
        let chain = pyralog_hub::store::Chain { agent: "board-17", epoch: 1, log: "climate" };
        let (_, last) = pyralog_hub::store::Store::last_entry(&stored, chain).await.unwrap().unwrap();
        device.hash = pyralog_sync_protocol::entry::Entry::decode(&last).unwrap().tip.hash;
    }
    let account = get_json(&device.at(&hubs[0].url())).await;
    let epoch = &account["epochs"][0];
    let lost = epoch["receipted"]["evicted"].as_u64().unwrap_or_default();
    assert_eq!(epoch["committed"].as_u64().unwrap() + lost, expected);
    let store: SharedStore = std::sync::Arc::new(open_directory(folder.path()).unwrap());
    assert_in_order(&store).await;
}

#[tokio::test]
async fn a_hub_with_an_old_memory_of_a_chain_does_not_mislead_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let hubs = [hub(folder.path()).await, hub(folder.path()).await];
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hubs[0].url()).await;
    let pieces = [device.segment(10), device.segment(10), device.segment(10), device.segment(10)];
    assert_eq!(device.send(&hubs[0].url(), &pieces[..1]).await, 10);
    assert_eq!(device.send(&hubs[1].url(), &pieces[1..3]).await, 30);
    // The first hub remembers 10, and must neither say so, nor refuse, nor commit anything else there.
    assert_eq!(device.send(&hubs[0].url(), &pieces[..1]).await, 30);
    assert_eq!(device.send(&hubs[1].url(), &pieces[3..]).await, 40);
    assert_eq!(device.send(&hubs[0].url(), &pieces[3..]).await, 40);
    let refusal = device.try_send(&hubs[1].url(), &[device.loss_of(50, 60)]).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Malformed | RefusalKind::Expected { offset: 40, .. }), "{refusal:?}");
}

#[tokio::test]
async fn an_emptied_store_makes_the_agent_start_anew() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let url = hub.url();
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&url).await;
    let pieces = [device.segment(10), device.segment(10)];
    assert_eq!(device.send(&url, &pieces[..1]).await, 10);
    std::fs::remove_dir_all(folder.path().join("agents")).unwrap();
    let refusal = device.try_send(&url, &pieces[1..]).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::UnknownSession);
    let ack = device.hello(&url).await;
    assert_eq!((ack.epoch, ack.cursors[0].1.next), (Epoch(1), 0));
    let refusal = device.try_send(&url, &pieces[1..]).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Expected { offset: 0, .. }), "{refusal:?}");
    assert_eq!(device.send(&url, &pieces).await, 20);
}

#[tokio::test]
async fn a_stop_waits_for_nothing_that_is_not_in_work() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    // The client above keeps its connection open; an idle one holds up nobody.
    let stopped = tokio::time::timeout(Duration::from_secs(30), hub.stop()).await;
    assert_eq!(stopped, Ok(true));
}

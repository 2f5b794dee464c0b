//! Agents that sync into a bucket.

use pyralog_hub::store::Chain;
use pyralog_hub::verify::{Finding, Scope, verify};
use pyralog_sync_protocol::Epoch;
use pyralog_sync_protocol::entry::Entry;
use pyralog_sync_protocol::frame::RefusalKind;

use super::Bucket;
use crate::device::{Device, get, get_json, hub_on};

/// What `verify` finds.
async fn findings(bucket: &Bucket) -> Vec<Finding> {
    let scope = Scope { decode: true, ..Scope::default() };
    let mut findings = Vec::new();
    verify(&*bucket.store().await, &scope, |finding| findings.push(finding.clone())).await.unwrap();
    findings
}

pub async fn assert_in_order(bucket: &Bucket) {
    let findings = findings(bucket).await;
    assert!(findings.iter().all(|finding| finding.fault.is_none()), "{findings:?}");
}

#[tokio::test]
async fn epochs_receipts_and_restarts_are_as_with_a_directory() {
    let bucket = Bucket::new();
    let hub = hub_on(bucket.store().await).await;
    let mut old = Device::new("board-17", "climate", 1);
    old.hello(&hub.url()).await;
    let pieces = [old.segment(10), old.segment(5), old.loss(3), old.segment(2)];
    for _ in 0..2 {
        assert_eq!(old.send(&hub.url(), &pieces).await, 20);
    }
    let late = old.segment(7);
    old.hello(&hub.url()).await;
    assert!(hub.stop().await);

    let hub = hub_on(bucket.store().await).await;
    let mut new = Device::new("board-17", "climate", 2);
    assert_eq!(new.hello(&hub.url()).await.epoch, Epoch(2));
    let refusal = old.try_send(&hub.url(), &[late]).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Fenced { newest: Epoch(2) });
    let piece = new.segment(4);
    assert_eq!(new.send(&hub.url(), &[piece]).await, 4);
    let account = get_json(&new.at(&hub.url())).await;
    let epochs = account["epochs"].as_array().unwrap();
    assert_eq!(epochs[0]["receipted"], serde_json::json!({ "evicted": 3, "lost": 7 }));
    assert_eq!((epochs[0]["committed"].as_u64(), epochs[1]["committed"].as_u64()), (Some(17), Some(4)));
    assert_in_order(&bucket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_before_one_bucket_commit_each_offset_once() {
    let bucket = Bucket::new();
    let hubs = [hub_on(bucket.store().await).await, hub_on(bucket.store().await).await];
    let store = bucket.store().await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hubs[0].url()).await;
    let mut expected = 0;
    for round in 0..15 {
        let mut replaced = Device { hash: device.hash, head: device.head, ..Device::new("board-17", "climate", 1) };
        replaced.epoch = device.epoch;
        let (batch, loss) = ([device.segment(3)], [replaced.loss(3)]);
        let (urls, swap) = ([hubs[0].url(), hubs[1].url()], round % 2);
        let both = tokio::join!(device.try_send(&urls[swap], &batch), replaced.try_send(&urls[1 - swap], &loss));
        expected += 3;
        let (one, other) = (both.0.map(|ack| ack.cursors[0].1), both.1.map(|ack| ack.cursors[0].1));
        assert_eq!(one.as_ref().map(|cursor| cursor.next), Ok(expected), "{one:?}");
        assert_eq!(one, other, "both learn the same truth");
        let chain = Chain { agent: "board-17", epoch: 1, log: "climate" };
        let (_, last) = store.last_entry(chain).await.unwrap().unwrap();
        device.hash = Entry::decode(&last).unwrap().tip.hash;
    }
    assert_in_order(&bucket).await;
}

#[tokio::test]
async fn a_damaged_object_is_skipped_named_and_counted() {
    let bucket = Bucket::new();
    let hub = hub_on(bucket.store().await).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let pieces = [device.segment(10), device.segment(10), device.segment(10)];
    device.send(&hub.url(), &pieces).await;
    let name = "agents/board-17/logs/climate/0000000001/00000000000000000010";
    let mut bytes = std::fs::read(bucket.file(name)).unwrap();
    bytes[40] ^= 1;
    std::fs::write(bucket.file(name), bytes).unwrap();

    let found = findings(&bucket).await;
    let faults: Vec<_> = found.iter().filter_map(|finding| finding.fault.as_ref()).collect();
    assert!(faults.iter().any(|fault| fault.name == name), "{faults:?}");
    let (status, records) = get(&format!("{}/records?from_offset=20&format=csv", device.at(&hub.url()))).await;
    assert_eq!((status, records.lines().count()), (200, 11), "what comes after it can be read");
    let (status, records) = get(&format!("{}/records?format=csv&damaged=skip", device.at(&hub.url()))).await;
    assert_eq!((status, records.lines().count()), (200, 21), "and what is around it");
    let metrics = get(&format!("{}/metrics", hub.url())).await.1;
    assert!(metrics.lines().any(|line| line.ends_with("damaged_entries_total 1")), "{metrics}");
}

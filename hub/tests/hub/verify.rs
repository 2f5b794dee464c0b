//! `verify` and readers against a damaged store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyralog_hub::store::{SharedStore, Store, open_directory};
use pyralog_hub::verify::{Finding, Scope, verify};
use pyralog_sync_protocol::LogName;
use pyralog_sync_protocol::epoch::HeadsRecord;

use crate::device::{Device, client, get, hub};

/// Two epochs of one log, and another log.
async fn fill(folder: &Path) {
    let hub = hub(folder).await;
    let url = hub.url();
    for (incarnation, log) in [(1, "climate"), (2, "climate"), (2, "host")] {
        let mut device = Device::new("board-17", log, incarnation);
        device.hello(&url).await;
        let pieces = [device.segment(10), device.segment(5), device.loss(3), device.segment(2)];
        device.send(&url, &pieces).await;
    }
    assert!(hub.stop().await);
}

async fn findings(folder: &Path) -> Vec<Finding> {
    let store: SharedStore = Arc::new(open_directory(folder).unwrap());
    let mut findings = Vec::new();
    let scope = Scope { decode: true, ..Scope::default() };
    let faults = verify(&*store, &scope, |finding| findings.push(finding.clone())).await.unwrap();
    assert_eq!(faults, findings.iter().filter(|finding| finding.fault.is_some()).count() as u64);
    findings
}

fn entry(folder: &Path, log: &str, epoch: u32, base: u64) -> PathBuf {
    folder.join(format!("agents/board-17/logs/{log}/{epoch:010}/{base:020}"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn heads_that_a_hub_which_hung_left_after_the_end_of_their_epoch_are_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let store = open_directory(folder.path()).unwrap();
    let late = HeadsRecord { heads: vec![(LogName::new("late").unwrap(), 95)] };
    store.put_heads("board-17", 1, late.sum(), late.encode().into()).await.unwrap();
    let findings = findings(folder.path()).await;
    assert!(findings.iter().all(|finding| finding.fault.is_none()), "{findings:?}");
}

#[tokio::test]
async fn a_store_in_order_has_no_faults() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let findings = findings(folder.path()).await;
    assert_eq!(findings.len(), 3);
    assert!(findings.iter().all(|f| f.fault.is_none() && f.records == 17 && f.receipted == 3), "{findings:?}");
}

#[tokio::test]
async fn every_kind_of_damage_is_named_with_its_object() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 9] = [
        ("climate/0000000002/00000000000000000010", |store| flip(&entry(store, "climate", 2, 10), 60)),
        ("climate/0000000002/00000000000000000010", |store| flip(&entry(store, "climate", 2, 10), 6)),
        ("climate/0000000002/00000000000000000000", |store| {
            let file = entry(store, "climate", 2, 0);
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("climate/0000000002/00000000000000000015", |store| {
            std::fs::remove_file(entry(store, "climate", 2, 15)).unwrap();
        }),
        ("climate/0000000002/00000000000000000000", |store| {
            std::fs::remove_file(entry(store, "climate", 2, 0)).unwrap();
        }),
        // The closing entry of an epoch that has ended.
        ("climate/0000000001/00000000000000000020", |store| {
            std::fs::remove_file(entry(store, "climate", 1, 20)).unwrap();
        }),
        // A whole chain of an epoch that has ended.
        ("climate/0000000001/00000000000000000000", |store| {
            std::fs::remove_dir_all(entry(store, "climate", 1, 0).parent().unwrap()).unwrap();
        }),
        // An entry that is sound in itself, in the wrong place.
        ("climate/0000000002/00000000000000000010", |store| {
            std::fs::copy(entry(store, "climate", 2, 0), entry(store, "climate", 2, 10)).unwrap();
        }),
        ("schemas/12fa5e2ac8a7cbe0", |store| {
            std::fs::remove_dir_all(store.join("agents/board-17/schemas")).unwrap();
        }),
    ];
    let sound = tempfile::tempdir().unwrap();
    fill(sound.path()).await;
    for (index, (name, damage)) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        copy(sound.path(), folder.path());
        damage(folder.path());
        let findings = findings(folder.path()).await;
        let faults: Vec<_> = findings.iter().filter_map(|finding| finding.fault.as_ref()).collect();
        assert!(faults.first().is_some_and(|fault| fault.name.ends_with(name)), "case {index}: {faults:?}");
        assert!(faults.len() == 1 || index == 8, "case {index}: {faults:?}");
    }
}

#[tokio::test]
async fn damage_is_never_read_as_data_nor_passed_over_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    flip(&entry(folder.path(), "host", 2, 10), 70);
    let hub = hub(folder.path()).await;
    let url = Device::new("board-17", "host", 2).at(&hub.url());

    // From the start: ten records, then the transfer breaks off.
    let response = client().get(format!("{url}/records")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.text().await.is_err(), "the stream must not end as if it were whole");
    // From the damage on: a proper error that names the object.
    let (status, body) = get(&format!("{url}/records?from_offset=10")).await;
    assert!(status == 500 && body.contains("00000000000000000010"), "{status} {body}");
    // Asked to skip: the rest, and the damage named in the trailer.
    let request = client().get(format!("{url}/records?damaged=skip")).header("te", "trailers");
    let mut body = http::Response::from(request.send().await.unwrap()).into_body();
    let (mut data, mut named) = (Vec::new(), None);
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        match frame.unwrap().into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => named = frame.into_trailers().unwrap().get("x-pyralog-damaged").cloned(),
        }
    }
    assert_eq!(String::from_utf8(data).unwrap().lines().count(), 12);
    assert_eq!(named.unwrap(), "2/10");
    let (_, metrics) = get(&format!("{}/metrics", hub.url())).await;
    assert!(metrics.contains("damaged_entries_total 3"), "{metrics}");
}

#[tokio::test]
async fn a_removed_entry_is_noticed_by_readers_too() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    std::fs::remove_file(entry(folder.path(), "host", 2, 10)).unwrap();
    let hub = hub(folder.path()).await;
    let url = Device::new("board-17", "host", 2).at(&hub.url());
    let response = client().get(format!("{url}/records")).send().await.unwrap();
    assert!(response.text().await.is_err());
    let (status, body) = get(&format!("{url}/records?damaged=skip")).await;
    assert_eq!((status, body.lines().count()), (200, 12));
}

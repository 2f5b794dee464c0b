//! Agents that ship onto a damaged store: they are never told that something is durable which is not.

use std::path::Path;
use std::sync::Arc;

use pyralog_hub::store::{SharedStore, open_directory};
use pyralog_hub::verify::{Scope, verify};
use pyralog_sync_protocol::Epoch;
use pyralog_sync_protocol::frame::{Refusal, RefusalKind};

use super::kinds::{Damage, Seeded, damage, damages};
use super::store::{copy, folder as store_folder, kind, objects};
use crate::device::{Device, Piece, get, hub};

const TIP: &str = "agents/board-17/logs/climate/0000000001/00000000000000000010";

/// An epoch of two segments and, if wanted, another agent's.
async fn filled(folder: &Path) -> (Device, Vec<Piece>) {
    let hub = hub(folder).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let pieces = vec![device.segment(10), device.segment(5)];
    assert_eq!(device.send(&hub.url(), &pieces).await, 15);
    let mut other = Device::new("board-18", "climate", 1);
    other.hello(&hub.url()).await;
    let piece = other.segment(4);
    other.send(&hub.url(), &[piece]).await;
    hub.stop().await;
    (device, pieces)
}

async fn faults(folder: &Path) -> Vec<String> {
    let store: SharedStore = Arc::new(open_directory(folder).unwrap());
    let mut found = Vec::new();
    let note = |finding: &pyralog_hub::verify::Finding| {
        found.extend(finding.fault.as_ref().map(|fault| format!("{}: {}", fault.name, fault.reason)));
    };
    verify(&*store, &Scope::default(), note).await.unwrap();
    found
}

fn names_it(refusal: &Refusal, name: &str) -> bool {
    let later = matches!(refusal.kind, RefusalKind::Busy { retry_after } if retry_after.as_secs() >= 60);
    later && refusal.detail.contains(name) && refusal.detail.contains("pyralog-hub verify")
}

#[tokio::test]
async fn a_damaged_end_of_a_chain_is_named_to_the_agent_and_counted_and_all_goes_on_once_it_is_mended() {
    for what in [Damage::Flip(40, 2), Damage::Truncate(0), Damage::Folder, Damage::Replace(TIP.replace("10", "00"))] {
        let folder = store_folder();
        let (mut device, mut pieces) = filled(folder.path()).await;
        let done = damage(folder.path(), TIP, &what);
        let hub = hub(folder.path()).await;
        let url = hub.url();
        pieces.push(device.segment(3));
        let refusal = device.try_hello(&url).await.unwrap_err();
        assert!(names_it(&refusal, TIP), "{what:?}: {refusal:?}");
        let refusal = device.try_send(&url, &pieces[2..]).await.unwrap_err();
        assert!(names_it(&refusal, TIP), "{what:?}: {refusal:?}");
        let (_, metrics) = get(&format!("{url}/metrics")).await;
        assert!(metrics.contains("store_failures_total 2"), "{metrics}");
        // Another agent is served meanwhile.
        let mut other = Device::new("board-18", "climate", 1);
        other.hello(&url).await;
        let more = [other.segment(4), other.segment(4)];
        assert_eq!(other.send(&url, &more).await, 8);

        done.undo();
        device.hello(&url).await;
        assert_eq!(device.send(&url, &pieces[2..]).await, 18);
        assert_eq!(faults(folder.path()).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_damaged_end_that_was_moved_away_is_sent_again_or_receipted() {
    for still_there in [true, false] {
        let folder = store_folder();
        let (mut device, mut pieces) = filled(folder.path()).await;
        std::fs::remove_file(folder.path().join(TIP)).unwrap();
        let hub = hub(folder.path()).await;
        let url = hub.url();
        assert_eq!(device.hello(&url).await.cursors[0].1.next, 10);
        if !still_there {
            pieces[1] = device.loss_of(10, 15);
        }
        assert_eq!(device.send(&url, &pieces[1..]).await, 15);
        pieces.push(device.segment(3));
        assert_eq!(device.send(&url, &pieces[2..]).await, 18);
        assert_eq!(faults(folder.path()).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_damaged_schema_is_healed_by_the_agent_that_uses_it() {
    let folder = store_folder();
    let (mut device, _) = filled(folder.path()).await;
    let names = objects(folder.path());
    let schema = names.iter().find(|name| kind(name) == "schemas" && name.contains("board-17")).unwrap();
    for what in [Damage::Flip(3, 1), Damage::Truncate(0), Damage::Delete] {
        let _never_undone = damage(folder.path(), schema, &what);
        assert!(!faults(folder.path()).await.is_empty());
        let hub = hub(folder.path()).await;
        device.hello(&hub.url()).await;
        let pieces = [device.segment(3)];
        assert_eq!(device.send(&hub.url(), &pieces).await, device.head);
        assert_eq!(faults(folder.path()).await, Vec::<String>::new(), "{what:?}");
    }
}

#[tokio::test]
async fn an_epoch_whose_record_is_gone_is_not_given_to_somebody_else() {
    let folder = store_folder();
    let (_, _) = filled(folder.path()).await;
    let record = "agents/board-17/epochs/0000000001";
    std::fs::remove_file(folder.path().join(record)).unwrap();
    let hub = hub(folder.path()).await;
    // A new life of the agent with other records: whoever told it that offsets 0 to 14 are stored would lie.
    let mut anew = Device::new("board-17", "climate", 2);
    let refusal = anew.try_hello(&hub.url()).await.unwrap_err();
    assert!(names_it(&refusal, record), "{refusal:?}");
}

/// Ships what an agent would after any damage; gives the epoch and offset up to which it was acknowledged.
async fn ship(url: &str, device: &mut Device, pieces: &[Piece]) -> Option<(Epoch, u64)> {
    let ack = device.try_hello(url).await.ok()?;
    let from = if ack.cursors[0].1.next >= 15 { &pieces[2..] } else { pieces };
    let ack = device.try_send(url, from).await.ok()?;
    Some((device.epoch, ack.cursors[0].1.next))
}

#[tokio::test]
async fn whatever_is_damaged_an_acknowledged_record_is_there() {
    let sound = store_folder();
    filled(sound.path()).await;
    let names = objects(sound.path());
    let mut random = Seeded(0xacced);
    for name in names.iter().filter(|name| name.contains("board-17")) {
        for what in damages(sound.path(), &names, name, 3, &mut random) {
            for restarted in [false, true] {
                let folder = store_folder();
                copy(sound.path(), folder.path());
                // The same life of the agent, or a new one.
                let mut device = Device::new("board-17", "climate", if restarted { 2 } else { 1 });
                let pieces = [device.segment(10), device.segment(5), device.segment(3)];
                let done = damage(folder.path(), name, &what);
                let hub = hub(folder.path()).await;
                let case = format!("{name} {what:?} restarted {restarted}");
                let acked = ship(&hub.url(), &mut device, &pieces).await;
                let Some((epoch, next)) = acked else { continue };
                assert_eq!((epoch.0 == 2, next), (restarted, 18), "{case}");
                // Whatever was damaged before may still be, but what was acknowledged now is read, or the damage is named.
                let query = format!("records?epoch={}&from_offset=15", epoch.0);
                let (status, body) = get(&format!("{}/{query}", device.at(&hub.url()))).await;
                assert_eq!((status, body.lines().count()), (200, 3), "{case}: {body}");
                drop(done);
            }
        }
    }
}

//! What every store must do, held against the directory store with and without its local helpers.

use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use pyralog_hub::store::{Chain, ObjectsStore, Place, Put, SharedStore, open_directory};

fn stores(folder: &std::path::Path) -> Vec<SharedStore> {
    let plain = folder.join("plain");
    std::fs::create_dir_all(&plain).unwrap();
    let objects = LocalFileSystem::new_with_prefix(&plain).unwrap();
    vec![
        Arc::new(open_directory(&folder.join("directory")).unwrap()),
        Arc::new(ObjectsStore::new(Arc::new(objects), "objects")),
    ]
}

const CHAIN: Chain<'static> = Chain { agent: "a", epoch: 1, log: "climate" };

#[tokio::test]
async fn what_is_created_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        assert_eq!(store.commit(CHAIN, 0, Bytes::from_static(b"first")).await.unwrap(), Put::Created);
        assert_eq!(store.commit(CHAIN, 0, Bytes::from_static(b"second")).await.unwrap(), Put::Exists);
        assert_eq!(store.entry(CHAIN, 0).await.unwrap().unwrap(), "first");
        assert_eq!(store.entry(CHAIN, 1).await.unwrap(), None);
        for put in [Put::Created, Put::Exists] {
            assert_eq!(store.create_epoch("a", 1, Bytes::from_static(b"epoch")).await.unwrap(), put);
            assert_eq!(store.put_schema("a", [1; 8], Bytes::from_static(b"schema")).await.unwrap(), put);
            assert_eq!(store.put_register("a", 1, 0, Bytes::from_static(b"log")).await.unwrap(), put);
            assert_eq!(store.note_schema(CHAIN, [1; 8]).await.unwrap(), put);
            assert_eq!(store.mark_closed("a", 1).await.unwrap(), put);
        }
        assert!(store.has_schema("a", [1; 8]).await.unwrap() && !store.has_schema("a", [2; 8]).await.unwrap());
        assert_eq!(store.schema("a", [1; 8]).await.unwrap().unwrap(), "schema");
        assert_eq!(store.schema("a", [2; 8]).await.unwrap(), None);
        assert_eq!(store.noted_schemas(CHAIN).await.unwrap(), [[1; 8]]);
        assert!(store.is_closed("a", 1).await.unwrap() && !store.is_closed("a", 2).await.unwrap());
        assert_eq!(store.register("a", 1, 0).await.unwrap(), ["log"]);
        assert!(store.register("a", 1, 1).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_chain_lists_in_order_of_offsets() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        assert_eq!(store.last_entry(CHAIN).await.unwrap(), None);
        assert!(store.bases(CHAIN, 0, 10).await.unwrap().is_empty());
        for base in [9, 0, 100, 10, 1 << 40] {
            store.commit(CHAIN, base, Bytes::from(base.to_string())).await.unwrap();
        }
        assert_eq!(store.last_entry(CHAIN).await.unwrap().unwrap(), (1 << 40, Bytes::from((1u64 << 40).to_string())));
        assert_eq!(store.bases(CHAIN, 0, 3).await.unwrap(), [0, 9, 10]);
        assert_eq!(store.bases(CHAIN, 11, 3).await.unwrap(), [100, 1 << 40]);
        assert_eq!(store.base_at(CHAIN, 99).await.unwrap(), Some(10));
        assert_eq!(store.base_at(CHAIN, 100).await.unwrap(), Some(100));
        assert_eq!(store.log_epochs("a", "climate").await.unwrap(), [1]);
    }
}

#[tokio::test]
async fn the_newest_epoch_is_found_with_and_without_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        assert_eq!(store.last_epoch("a", 0).await.unwrap(), None);
        for epoch in 1..=12 {
            store.create_epoch("a", epoch, Bytes::from(epoch.to_string())).await.unwrap();
        }
        // A hint of an epoch that is gone comes from a store that was emptied.
        for known in [0, 1, 11, 12, 40] {
            assert_eq!(store.last_epoch("a", known).await.unwrap(), Some((12, Bytes::from("12"))), "{known}");
        }
        assert_eq!(store.epochs("a").await.unwrap(), (1..=12).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn newer_heads_replace_older_ones() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        assert_eq!(store.heads("a", 1).await.unwrap(), None);
        for order in [5, 50, 7] {
            store.put_heads("a", 1, order, Bytes::from(order.to_string())).await.unwrap();
        }
        assert_eq!(store.heads("a", 1).await.unwrap().unwrap(), "50");
        assert_eq!(store.heads("a", 2).await.unwrap(), None);
    }
}

#[tokio::test]
async fn entries_below_a_mark_can_be_deleted_and_nothing_is_created_there_again() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(folder.path()) {
        for base in [0, 10, 20, 30] {
            store.commit(CHAIN, base, Bytes::from(vec![7; 1 + base as usize])).await.unwrap();
        }
        assert_eq!(store.trimmed(CHAIN).await.unwrap(), None);
        assert_eq!(store.entry_sizes(CHAIN, 10, 2).await.unwrap(), [(10, 11), (20, 21)]);
        for below in [10, 20] {
            assert_eq!(store.put_trimmed(CHAIN, below, Bytes::from(below.to_string())).await.unwrap(), Put::Created);
        }
        assert_eq!(store.put_trimmed(CHAIN, 20, Bytes::from_static(b"other")).await.unwrap(), Put::Exists);
        assert_eq!(store.trimmed(CHAIN).await.unwrap(), Some((20, Bytes::from_static(b"20"))));
        assert_eq!(store.numbers(Place::Trimmed(CHAIN), 0, 10).await.unwrap(), [20], "older marks go");
        for _ in 0..2 {
            store.remove_entries(CHAIN, &[0, 10]).await.unwrap();
        }
        assert_eq!(store.bases(CHAIN, 0, 10).await.unwrap(), [20, 30], "marks do not pass for entries");
        assert_eq!(store.entry_sizes(CHAIN, 0, 10).await.unwrap(), [(20, 21), (30, 31)]);
        assert_eq!(store.base_at(CHAIN, 19).await.unwrap(), None);
        for base in [0, 10, 15] {
            assert_eq!(store.commit(CHAIN, base, Bytes::from_static(b"late")).await.unwrap(), Put::Exists, "{base}");
        }
        assert_eq!(store.commit(CHAIN, 62, Bytes::from_static(b"next")).await.unwrap(), Put::Created);
        assert_eq!(store.log_epochs("a", "climate").await.unwrap(), [1]);
    }
}

#[tokio::test]
async fn names_come_back_however_odd_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let long = "é/".repeat(85);
    let names = ["..", ".", "a/b", "a#1", "%2F", "climate", "mesures de l'air", "\\", "=", long.as_str()];
    for store in stores(folder.path()) {
        for log in names {
            let chain = Chain { log, ..CHAIN };
            store.commit(chain, 0, Bytes::from(log.to_owned())).await.unwrap();
        }
        let mut sorted = names.map(str::to_owned);
        sorted.sort();
        assert_eq!(store.logs("a", None, 100).await.unwrap(), sorted);
        assert_eq!(store.logs("a", Some("a#1"), 2).await.unwrap(), ["a/b", "climate"]);
        for log in names {
            let chain = Chain { log, ..CHAIN };
            assert_eq!(store.last_entry(chain).await.unwrap(), Some((0, Bytes::from(log.to_owned()))));
        }
        assert_eq!(store.agents(None, 10).await.unwrap(), ["a"]);
    }
    // Nothing was written beside the stores.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn leftovers_of_a_killed_hub_are_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_directory(folder.path()).unwrap();
    let store: SharedStore = Arc::new(store);
    store.commit(CHAIN, 0, Bytes::from_static(b"whole")).await.unwrap();
    let chain = folder.path().join("agents/a/logs/climate/0000000001");
    assert_eq!(std::fs::read_dir(&chain).unwrap().count(), 1, "a put leaves nothing beside its object");
    std::fs::write(chain.join("00000000000000000010#1"), b"ha").unwrap();
    std::fs::write(chain.join("notes.txt"), b"not ours").unwrap();
    assert_eq!(store.bases(CHAIN, 0, 10).await.unwrap(), [0]);
    assert_eq!(store.last_entry(CHAIN).await.unwrap(), Some((0, Bytes::from_static(b"whole"))));
    assert_eq!(store.commit(CHAIN, 10, Bytes::from_static(b"next")).await.unwrap(), Put::Created);
    assert_eq!(store.entry(CHAIN, 10).await.unwrap().unwrap(), "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_at_one_place_exactly_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    // Two stores on one directory, as two hubs have them.
    let path = folder.path().join("shared");
    let pair: [SharedStore; 2] = std::array::from_fn(|_| -> SharedStore { Arc::new(open_directory(&path).unwrap()) });
    for base in 0..20 {
        let tasks = (0..8).map(|task| {
            let store = Arc::clone(&pair[task % 2]);
            let entry = Bytes::from(format!("entry of {task}"));
            tokio::spawn(async move { (task, store.commit(CHAIN, base, entry).await.unwrap()) })
        });
        let mut winners = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            let (task, put) = task.await.unwrap();
            winners.extend((put == Put::Created).then_some(task));
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(pair[0].entry(CHAIN, base).await.unwrap().unwrap(), format!("entry of {}", winners[0]));
    }
}

//! What every store must do.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use pyralog_e2e::nats::Cluster;
use pyralog_e2e_s3::S3Server;
use pyralog_hub::store::{Chain, ObjectsStore, Place, Put, SharedStore, open_bucket, open_directory};
use pyralog_sync_protocol::entry::{Entry, Tip};
use pyralog_sync_protocol::frame::{Reason, Receipt};
use pyralog_sync_protocol::{ChainHash, Cursor};

/// Two hubs' views of one store.
struct Tried {
    name: &'static str,
    store: SharedStore,
    other: SharedStore,
    /// The longest name of a log that it takes, as it is encoded.
    longest: usize,
}

/// Every kind of store, empty; and what must live as long as they do.
struct Stores {
    list: Vec<Tried>,
    folder: tempfile::TempDir,
    _s3: S3Server,
    _nats: Cluster,
}

async fn stores() -> Stores {
    let folder = tempfile::tempdir().unwrap();
    let directory = || -> SharedStore { Arc::new(open_directory(&folder.path().join("directory")).unwrap()) };
    let memory = Arc::new(InMemory::new());
    let objects = || -> SharedStore { Arc::new(ObjectsStore::new(Arc::clone(&memory) as _, "memory")) };
    let s3 = S3Server::start(&folder.path().join("s3")).unwrap();
    let url = s3.store("contract").parse().unwrap();
    let bucket = async || Arc::new(open_bucket(&url, S3Server::environment()).await.unwrap()) as SharedStore;
    let nats = Cluster::start(&folder.path().join("nats"), 1).await.unwrap();
    let url = nats.url("CONTRACT").parse().unwrap();
    let streams = async || pyralog_hub::store::open(&url).await.unwrap();
    let list = vec![
        Tried { name: "directory", store: directory(), other: directory(), longest: usize::MAX },
        Tried { name: "objects in memory", store: objects(), other: objects(), longest: usize::MAX },
        // The server's limit, see there; S3 takes keys of 1,024 bytes.
        Tried { name: "bucket", store: bucket().await, other: bucket().await, longest: 60 },
        Tried { name: "streams", store: streams().await, other: streams().await, longest: usize::MAX },
    ];
    Stores { list, folder, _s3: s3, _nats: nats }
}

pub const CHAIN: Chain<'static> = Chain { agent: "a", epoch: 1, log: "climate" };

/// A real entry: a receipt for `[base, next)`, which differs from another by `mark`.
pub fn entry(base: u64, next: u64, mark: i64) -> Bytes {
    let hash = ChainHash([3; 16]);
    let receipt = Receipt { from: base, to: next, reason: Reason::Evicted, min_time: 0, max_time: mark, hash };
    let mut frame = Vec::new();
    receipt.put(&mut frame);
    let cursor = Cursor { next, receipted: [next, 0, 0, 0] };
    let tip = Tip { cursor, hash, head_seen: next, closed: false };
    Entry { base, tip, received_at: mark, frame: &frame }.encode().into()
}

#[tokio::test]
async fn what_is_created_stays_as_it_is() {
    for Tried { name, store, .. } in stores().await.list {
        println!("{name}");
        assert_eq!(store.commit(CHAIN, 0, entry(0, 5, 1)).await.unwrap(), Put::Created);
        assert_eq!(store.commit(CHAIN, 0, entry(0, 7, 2)).await.unwrap(), Put::Exists);
        assert_eq!(store.entry(CHAIN, 0).await.unwrap().unwrap(), entry(0, 5, 1));
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
        assert!(store.check().await.is_ok());
    }
}

#[tokio::test]
async fn a_chain_lists_in_order_of_offsets() {
    for Tried { name, store, other, .. } in stores().await.list {
        println!("{name}");
        assert_eq!(store.last_entry(CHAIN).await.unwrap(), None);
        assert!(store.bases(CHAIN, 0, 10).await.unwrap().is_empty());
        assert_eq!(store.base_at(CHAIN, 7).await.unwrap(), None);
        let bases = [0, 9, 10, 100, 1 << 40];
        for (index, base) in bases.into_iter().enumerate() {
            let next = bases.get(index + 1).copied().unwrap_or(base + 1);
            assert_eq!(store.commit(CHAIN, base, entry(base, next, 0)).await.unwrap(), Put::Created);
            for view in [&store, &other] {
                assert_eq!(view.last_entry(CHAIN).await.unwrap().unwrap(), (base, entry(base, next, 0)));
            }
        }
        // What is below the chain is none of it.
        store.note_schema(CHAIN, [9; 8]).await.unwrap();
        for view in [store, other] {
            assert_eq!(view.bases(CHAIN, 0, 3).await.unwrap(), [0, 9, 10]);
            assert_eq!(view.bases(CHAIN, 11, 3).await.unwrap(), [100, 1 << 40]);
            for (offset, base) in [(0, 0), (8, 0), (9, 9), (99, 10), (100, 100), (1 << 39, 100), (u64::MAX, 1 << 40)] {
                assert_eq!(view.base_at(CHAIN, offset).await.unwrap(), Some(base), "{offset}");
            }
            assert_eq!(view.log_epochs("a", "climate").await.unwrap(), [1]);
        }
    }
}

#[tokio::test]
async fn a_register_is_read_from_any_position_to_its_end() {
    for Tried { name, store, other, .. } in stores().await.list {
        println!("{name}");
        assert!(store.register("a", 1, 0).await.unwrap().is_empty());
        let records: Vec<_> = (0..40).map(|position| Bytes::from(format!("log {position}"))).collect();
        for (position, record) in (0..).zip(&records) {
            assert_eq!(store.put_register("a", 1, position, record.clone()).await.unwrap(), Put::Created);
        }
        // Not dense: whoever put it there is no hub.
        store.put_register("a", 1, 42, Bytes::from_static(b"beyond a hole")).await.unwrap();
        for from in [0, 1, 39, 40, 41] {
            let read = other.register("a", 1, from).await.unwrap();
            assert_eq!(read, records[(from as usize).min(40)..], "{from}");
        }
        assert!(other.register("a", 2, 0).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_newest_epoch_is_found_with_and_without_a_hint() {
    for Tried { name, store, .. } in stores().await.list {
        println!("{name}");
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
    for Tried { name, store, .. } in stores().await.list {
        println!("{name}");
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
    for Tried { name, store, other, .. } in stores().await.list {
        println!("{name}");
        for base in [0, 10, 20, 30] {
            assert_eq!(store.commit(CHAIN, base, entry(base, base + 10, 0)).await.unwrap(), Put::Created);
        }
        store.note_schema(CHAIN, [9; 8]).await.unwrap();
        assert_eq!(store.trimmed(CHAIN).await.unwrap(), None);
        let size = |base| (base, entry(base, base + 10, 0).len() as u64);
        assert_eq!(store.entry_sizes(CHAIN, 10, 2).await.unwrap(), [size(10), size(20)]);
        for below in [10, 20] {
            assert_eq!(store.put_trimmed(CHAIN, below, Bytes::from(below.to_string())).await.unwrap(), Put::Created);
        }
        assert_eq!(other.put_trimmed(CHAIN, 20, Bytes::from_static(b"other")).await.unwrap(), Put::Exists);
        for view in [&store, &other] {
            assert_eq!(view.trimmed(CHAIN).await.unwrap(), Some((20, Bytes::from_static(b"20"))));
            assert_eq!(view.numbers(Place::Trimmed(CHAIN), 0, 10).await.unwrap(), [20], "older marks go");
            view.remove_entries(CHAIN, &[0, 10]).await.unwrap();
            assert_eq!(view.bases(CHAIN, 0, 10).await.unwrap(), [20, 30], "marks do not pass for entries");
            assert_eq!(view.entry_sizes(CHAIN, 0, 10).await.unwrap(), [size(20), size(30)]);
            assert_eq!(view.base_at(CHAIN, 19).await.unwrap(), None);
        }
        for base in [0, 10, 15] {
            assert_eq!(other.commit(CHAIN, base, entry(base, base + 1, 0)).await.unwrap(), Put::Exists, "{base}");
        }
        for view in [&store, &other] {
            assert_eq!(view.last_entry(CHAIN).await.unwrap(), Some((30, entry(30, 40, 0))));
        }
        assert_eq!(other.commit(CHAIN, 40, entry(40, 50, 0)).await.unwrap(), Put::Created);
        assert_eq!(store.last_entry(CHAIN).await.unwrap(), Some((40, entry(40, 50, 0))));
    }
}

#[tokio::test]
async fn names_come_back_however_odd_they_are() {
    let stores = stores().await;
    let long = "é/".repeat(85);
    let names = ["..", ".", "a/b", "a#1", "%2F", "climate", "mesures de l'air", "\\", "=", long.as_str()];
    for Tried { name, store, longest, .. } in &stores.list {
        println!("{name}");
        let mut sorted: Vec<_> = names.into_iter().filter(|log| log.len() * 3 <= *longest).collect();
        sorted.sort_unstable();
        store.create_epoch("a", 1, Bytes::from_static(b"epoch")).await.unwrap();
        for log in &sorted {
            store.commit(Chain { log, ..CHAIN }, 0, entry(0, log.len() as u64, 0)).await.unwrap();
        }
        assert_eq!(store.logs("a", None, 100).await.unwrap(), sorted);
        assert_eq!(store.logs("a", Some("a#1"), 2).await.unwrap(), ["a/b", "climate"]);
        for log in sorted {
            let last = store.last_entry(Chain { log, ..CHAIN }).await.unwrap();
            assert_eq!(last, Some((0, entry(0, log.len() as u64, 0))));
        }
        assert_eq!(store.agents(None, 10).await.unwrap(), ["a"]);
    }
    // Nothing was written beside the directory and the servers' folders.
    assert_eq!(std::fs::read_dir(stores.folder.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn leftovers_of_a_killed_hub_are_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(open_directory(folder.path()).unwrap());
    store.commit(CHAIN, 0, entry(0, 10, 0)).await.unwrap();
    let chain = folder.path().join("agents/a/logs/climate/0000000001");
    assert_eq!(std::fs::read_dir(&chain).unwrap().count(), 1, "a put leaves nothing beside its object");
    std::fs::write(chain.join("00000000000000000010#1"), b"ha").unwrap();
    std::fs::write(chain.join("notes.txt"), b"not ours").unwrap();
    assert_eq!(store.bases(CHAIN, 0, 10).await.unwrap(), [0]);
    assert_eq!(store.last_entry(CHAIN).await.unwrap(), Some((0, entry(0, 10, 0))));
    assert_eq!(store.commit(CHAIN, 10, entry(10, 11, 0)).await.unwrap(), Put::Created);
    assert_eq!(store.entry(CHAIN, 10).await.unwrap().unwrap(), entry(10, 11, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_at_one_place_exactly_one_succeeds() {
    for Tried { name, store, other, .. } in stores().await.list {
        println!("{name}");
        let pair = [store, other];
        for base in 0..20 {
            let tasks = (0..8).map(|task| {
                let store = Arc::clone(&pair[task % 2]);
                tokio::spawn(async move {
                    (task, store.commit(CHAIN, base, entry(base, base + 1, task as i64)).await.unwrap())
                })
            });
            let mut winners = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                let (task, put) = task.await.unwrap();
                winners.extend((put == Put::Created).then_some(task));
            }
            assert_eq!(winners.len(), 1, "{winners:?}");
            let stored = pair[0].entry(CHAIN, base).await.unwrap().unwrap();
            assert_eq!(stored, entry(base, base + 1, winners[0] as i64));
        }
    }
}

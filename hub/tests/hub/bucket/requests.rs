//! What reading and writing a bucket costs, in requests as the server counts them.

use bytes::Bytes;
use pyralog_hub::store::{Put, Store};

use super::{Bucket, open};
use crate::device::{Device, hub_on};
use crate::store::{CHAIN, entry};

/// Entries of the chain, each of so many records.
const ENTRIES: u64 = 5_000;
const ROWS: u64 = 37;

/// A long chain: real at its end, and elsewhere names alone.
async fn long_chain(bucket: &Bucket) -> u64 {
    let folder = bucket.file("agents/a/logs/climate/0000000001");
    std::fs::create_dir_all(&folder).unwrap();
    for base in (0..ENTRIES - 1).map(|index| index * ROWS) {
        std::fs::write(folder.join(format!("{base:020}")), b"").unwrap();
    }
    let last = (ENTRIES - 1) * ROWS;
    let store = bucket.store().await;
    assert_eq!(store.commit(CHAIN, last, entry(last, last + ROWS, 0)).await.unwrap(), Put::Created);
    store.note_schema(CHAIN, [7; 8]).await.unwrap();
    last
}

#[tokio::test]
async fn the_end_of_a_long_chain_is_found_in_a_few_requests() {
    let bucket = Bucket::new();
    let last = long_chain(&bucket).await;
    let store = open(&bucket.server.store("site/7")).await.unwrap();
    let mut before = bucket.server.counts();
    let mut spent = || {
        let now = bucket.server.counts();
        now.since(&std::mem::replace(&mut before, now))
    };
    assert_eq!(store.last_entry(CHAIN).await.unwrap().unwrap(), (last, entry(last, last + ROWS, 0)));
    let cold = spent();
    println!("end of {ENTRIES} entries, nothing known: {cold:?}");
    assert!(cold.lists <= 6 && cold.gets == 1 && cold.sum() == cold.lists + 1, "{cold:?}");

    assert_eq!(store.last_entry(CHAIN).await.unwrap().unwrap().0, last);
    let warm = spent();
    assert_eq!((warm.lists, warm.gets, warm.sum()), (1, 1, 2), "the end was known: {warm:?}");

    for offset in [0, 5, 1_000, ENTRIES * ROWS / 2, last + 1, u64::MAX] {
        let base = (offset / ROWS * ROWS).min(last);
        assert_eq!(store.base_at(CHAIN, offset).await.unwrap(), Some(base));
        let one = spent();
        println!("entry that holds {offset}: {one:?}");
        assert!(one.lists <= 6 && one.sum() == one.lists, "{offset}: {one:?}");
    }
    let bases = store.bases(CHAIN, last / 2, 100).await.unwrap();
    assert_eq!((bases.len(), bases[1] - bases[0]), (100, ROWS));
    assert_eq!(spent().sum(), 1);

    let next = last + ROWS;
    assert_eq!(store.commit(CHAIN, next, entry(next, next + 1, 0)).await.unwrap(), Put::Created);
    assert_eq!(spent().sum(), 2, "a put, and a look at what retention has deleted");
    assert_eq!(store.last_entry(CHAIN).await.unwrap().unwrap().0, next);
    assert_eq!(spent().sum(), 2);
    assert!(store.check().await.is_ok());
    assert_eq!(spent().sum(), 1);
}

#[tokio::test]
async fn a_commit_lists_marks_only_where_something_near_it_was_deleted() {
    let bucket = Bucket::new();
    let store = bucket.store().await;
    let bases: Vec<_> = (0..40).map(|index| index * 8_192).collect();
    for base in &bases {
        assert_eq!(store.commit(CHAIN, *base, entry(*base, base + 8_192, 0)).await.unwrap(), Put::Created);
    }
    let below = bases[30];
    store.put_trimmed(CHAIN, below, Bytes::from_static(b"mark")).await.unwrap();
    store.remove_entries(CHAIN, &bases[..30]).await.unwrap();
    let cost = async |base: u64, put: Put| {
        let before = bucket.server.counts();
        assert_eq!(store.commit(CHAIN, base, entry(base, base + 1, 0)).await.unwrap(), put, "{base}");
        let cost = bucket.server.counts().since(&before);
        (cost.puts, cost.lists, cost.sum())
    };
    let end = 40 * 8_192;
    assert_eq!(cost(end, Put::Created).await, (1, 0, 2));
    // Each of these names is free again.
    for base in &bases[..30] {
        assert_eq!(cost(*base, Put::Exists).await, (1, 1, 3));
    }
    // Everything up to the end is deleted, and the end is near it.
    let more = [&bases[30..], &[end]].concat();
    store.put_trimmed(CHAIN, end + 1, Bytes::from_static(b"mark")).await.unwrap();
    store.remove_entries(CHAIN, &more).await.unwrap();
    assert_eq!(cost(end + 1, Put::Created).await, (1, 2, 4), "and the mark that was known is gone");
    assert_eq!(cost(end + 2, Put::Created).await, (1, 1, 3));
}

#[tokio::test]
async fn a_register_is_one_listing_and_a_request_for_each_record() {
    let bucket = Bucket::new();
    let store = bucket.store().await;
    for position in 0..50 {
        store.put_register("a", 1, position, Bytes::from(format!("log {position}"))).await.unwrap();
    }
    let before = bucket.server.counts();
    assert_eq!(store.register("a", 1, 0).await.unwrap().len(), 50);
    let all = bucket.server.counts().since(&before);
    assert_eq!((all.lists, all.gets, all.sum()), (1, 50, 51));
    let before = bucket.server.counts();
    assert!(store.register("a", 1, 50).await.unwrap().is_empty());
    assert_eq!(bucket.server.counts().since(&before).sum(), 1, "nothing new");
}

#[tokio::test]
async fn a_batch_of_a_known_agent_costs_a_put_for_each_entry_and_little_else() {
    let bucket = Bucket::new();
    let hub = hub_on(bucket.store().await).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let first = device.segment(10);
    device.send(&hub.url(), &[first]).await;
    let before = bucket.server.counts();
    let pieces = [device.segment(10), device.segment(10), device.loss(3)];
    assert_eq!(device.send(&hub.url(), &pieces).await, 33);
    let batch = bucket.server.counts().since(&before);
    println!("a batch of three pieces: {batch:?}");
    // After each commit a look whether anything near it was ever deleted: no listing.
    assert_eq!((batch.puts, batch.lists), (3, 0), "{batch:?}");
    assert!(batch.sum() <= 11, "{batch:?}");
}

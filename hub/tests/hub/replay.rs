//! How long it takes to find a range of times in a long chain of small entries.

#![allow(clippy::print_stdout, reason = "it says what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use pyralog_hub::scan::{Found, Scan, Selection};
use pyralog_hub::store::{ObjectsStore, SharedStore, open_directory};

use crate::device::{Device, hub_on};

const ENTRIES: u64 = 10_000;
const ROWS: u32 = 10;

async fn filled(store: SharedStore) -> SharedStore {
    let hub = hub_on(SharedStore::clone(&store)).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    for _ in 0..ENTRIES / 1_000 {
        let pieces: Vec<_> = (0..1_000).map(|_| device.segment(ROWS)).collect();
        device.send(&hub.url(), &pieces).await;
    }
    store
}

async fn took(what: &str, store: &SharedStore, selection: Selection, expected: usize) {
    let began = Instant::now();
    let (mut scan, _) = Scan::open(SharedStore::clone(store), "board-17", "climate", selection).await.unwrap();
    let mut rows = 0;
    while let Some(found) = scan.next().await.unwrap() {
        let Found::Segment(segment) = found else { panic!("{found:?}") };
        rows += segment.rows.iter().map(ExactSizeIterator::len).sum::<usize>();
    }
    assert_eq!(rows, expected);
    println!("{what}: {rows} records in {:.2} s", began.elapsed().as_secs_f64());
}

async fn all_ranges(name: &str, store: &SharedStore) {
    let end = (ENTRIES * u64::from(ROWS)) as i64;
    let times =
        |from: i64, to: i64| Selection { from: Some(from * 1_000), to: Some(to * 1_000), ..Selection::default() };
    let whole = Selection::default();
    took(&format!("{name}, everything"), store, whole, end as usize).await;
    took(&format!("{name}, times: the last 100"), store, times(end - 100, end), 100).await;
    took(&format!("{name}, times: the first 100"), store, times(0, 100), 100).await;
    let offset = Selection { from_offset: Some(end as u64 - 100), ..Selection::default() };
    took(&format!("{name}, offsets: the last 100"), store, offset, 100).await;
}

async fn measure(folder: &Path) {
    println!("{ENTRIES} entries of {ROWS} records");
    let directory = filled(Arc::new(open_directory(folder).unwrap())).await;
    all_ranges("directory", &directory).await;
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    filled(Arc::new(ObjectsStore::new(Arc::clone(&memory), "memory"))).await;
    let wait = Duration::from_millis(30);
    let config = ThrottleConfig { wait_get_per_call: wait, wait_list_per_call: wait, ..ThrottleConfig::default() };
    let slow: SharedStore = Arc::new(ObjectsStore::new(Arc::new(ThrottledStore::new(memory, config)), "slow"));
    all_ranges("30 ms a request", &slow).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: `cargo test -p pyralog-hub --test hub replay -- --ignored --nocapture`"]
async fn a_range_of_times_in_a_long_chain() {
    let folder = tempfile::tempdir().unwrap();
    measure(folder.path()).await;
}

//! A small real store: made by a hub from real segments, with everything in it that a store can hold.

use std::path::{Path, PathBuf};

use pyralog_hub::run::Running;
use pyralog_segment::{Column, ColumnType, Schema};
use pyralog_sync_protocol::Epoch;
use pyralog_sync_protocol::frame::{Hello, LogHead, RefusalKind, Reply};

use crate::device::{Device, hub};

/// Agents and logs of the store.
pub const LOGS: [(&str, &str); 5] = [
    ("board-17", "climate"),
    ("board-17", "vibration / x"),
    ("board-17", "quiet"),
    ("board-18", "climate"),
    ("board-18", "host"),
];

/// One hello of a process that has all these logs.
pub async fn hello(url: &str, devices: &mut [&mut Device]) {
    let logs: Vec<_> =
        devices.iter().map(|device| LogHead { log: device.log.clone(), tail: 0, head: device.head }).collect();
    let mut after = Epoch(0);
    for _ in 0..2 {
        let first = &devices[0];
        let hello = Hello { incarnation: first.incarnation, epoch: None, after, logs: logs.clone() };
        match first.post(url, "hello", hello.encode()).await.1 {
            Reply::Hello(ack) => {
                devices.iter_mut().for_each(|device| device.epoch = ack.epoch);
                return;
            }
            Reply::Refusal(refusal) => match refusal.kind {
                RefusalKind::Newest { newest } => after = newest,
                _ => panic!("{refusal:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    panic!("no session");
}

pub fn wide(device: &mut Device) {
    let columns = vec![Column::new("v", ColumnType::F64), Column::new("w", ColumnType::F64)];
    device.schema = Schema::new(columns).unwrap();
}

/// Board 17: two epochs, the first with a loss, records that never came, and a log of which only the head was heard. Board 18:
/// one epoch, its chains of one entry each, which nothing but their names tells apart from each other.
pub async fn fill(folder: &Path) -> Running {
    let hub = hub(folder).await;
    let url = hub.url();
    let [mut climate, mut vibration, mut quiet] = ["climate", "vibration / x", "quiet"].map(|log| device(log, 1));
    hello(&url, &mut [&mut climate, &mut vibration]).await;
    let pieces = [climate.segment(6), climate.segment(3), climate.loss(4), climate.segment(2)];
    climate.send(&url, &pieces).await;
    wide(&mut climate);
    let piece = climate.segment(2);
    climate.send(&url, &[piece]).await;
    let piece = vibration.segment(5);
    vibration.send(&url, &[piece]).await;
    // Heard of, and gone with the agent's memory.
    climate.segment(3);
    quiet.segment(2);
    hello(&url, &mut [&mut climate, &mut vibration, &mut quiet]).await;

    let [mut climate, mut vibration] = ["climate", "vibration / x"].map(|log| device(log, 2));
    wide(&mut climate);
    climate.segment(4);
    hello(&url, &mut [&mut climate, &mut vibration]).await;
    let mut climate = Device { epoch: climate.epoch, ..device("climate", 2) };
    wide(&mut climate);
    let pieces = [climate.segment(4), climate.segment(1), climate.loss(2)];
    climate.send(&url, &pieces).await;
    let pieces = [vibration.segment(2), vibration.segment(2)];
    vibration.send(&url, &pieces).await;

    for log in ["climate", "host"] {
        let mut other = Device::new("board-18", log, 8);
        other.hello(&url).await;
        let piece = other.segment(4);
        other.send(&url, &[piece]).await;
    }
    hub
}

fn device(log: &str, incarnation: u8) -> Device {
    Device::new("board-17", log, incarnation)
}

/// Every object of a store: its name, relative to the store.
pub fn objects(folder: &Path) -> Vec<String> {
    let (mut open, mut found) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// What kind of object a name names.
pub fn kind(name: &str) -> &str {
    let parts: Vec<_> = name.split('/').collect();
    match parts.as_slice() {
        ["agents", _, "logs", _, _, "schemas", _] => "note",
        ["agents", _, "logs", _, _, "trimmed", _] => "mark",
        ["agents", _, "logs", _, _, "deleted", _] => "deletion",
        ["agents", _, "logs", _, _, _] => "entry",
        ["agents", _, kind, ..] => kind,
        _ => panic!("{name} belongs to nothing"),
    }
}

/// A folder for a store, in memory where that is to be had: hundreds of stores are made, and none must outlast a power cut.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Copies a store.
pub fn copy(from: &Path, to: &Path) {
    for name in objects(from) {
        let target: PathBuf = to.join(&name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&name), target).unwrap();
    }
}

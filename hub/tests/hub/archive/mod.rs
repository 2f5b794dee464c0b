//! `pyralog-hub archive`: what a store holds is in the lake, once, whatever is killed.

mod stops;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use pyralog_e2e_s3::{BUCKET, Misbehave, S3Server};
use pyralog_hub::archive::{Archiver, Round, open_lake};
use pyralog_hub::run::Running;
use pyralog_hub::store::{StoreUrl, open_directory};
use pyralog_segment::{Column, ColumnType, Schema};

use crate::damage::kinds::Seeded;
use crate::device::{self, Device};

/// The values of `v` in the lake's files, by agent, epoch and offset; a record that is there twice fails the test.
type Records = BTreeMap<(String, i64, i64), Option<f64>>;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            // As engines do: what begins with `_` is not data.
            true if !name.starts_with('_') => found.extend(files(&path)),
            false if name.ends_with(".parquet") => found.push(path),
            _ => {}
        }
    }
    found
}

fn rows(folder: &Path) -> Vec<BTreeMap<String, Field>> {
    let mut found = Vec::new();
    for file in files(folder) {
        let reader = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            found.push(row.unwrap().get_column_iter().map(|(name, value)| (name.clone(), value.clone())).collect());
        }
    }
    found
}

fn long(field: &Field) -> i64 {
    match field {
        Field::Long(value) | Field::TimestampMicros(value) => *value,
        other => panic!("{other:?}"),
    }
}

fn records(lake: &Path, log: &str) -> Records {
    let mut records = Records::new();
    for row in rows(&lake.join(format!("log={log}"))) {
        let Field::Str(agent) = &row["agent"] else { panic!("{row:?}") };
        let (epoch, offset) = (long(&row["epoch"]), long(&row["offset"]));
        // The devices of these tests write one record each microsecond.
        assert_eq!(long(&row["time"]), offset);
        let value = match row.get("v") {
            Some(Field::Double(value)) => Some(*value),
            _ => None,
        };
        let before = records.insert((agent.clone(), epoch, offset), value);
        assert!(before.is_none(), "{agent} epoch {epoch} offset {offset} is there twice");
    }
    records
}

/// What `log` of one device should be: all offsets but those that were lost.
fn expect(records: &mut Records, agent: &str, epoch: i64, offsets: std::ops::Range<i64>) {
    records.extend(offsets.map(|offset| ((agent.to_owned(), epoch, offset), Some(offset as f64 + 0.5))));
}

async fn once(store: &Path, lake: &Path) -> Round {
    let lake = open_lake(&StoreUrl::Directory(lake.into())).await.unwrap();
    let round = Archiver::new(Arc::new(open_directory(store).unwrap()), lake, None).round().await.unwrap();
    assert!(round.failed.is_empty(), "{:?}", round.failed);
    round
}

fn program(store: &Path, lake: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-hub"));
    command.args(["archive", "--once", "--log", "warn", "--store"]).arg(store).arg("--lake").arg(lake);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(store: &Path, lake: &Path) -> (Output, String) {
    let mut command = program(store, lake);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

struct World {
    folder: tempfile::TempDir,
    hub: Running,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = device::hub(&folder.path().join("store")).await;
        Self { folder, hub }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    async fn device(&self, agent: &str, incarnation: u8) -> Device {
        let mut device = Device::new(agent, "climate", incarnation);
        device.hello(&self.hub.url()).await;
        device
    }
}

#[tokio::test]
async fn every_record_is_in_the_lake_once_and_every_receipt_in_its_table() {
    let world = World::new().await;
    let (mut a, mut b) = (world.device("a", 1).await, world.device("b.2", 2).await);
    let pieces = [a.segment(10), a.loss(5), a.segment(20)];
    a.send(&world.hub.url(), &pieces).await;
    let pieces = [b.segment(7)];
    b.send(&world.hub.url(), &pieces).await;
    let round = once(&world.store(), &world.lake()).await;
    assert_eq!((round.records, round.receipts, round.logs, round.files), (37, 1, 1, 1));

    // The same agent after a crash, and more of the other.
    let mut again = world.device("a", 3).await;
    let pieces = [again.segment(4)];
    again.send(&world.hub.url(), &pieces).await;
    let pieces = [b.segment(3)];
    b.send(&world.hub.url(), &pieces).await;
    assert_eq!(once(&world.store(), &world.lake()).await.records, 7);
    assert_eq!(once(&world.store(), &world.lake()).await.records, 0);

    let mut expected = Records::new();
    for (agent, epoch, offsets) in [("a", 1, 0..10), ("a", 1, 15..35), ("a", 2, 0..4), ("b.2", 1, 0..10)] {
        expect(&mut expected, agent, epoch, offsets);
    }
    assert_eq!(records(&world.lake(), "climate"), expected);
    let receipts = rows(&world.lake().join("receipts"));
    let [receipt] = &receipts[..] else { panic!("{receipts:?}") };
    let text = |name: &str| receipt[name].to_string();
    assert_eq!(
        (text("agent"), text("log"), text("reason")),
        ("\"a\"".into(), "\"climate\"".into(), "\"evicted\"".into())
    );
    assert_eq!((text("from_offset"), text("to_offset"), text("records")), ("10".into(), "15".into(), "5".into()));
}

#[tokio::test]
async fn a_new_column_widens_the_table_and_a_name_of_ours_gets_its_type_as_a_suffix() {
    let world = World::new().await;
    let mut device = world.device("a", 1).await;
    let pieces = [device.segment(3)];
    device.send(&world.hub.url(), &pieces).await;
    once(&world.store(), &world.lake()).await;
    let columns = ["v", "agent", "Date"].map(|name| Column::new(name, ColumnType::F64)).to_vec();
    device.schema = Schema::new(columns).unwrap();
    let pieces = [device.segment(2)];
    device.send(&world.hub.url(), &pieces).await;
    once(&world.store(), &world.lake()).await;
    // Both rounds were of a day long past, and became one file.
    let rows = rows(&world.lake().join("log=climate"));
    assert_eq!(rows.len(), 5);
    for row in rows {
        let offset = long(&row["offset"]);
        let wide = if offset < 3 { Field::Null } else { Field::Double(offset as f64 + 0.5) };
        assert_eq!((&row["agent__f64"], &row["Date__f64"]), (&wide, &wide));
        assert_eq!(row["v"], Field::Double(offset as f64 + 0.5));
    }
}

#[tokio::test]
async fn what_is_damaged_is_left_out_named_and_archived_once_it_is_repaired() {
    let world = World::new().await;
    let mut device = world.device("a", 1).await;
    let pieces = [device.segment(3), device.segment(3), device.segment(3)];
    device.send(&world.hub.url(), &pieces).await;
    let entry = world.store().join("agents/a/logs/climate/0000000001/00000000000000000003");
    let sound = std::fs::read(&entry).unwrap();
    std::fs::write(&entry, &sound[..sound.len() - 1]).unwrap();
    for _ in 0..2 {
        let (output, said) = run(&world.store(), &world.lake()).await;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("left out: agents/a/logs/climate/0000000001/00000000000000000003"), "{said}");
        assert!(said.contains("1 damaged entries were left out"), "{said}");
    }
    let mut expected = Records::new();
    expect(&mut expected, "a", 1, 0..3);
    expect(&mut expected, "a", 1, 6..9);
    assert_eq!(records(&world.lake(), "climate"), expected);
    std::fs::write(&entry, &sound).unwrap();
    let (output, said) = run(&world.store(), &world.lake()).await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    expect(&mut expected, "a", 1, 3..6);
    assert_eq!(records(&world.lake(), "climate"), expected);
}

#[tokio::test]
async fn archivers_that_are_killed_at_any_point_and_run_at_once_give_every_record_once() {
    let world = World::new().await;
    let mut devices = [world.device("a", 1).await, world.device("b", 2).await];
    let mut random = Seeded(20_261_123);
    let (mut kills, mut losses) = (0, 0);
    for _ in 0..25 {
        for device in &mut devices {
            let mut pieces = vec![device.segment(200)];
            if random.below(3) == 0 {
                pieces.push(device.loss(10));
                losses += 1;
            }
            device.send(&world.hub.url(), &pieces).await;
        }
        let mut archivers = [0, 1].map(|_| program(&world.store(), &world.lake()).spawn().unwrap());
        for archiver in &mut archivers {
            tokio::time::sleep(Duration::from_micros(random.below(60_000) as u64)).await;
            archiver.kill().unwrap();
            kills += u32::from(!archiver.wait().unwrap().success());
        }
    }
    assert!(kills > 0, "every archiver was faster than its killer");
    let both = [run(&world.store(), &world.lake()).await, run(&world.store(), &world.lake()).await];
    assert!(both.iter().all(|(output, _)| output.status.success()), "{both:?}");
    let found = records(&world.lake(), "climate");
    let lost: usize = rows(&world.lake().join("receipts")).iter().map(|row| long(&row["records"]) as usize).sum();
    assert_eq!(lost, losses * 10);
    assert_eq!(found.len(), 25 * 2 * 200);
    assert!(found.iter().all(|((.., offset), value)| *value == Some(*offset as f64 + 0.5)));
    // All is of one day long past: at rest it is one file.
    assert_eq!(files(&world.lake().join("log=climate")).len(), 1);
}

#[tokio::test]
async fn what_is_no_lake_is_refused_with_the_remedy() {
    let world = World::new().await;
    let mut device = world.device("a", 1).await;
    let pieces = [device.segment(3)];
    device.send(&world.hub.url(), &pieces).await;
    std::fs::create_dir(world.lake()).unwrap();
    std::fs::write(world.lake().join("holiday.jpg"), b"x").unwrap();
    let (output, said) = run(&world.store(), &world.lake()).await;
    assert!(output.status.code() == Some(2) && said.contains("name an empty or a new folder"), "{said}");
    std::fs::remove_file(world.lake().join("holiday.jpg")).unwrap();
    assert_eq!(once(&world.store(), &world.lake()).await.records, 3);

    let commit = world.lake().join("log=climate/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&commit).unwrap();
    for (from, to, words) in [
        ("pyralog.table", "someone.elses", "it was not made by pyralog-hub"),
        (r#"\"type\":\"double\""#, r#"\"type\":\"long\""#, "its column `v` was changed to \"long\""),
        (r#""minReaderVersion":1"#, r#""minReaderVersion":3"#, "reader version 3"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&commit, text.replace(from, to)).unwrap();
        let (output, said) = run(&world.store(), &world.lake()).await;
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
    std::fs::write(&commit, text).unwrap();
    let other = World::new().await;
    let mut device = other.device("a", 9).await;
    let pieces = [device.segment(5)];
    device.send(&other.hub.url(), &pieces).await;
    let (output, said) = run(&other.store(), &world.lake()).await;
    assert!(output.status.code() == Some(1) && said.contains("as another store had it"), "{said}");
    let nothing = world.folder.path().join("nothing");
    let (output, said) = run(&nothing, &world.lake()).await;
    assert!(output.status.code() == Some(2) && said.contains("there is no store at"), "{said}");
}

#[tokio::test]
async fn a_lake_may_be_in_a_bucket_that_keeps_what_exists() {
    let world = World::new().await;
    let mut device = world.device("a", 1).await;
    let pieces = [device.segment(10), device.loss(5), device.segment(5)];
    device.send(&world.hub.url(), &pieces).await;
    let files = world.folder.path().join("s3");
    let server = S3Server::start(&files).unwrap();
    let archive = |lake: String| {
        let mut command = program(&world.store(), lake.as_ref());
        command.envs(S3Server::environment());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    for expected in ["archived 15 records and 1 receipts", "archived 0 records"] {
        let output = archive(server.store("lakes/one")).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.starts_with(expected), "{output:?}");
    }
    let mut expected = Records::new();
    expect(&mut expected, "a", 1, 0..10);
    expect(&mut expected, "a", 1, 15..20);
    assert_eq!(records(&files.join(BUCKET).join("lakes/one"), "climate"), expected);

    let missing = server.store("x").replace(BUCKET, "nowhere");
    let output = archive(missing).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("there is no bucket nowhere"), "{said}");
    server.misbehave(Misbehave::IgnoreConditions);
    let output = archive(server.store("lakes/two")).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("honours If-None-Match"), "{said}");
}

#[tokio::test]
async fn what_retention_deleted_before_it_was_archived_is_counted_and_is_no_damage() {
    let world = World::new().await;
    let mut device = world.device("a", 1).await;
    let trim = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-hub"));
        command.args(["trim", "--max-bytes", "1B", "--store"]).arg(world.store());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let pieces = [device.segment(3), device.segment(3)];
    device.send(&world.hub.url(), &pieces).await;
    once(&world.store(), &world.lake()).await;
    let pieces = [device.segment(4), device.segment(5)];
    device.send(&world.hub.url(), &pieces).await;
    let trimmed = trim().await.unwrap();
    assert!(trimmed.status.success(), "{trimmed:?}");
    let round = once(&world.store(), &world.lake()).await;
    assert_eq!((round.records, round.gone, round.damaged_count), (5, 4, 0));
    let mut expected = Records::new();
    expect(&mut expected, "a", 1, 0..6);
    expect(&mut expected, "a", 1, 10..15);
    assert_eq!(records(&world.lake(), "climate"), expected);
    let round = once(&world.store(), &world.lake()).await;
    assert_eq!((round.records, round.gone, round.damaged_count), (0, 0, 0));
}

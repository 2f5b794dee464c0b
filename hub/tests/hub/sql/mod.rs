//! SQL: every record once, wherever it is at the moment; nothing read that a query is not about; nothing given out damaged.

mod limits;
mod races;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use pyralog_e2e_s3::S3Server;
use pyralog_hub::archive::{Archiver, open_lake};
use pyralog_hub::auth::Auth;
use pyralog_hub::config::Config;
use pyralog_hub::run::{Running, start_on};
use pyralog_hub::store::{StoreUrl, open_directory};
use pyralog_segment::{Column, ColumnType, Schema};
use serde_json::{Value, json};

use crate::damage::kinds::Seeded;
use crate::device::{Device, client, config};

/// A day of a device's clock, in records: one each microsecond.
const DAY: u64 = 86_400_000_000;

pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) hub: Running,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A hub that knows its lake, with other settings changed.
    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { lake: Some(StoreUrl::Directory(folder.path().join("lake"))), ..config() };
        change(&mut config);
        let store = Arc::new(open_directory(&folder.path().join("store")).unwrap());
        let hub = start_on(&config, Auth::open(config.tokens.clone()).unwrap(), store).await.unwrap();
        let world = Self { folder, hub };
        world.archive().await;
        world
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    pub(super) async fn device(&self, agent: &str, log: &str, incarnation: u8) -> Device {
        let mut device = Device::new(agent, log, incarnation);
        device.hello(&self.hub.url()).await;
        device
    }

    /// Makes the lake, and moves what there is into it.
    pub(super) async fn archive(&self) {
        let lake = open_lake(&StoreUrl::Directory(self.lake())).await.unwrap();
        let round = Archiver::new(Arc::new(open_directory(&self.store()).unwrap()), lake, None).round().await.unwrap();
        assert!(round.failed.is_empty(), "{:?}", round.failed);
    }

    fn program(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-hub"));
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    pub(super) async fn trim(&self) {
        let (store, arguments) = (self.store().display().to_string(), ["trim", "--max-bytes", "1B", "--store"]);
        let output = self.program(&[&arguments[..], &[&store]].concat());
        assert!(output.status.success(), "{output:?}");
    }

    async fn ask(&self, parameters: &str, sql: &str) -> Answer {
        let url = format!("{}/v1/sql{parameters}", self.hub.url());
        let response = client().post(url).body(sql.to_owned()).send().await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (scanned, retry_after) = (header("x-pyralog-scanned"), header("retry-after"));
        Answer { status: response.status().as_u16(), scanned, retry_after, body: response.text().await }
    }

    /// The rows of an answer.
    pub(super) async fn rows(&self, sql: &str) -> Vec<Value> {
        let answer = self.ask("", sql).await;
        let body = answer.body.unwrap();
        assert_eq!(answer.status, 200, "{sql}: {body}");
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What a query that must fail is told.
    async fn refused(&self, sql: &str) -> (u16, String) {
        let answer = self.ask("", sql).await;
        let body: Value = serde_json::from_str(&answer.body.unwrap()).unwrap();
        (answer.status, body["error"].as_str().unwrap().to_owned())
    }
}

struct Answer {
    status: u16,
    scanned: String,
    retry_after: String,
    body: Result<String, reqwest::Error>,
}

#[tokio::test]
async fn every_record_is_there_once_wherever_it_is() {
    let world = World::new().await;
    let (mut a, mut b) = (world.device("a", "climate", 1).await, world.device("b", "climate", 2).await);
    let mut random = Seeded(20_261_123);
    let (mut sent, mut lost) = (0, 0);
    for round in 0..12 {
        for device in [&mut a, &mut b] {
            let rows = 1 + random.below(300) as u32;
            let mut pieces = vec![device.segment(rows)];
            sent += u64::from(rows);
            if random.below(3) == 0 {
                pieces.push(device.loss(10));
                lost += 10;
            }
            device.send(&world.hub.url(), &pieces).await;
        }
        match random.below(4) {
            0 => world.archive().await,
            1 => {
                // What is deleted from the store is in the lake.
                world.archive().await;
                world.trim().await;
            }
            2 => a = world.device("a", "climate", 10 + round).await,
            _ => {}
        }
        let sql = "SELECT count(*) AS n, count(DISTINCT concat(agent, epoch, ':', \"offset\")) AS different, \
                   sum(CASE WHEN v = \"offset\" + 0.5 AND to_unixtime(time) * 0 = 0 THEN 1 ELSE 0 END) AS right FROM climate";
        assert_eq!(world.rows(sql).await, [json!({"n": sent, "different": sent, "right": sent})], "round {round}");
        let receipts =
            world.rows("SELECT coalesce(sum(records), 0) AS lost FROM _receipts WHERE log = 'climate'").await;
        assert_eq!(receipts, [json!({ "lost": lost })], "round {round}");
    }
    let agents =
        world.rows("SELECT agent, epoch, logs, opened_at > '2020-01-01' AS late FROM _agents ORDER BY agent").await;
    let epoch = u64::from(a.epoch.0);
    assert_eq!(agents[0], json!({"agent": "a", "epoch": epoch, "logs": 1, "late": true}));
    assert_eq!(agents[1], json!({"agent": "b", "epoch": 1, "logs": 1, "late": true}));
}

#[tokio::test]
async fn a_time_a_date_or_an_agent_decides_which_files_and_chains_are_read() {
    let world = World::new().await;
    let (mut a, mut b) = (world.device("a", "climate", 1).await, world.device("b", "climate", 2).await);
    // Three days in the lake, each of both agents.
    for day in 0..3 {
        for device in [&mut a, &mut b] {
            let pieces = [device.segment(10), device.loss(DAY - 10)];
            device.send(&world.hub.url(), &pieces).await;
            if day < 2 {
                world.archive().await;
            }
        }
    }
    for device in [&mut a, &mut b] {
        let pieces = [device.segment(5)];
        device.send(&world.hub.url(), &pieces).await;
    }
    for (wanted, rows, scanned) in [
        ("true", 70, "files=2/2 chains=2/2"),
        ("agent = 'a'", 35, "files=2/2 chains=1/2"),
        ("agent LIKE 'b%'", 35, "files=2/2 chains=1/2"),
        ("agent IN ('x', 'y')", 0, "files=0/2 chains=0/2"),
        ("epoch = 2", 0, "files=0/2 chains=0/2"),
        ("date = '1970-01-02'", 20, "files=1/2 chains=2/2"),
        ("date > '1970-01-02'", 30, "files=0/2 chains=2/2"),
        ("time < '1970-01-01T00:00:00.000005Z'", 10, "files=1/2 chains=2/2"),
        (
            "time BETWEEN '1970-01-02T00:00:00Z' AND '1970-01-02T00:00:00.000003Z' AND agent = 'b'",
            4,
            "files=1/2 chains=1/2",
        ),
        ("\"offset\" >= 86400000000 AND \"offset\" < 172800000000", 20, "files=1/2 chains=2/2"),
        ("v > 1e12", 0, "files=2/2 chains=2/2"),
    ] {
        let answer = world.ask("", &format!("SELECT * FROM climate WHERE {wanted}")).await;
        let found = answer.body.unwrap().lines().count();
        assert_eq!((answer.status, found, answer.scanned.as_str()), (200, rows, scanned), "{wanted}");
    }
    // A limit without conditions ends early, and gives as many as it says.
    assert_eq!(world.rows("SELECT * FROM climate LIMIT 7").await.len(), 7);
}

#[tokio::test]
async fn what_is_damaged_fails_a_query_by_its_name_or_is_left_out_where_that_is_asked_for() {
    let world = World::new().await;
    let mut device = world.device("a", "climate", 1).await;
    let pieces = [device.segment(10), device.segment(10), device.segment(10)];
    device.send(&world.hub.url(), &pieces).await;
    let entry = world.store().join("agents/a/logs/climate/0000000001/00000000000000000010");
    let bytes = std::fs::read(&entry).unwrap();
    std::fs::write(&entry, &bytes[..bytes.len() - 1]).unwrap();
    let counted = "SELECT count(*) AS n FROM climate";
    for archived in [false, true] {
        // In the store at first; then as what the lake has not.
        let (status, error) = world.refused(counted).await;
        let named =
            if archived { "from offset 10 to 20" } else { "agents/a/logs/climate/0000000001/00000000000000000010" };
        assert_eq!(status, 500, "{error}");
        assert!([named, "pyralog-hub verify", "damaged=skip"].iter().all(|words| error.contains(words)), "{error}");
        let answer = world.ask("?damaged=skip", counted).await;
        assert_eq!((answer.status, answer.body.unwrap().trim()), (200, r#"{"n":20}"#));
        assert!(world.rows("SELECT * FROM climate WHERE agent = 'b'").await.is_empty());
        world.archive().await;
    }
    let store = world.store().display().to_string();
    let lake = world.lake().display().to_string();
    let output =
        world.program(&["sql", counted, "--skip-damaged", "--format", "csv", "--store", &store, "--lake", &lake]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(1), "n\n20\n"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 damaged places were left out"), "{output:?}");
    std::fs::write(&entry, &bytes).unwrap();
    world.archive().await;
    assert_eq!(world.rows(counted).await, [json!({"n": 30})]);
}

#[tokio::test]
async fn tables_and_columns_are_found_and_what_is_not_there_is_told_with_what_is() {
    let world = World::new().await;
    let mut device = world.device("a", "Plant/Line 1", 1).await;
    let columns = [("v", ColumnType::F64), ("Temp", ColumnType::F64)].map(|(name, ty)| Column::new(name, ty)).to_vec();
    device.schema = Schema::new(columns).unwrap();
    let pieces = [device.segment(3)];
    device.send(&world.hub.url(), &pieces).await;
    let shown = world.rows("SHOW TABLES").await;
    let names: Vec<_> =
        shown.iter().filter(|row| row["table_schema"] == "public").map(|row| &row["table_name"]).collect();
    assert_eq!(names, ["Plant/Line 1", "_agents", "_receipts"]);
    let described = world.rows("DESCRIBE \"Plant/Line 1\"").await;
    let columns: Vec<_> = described.iter().map(|row| row["column_name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["agent", "epoch", "offset", "time", "time_nanos", "v", "Temp", "date"]);
    let rows = world.rows("SELECT \"Temp\", time, date FROM \"Plant/Line 1\" ORDER BY time DESC LIMIT 1").await;
    assert_eq!(rows, [json!({"Temp": 2.5, "time": "1970-01-01T00:00:00.000002Z", "date": "1970-01-01"})]);
    for (sql, status, words) in [
        (
            "SELECT * FROM plant",
            400,
            "there is no table \"plant\": each log is one, as are _agents and _receipts. Here: ",
        ),
        ("SELECT * FROM plant", 400, "\"Plant/Line 1\""),
        ("SELECT Temp FROM \"Plant/Line 1\"", 400, "double quotes"),
        ("SELEC 1", 400, "SELEC"),
        ("SELECT 1/0", 400, "ivide by zero"),
        ("SELECT CAST('x' AS INT)", 400, "'x'"),
        ("SELECT 1; SELECT 2", 400, "single"),
        ("", 400, "the body is the query"),
    ] {
        let (found, error) = world.refused(sql).await;
        assert!(found == status && error.contains(words), "{sql}: {found} {error}");
    }
}

#[tokio::test]
async fn answers_come_in_every_format_and_in_every_type() {
    let world = World::new().await;
    let mut device = world.device("a", "climate", 1).await;
    let pieces = [device.segment(2)];
    device.send(&world.hub.url(), &pieces).await;
    let sql = "SELECT \"offset\", v, time, CAST(NULL AS INT) AS nothing, 'a,b' AS text FROM climate ORDER BY 1";
    let of = |format: &'static str| world.ask(format, sql);
    let ndjson = of("?format=ndjson").await.body.unwrap();
    let first = r#"{"offset":0,"v":0.5,"time":"1970-01-01T00:00:00Z","nothing":null,"text":"a,b"}"#;
    assert_eq!(ndjson.lines().next(), Some(first));
    let csv = of("?format=csv").await.body.unwrap();
    assert_eq!(
        csv.lines().collect::<Vec<_>>()[..2],
        ["offset,v,time,nothing,text", "0,0.5,1970-01-01T00:00:00Z,,\"a,b\""]
    );
    let table = of("?format=table").await.body.unwrap();
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["offset", "v", "time", "nothing", "text"]);
    assert_eq!((lines[3][1], lines[4].join(" ")), ("1.5", "(2 rows)".to_owned()));
    let url = format!("{}/v1/sql", world.hub.url());
    let arrow =
        client().post(url).header("accept", "application/vnd.apache.arrow.stream").body(sql).send().await.unwrap();
    let arrow = arrow.bytes().await.unwrap();
    let reader = arrow_ipc::reader::StreamReader::try_new(std::io::Cursor::new(arrow), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    // Nothing found is an answer too: a header, and an end.
    let none = "SELECT v FROM climate WHERE v < 0";
    assert_eq!(world.ask("?format=csv", none).await.body.unwrap(), "v\n");
    assert_eq!(world.ask("?format=ndjson", none).await.body.unwrap(), "");
    assert!(world.ask("?format=table", none).await.body.unwrap().ends_with("(0 rows)\n"));
    assert_eq!(world.ask("?format=xml", none).await.status, 400);
}

#[tokio::test]
async fn the_command_asks_a_hub_or_the_store_itself() {
    let world = World::new().await;
    let mut device = world.device("a", "climate", 1).await;
    for _ in 0..2 {
        let pieces = [device.segment(4)];
        device.send(&world.hub.url(), &pieces).await;
        if device.head == 4 {
            world.archive().await;
            world.trim().await;
        }
    }
    let (store, lake, url) = (world.store().display().to_string(), world.lake().display().to_string(), world.hub.url());
    let sql = "SELECT count(*) AS n FROM climate";
    let ran = async |arguments: Vec<String>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-hub"));
        command.arg("sql").args(arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let all = |more: &[&str]| more.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    for arguments in [all(&[sql, "--url", &url]), all(&[sql, "--store", &store, "--lake", &lake])] {
        let (code, out, err) = ran(arguments).await;
        assert_eq!((code, out.as_str()), (Some(0), "n\n-\n8\n(1 row)\n"), "{err}");
    }
    let (code, out, _) = ran(all(&[sql, "--store", &store, "--lake", &lake, "--format", "csv"])).await;
    assert_eq!((code, out.as_str()), (Some(0), "n\n8\n"));
    for (arguments, code, words) in [
        (all(&["SELECT * FROM clima", "--store", &store]), 2, "Here: climate"),
        (all(&["SELECT * FROM clima", "--url", &url]), 1, "Here: climate"),
        (all(&[sql, "--store", &store, "--lake", "/nowhere/at/all"]), 2, "there is no lake at"),
        (all(&[sql, "--store", "/nowhere/at/all"]), 2, "there is no store at"),
    ] {
        let (found, _, err) = ran(arguments).await;
        assert!(found == Some(code) && err.contains(words), "{found:?} {err}");
    }
}

#[tokio::test]
async fn a_lake_in_a_bucket_is_asked_like_any_other() {
    let world = World::new().await;
    let mut device = world.device("a", "climate", 1).await;
    let pieces = [device.segment(10)];
    device.send(&world.hub.url(), &pieces).await;
    let server = S3Server::start(&world.folder.path().join("s3")).unwrap();
    let (store, lake) = (world.store().display().to_string(), server.store("lakes/one"));
    let run = |arguments: Vec<String>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog-hub"));
        command.args(arguments).envs(S3Server::environment()).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let archive = ["archive", "--once", "--store", &store, "--lake", &lake].map(str::to_owned).to_vec();
    assert!(run(archive).await.unwrap().status.success());
    let pieces = [device.segment(5)];
    device.send(&world.hub.url(), &pieces).await;
    let sql = "SELECT count(*) AS n, sum(v) AS v FROM climate";
    let asked = ["sql", sql, "--format", "csv", "--store", &store, "--lake", &lake].map(str::to_owned).to_vec();
    let output = run(asked).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n,v\n15,112.5\n", "{output:?}");
}

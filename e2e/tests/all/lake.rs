//! Sensors, agents, a hub, its store, a lake, and the engines that people read lakes with: all see what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use pyralog_e2e::agent::Options;
use pyralog_e2e::dataset::{Cell, Dataset, Kind, Row};
use pyralog_e2e::hub::Hub;
use pyralog_e2e::nats::Cluster;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, generate, python, wait};
use serde_json::{Value, json};

use crate::sql;

/// Engines that `cargo xtask setup` installs.
const ENGINES: [&str; 5] = ["duckdb", "polars", "polars-delta", "pyarrow", "delta"];

/// Four days of readings whose sums are exact in any order.
fn steady(rows: usize) -> Dataset {
    let columns = [("room", Kind::Tag), ("temp", Kind::F64), ("load", Kind::F64)];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
    let mut random = generate::Random::new(5);
    let rows = (0..rows as i64).map(|index| {
        let room = Cell::Text(format!("room {}", random.below(7)));
        let temp = Cell::F64(random.below(4_000) as f64 / 8.0 - 100.0);
        let load = (random.below(5) > 0).then(|| Cell::F64(random.below(1 << 20) as f64));
        Row { time: 1_700_000_000_123_456_789 + index * 40_000_000_000, cells: vec![Some(room), Some(temp), load] }
    });
    Dataset { columns, rows: rows.collect() }
}

/// Sends a data set as a log's records, half by one agent and half by another, and waits until the hub has them.
async fn store(hub: &Hub, folder: &Path, log: &str, data: &Dataset) -> Result<()> {
    let half = data.rows.len() / 2;
    for (agent, rows) in [("east", 0..half), ("west", half..data.rows.len())] {
        let name = format!("{agent}-{log}");
        let agent = Options::new(&name).upstream(hub.address).start(folder).await?;
        for from in rows.clone().step_by(20_000) {
            agent.write(data.line_protocol(log, from..rows.end.min(from + 20_000))).await?;
        }
        agent.drained(log, wait::LONG).await?;
    }
    Ok(())
}

fn archive(hub: &Hub, lake: &Path) -> Result<String> {
    let mut command = Command::new(binary("pyralog-hub")?);
    command.args(["archive", "--once", "--store", &hub.store_url(), "--lake"]).arg(lake);
    let out = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(said) } else { Err(said.into()) }
}

/// What a column holds, as the script says it: count, sum (of text: how many different ones), least, greatest.
pub(crate) fn summary(data: &Dataset, index: usize) -> [Value; 4] {
    let cells = || data.rows.iter().filter_map(|row| row.cells.get(index)?.as_ref());
    let texts: BTreeSet<_> =
        cells().filter_map(|cell| if let Cell::Text(text) = cell { Some(text) } else { None }).collect();
    let count = cells().count() as f64;
    if let (Some(least), Some(most)) = (texts.first(), texts.last()) {
        return [json!(count), json!(texts.len() as f64), json!(least), json!(most)];
    }
    let numbers = cells().map(|cell| match cell {
        Cell::F64(value) => *value,
        Cell::Bool(value) => f64::from(u8::from(*value)),
        Cell::Text(_) => f64::NAN,
    });
    let (sum, least, most) = numbers.fold((0.0, f64::INFINITY, f64::NEG_INFINITY), |(sum, least, most), value| {
        (sum + value, f64::min(least, value), f64::max(most, value))
    });
    [json!(count), json!(sum), json!(least), json!(most)]
}

/// Whether two summaries say the same; engines add in orders of their own.
pub(crate) fn same(found: &[Value], sent: &[Value; 4]) -> bool {
    let close = |found: f64, sent: f64| (found - sent).abs() <= sent.abs() * 1e-12;
    let sums = || found.get(1).and_then(Value::as_f64).zip(sent[1].as_f64());
    let (mut found_rest, mut sent_rest) = (found.to_vec(), sent.to_vec());
    if sums().is_some_and(|(found, sent)| close(found, sent)) {
        (found_rest[1], sent_rest[1]) = (Value::Null, Value::Null);
    }
    found_rest == sent_rest
}

/// Compares what an engine reads with what was sent: each column's count, sum, least and greatest.
async fn agrees(engine: &str, lake: &Path, log: &str, data: &Dataset) -> Result<()> {
    let kind = |kind| match kind {
        Kind::F64 => "number",
        Kind::Bool => "bool",
        Kind::Tag | Kind::Text => "text",
    };
    let columns: Vec<_> = data.columns.iter().map(|(name, of)| format!("{name}:{}", kind(*of))).collect();
    let table = lake.join(format!("log={log}"));
    let script = include_str!("../../python/read_lake.py");
    let read = python::run(script, &[engine, &table.to_string_lossy(), &columns.join(",")]).await?;
    let read: Value = serde_json::from_str(read.lines().next_back().unwrap_or_default())?;
    let times = || data.rows.iter().map(|row| row.time.div_euclid(1_000));
    let days: BTreeSet<_> = times().map(|time| time.div_euclid(86_400_000_000)).collect();
    let sent = json!({ "rows": data.rows.len(), "first": times().min(), "last": times().max(), "dates": days.len() });
    for (key, value) in sent.as_object().into_iter().flatten() {
        assert_eq!(&read[key], value, "{engine}, log {log}: {key}");
    }
    assert_eq!(read["columns"]["offset"][0], json!(data.rows.len() as f64), "{engine}, log {log}");
    for (index, (name, _)) in data.columns.iter().enumerate() {
        let found = read["columns"][name].as_array().ok_or_else(|| format!("{engine} has no {name}: {read}"))?;
        let sent = summary(data, index);
        assert!(same(found, &sent), "{engine}, log {log}, column {name}: {found:?}, and not {sent:?}");
    }
    Ok(())
}

#[tokio::test]
async fn duckdb_polars_pyarrow_and_delta_read_from_the_lake_what_was_sent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    let lake = folder.path().join("lake");
    let mut data = steady(8_000);
    let late = data.rows.split_off(6_000);
    store(&hub, folder.path(), "climate", &data).await?;
    archive(&hub, &lake)?;
    sql::agrees(&hub, &lake, "climate", &data)?;
    // A second round, with a column more.
    let mut columns = data.columns.clone();
    columns.push(("humidity".to_owned(), Kind::F64));
    let wider = |mut row: Row| {
        row.cells.push(Some(Cell::F64(0.5)));
        row
    };
    let late = Dataset { columns: columns.clone(), rows: late.into_iter().map(wider).collect() };
    let agent = Options::new("late").upstream(hub.address).start(folder.path()).await?;
    // As many commits as make a checkpoint of the table's log; the days are long past, so that each round compacts too.
    for from in (0..late.rows.len()).step_by(200) {
        agent.write(late.line_protocol("climate", from..from + 200)).await?;
        agent.drained("climate", wait::LONG).await?;
        archive(&hub, &lake)?;
    }
    assert!(lake.join("log=climate/_delta_log/_last_checkpoint").is_file());
    for row in &mut data.rows {
        row.cells.push(None);
    }
    data.rows.extend(late.rows);
    let data = Dataset { columns, rows: data.rows };
    for engine in ENGINES {
        agrees(engine, &lake, "climate", &data).await?;
    }
    sql::agrees(&hub, &lake, "climate", &data)
}

/// Every file of a lake, with its length.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, meta) = (entry.path(), entry.metadata()?);
        match meta.is_dir() {
            true => found.extend(files(&path)?),
            false => found.extend([(path, meta.len())]),
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_jetstream_cluster_holds_is_archived_once_also_while_a_server_is_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start(folder.path(), 3).await?;
    let outcome = from_a_cluster(folder.path(), &mut cluster).await;
    outcome.map_err(|error| format!("{error}\n{}", cluster.said()).into())
}

async fn from_a_cluster(folder: &Path, cluster: &mut Cluster) -> Result<()> {
    let mut hub = Hub::absent(folder)?;
    hub.keep_in(format!("{}?replicas=3", cluster.url("FLEET")));
    hub.up().await?;
    let lake = folder.join("lake");
    let mut data = steady(6_000);
    let late = Dataset { columns: data.columns.clone(), rows: data.rows.split_off(4_000) };
    store(&hub, folder, "climate", &data).await?;
    let said = archive(&hub, &lake)?;
    assert!(said.contains("archived 4,000 records and 0 receipts"), "{said}");
    let before = files(&lake)?;
    let said = archive(&hub, &lake)?;
    assert!(said.contains("archived 0 records and 0 receipts"), "{said}");
    assert_eq!(files(&lake)?, before);

    let leader = wait::until("a leader", wait::LONG, async || cluster.leader("FLEET").await).await?;
    cluster.kill(leader);
    let agent = Options::new("late").upstream(hub.address).start(folder).await?;
    agent.write(late.line_protocol("climate", 0..late.rows.len())).await?;
    agent.drained("climate", wait::LONG).await?;
    data.rows.extend(late.rows);
    // A third of it is in the streams alone.
    sql::agrees(&hub, &lake, "climate", &data)?;
    let said = archive(&hub, &lake)?;
    assert!(said.contains("archived 2,000 records and 0 receipts"), "{said}");
    let said = archive(&hub, &lake)?;
    assert!(said.contains("archived 0 records and 0 receipts"), "{said}");
    sql::agrees(&hub, &lake, "climate", &data)?;
    for engine in ["duckdb", "pyarrow"] {
        agrees(engine, &lake, "climate", &data).await?;
    }
    Ok(())
}

/// `PYRALOG_DATA` names a folder of data sets; `PYRALOG_ENGINES` engines, e.g. `duckdb,spark`; `PYRALOG_PYTHON` the interpreter that has
/// them, as `cargo xtask setup` installs no Spark.
#[tokio::test]
#[ignore = "reads real data sets, which are not in the repository: by hand, PYRALOG_DATA=DIR cargo test -p pyralog-e2e -- --ignored real_data_sets"]
async fn real_data_sets_are_in_the_lake_as_they_were_sent() -> Result<()> {
    let sets = PathBuf::from(std::env::var("PYRALOG_DATA")?);
    let engines = std::env::var("PYRALOG_ENGINES").unwrap_or_else(|_| ENGINES.join(","));
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    let lake = folder.path().join("lake");
    let logs = ["air-quality", "occupancy", "wisdm-imu"];
    let sets: Vec<_> =
        logs.iter().map(|log| Dataset::load(&sets.join(format!("{log}.csv.gz")))).collect::<Result<_>>()?;
    archive(&hub, &lake)?;
    for (log, data) in logs.iter().zip(&sets) {
        store(&hub, folder.path(), log, data).await?;
        // Before it is archived, and afterwards.
        let begun = Instant::now();
        sql::agrees(&hub, &lake, log, data)?;
        let fresh = begun.elapsed().as_secs_f64();
        println!("{log}: {}", archive(&hub, &lake)?.trim());
        let begun = Instant::now();
        sql::agrees(&hub, &lake, log, data)?;
        println!(
            "SQL agrees on {log}: {fresh:.1} s from the store, {:.1} s from the lake",
            begun.elapsed().as_secs_f64()
        );
    }
    for engine in engines.split(',') {
        for (log, data) in logs.iter().zip(&sets) {
            let begun = Instant::now();
            agrees(engine, &lake, log, data).await?;
            let (rows, columns) = (data.rows.len(), data.columns.len());
            println!(
                "{engine} agrees on {log}: {rows} rows, {columns} columns, {:.1} s",
                begun.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}

//! Sensors, agents, a hub, its store, a lake, and the engines that people read lakes with: all see what was sent.

use std::path::{Path, PathBuf};
use std::process::Command;

use pyralog_e2e::agent::Options;
use pyralog_e2e::dataset::{Cell, Dataset, Kind, Row};
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, generate, python, wait};
use serde_json::Value;

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
    command.args(["archive", "--once", "--store"]).arg(&hub.store).arg("--lake").arg(lake);
    let out = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(said) } else { Err(said.into()) }
}

/// Compares what an engine reads with what was sent.
async fn agrees(engine: &str, lake: &Path, log: &str, data: &Dataset) -> Result<()> {
    let floats: Vec<_> = data.columns.iter().enumerate().filter(|(_, (_, kind))| *kind == Kind::F64).collect();
    let names: Vec<_> = floats.iter().map(|(_, (name, _))| name.as_str()).collect();
    let table = lake.join(format!("log={log}"));
    let script = include_str!("../../python/read_lake.py");
    let read = python::run(script, &[engine, &table.to_string_lossy(), &names.join(",")]).await?;
    let read: Value = serde_json::from_str(read.lines().next_back().unwrap_or_default())?;
    let times = || data.rows.iter().map(|row| row.time.div_euclid(1_000));
    let days: std::collections::BTreeSet<_> = times().map(|time| time.div_euclid(86_400_000_000)).collect();
    let sent = serde_json::json!({ "rows": data.rows.len(), "first": times().min(), "last": times().max(), "dates": days.len() });
    for (key, value) in sent.as_object().into_iter().flatten() {
        assert_eq!(&read[key], value, "{engine}, log {log}: {key}");
    }
    for (index, (name, _)) in floats {
        let cells = data.rows.iter().filter_map(|row| match row.cells.get(index) {
            Some(Some(Cell::F64(value))) => Some(*value),
            _ => None,
        });
        let values: Vec<_> = cells.collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = values.iter().sum();
        let found: Vec<f64> = serde_json::from_value(read["columns"][name].clone())?;
        let what = format!("{engine}, log {log}, column {name}: {found:?}");
        assert_eq!((found[0], found[2], found[3]), (values.len() as f64, least, most), "{what}");
        // Engines add in orders of their own.
        assert!((found[1] - sum).abs() <= sum.abs() * 1e-12, "{what}, and not {sum}");
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
    Ok(())
}

/// `PYRALOG_DATA` names a folder of data sets; `PYRALOG_ENGINES` engines, e.g. `duckdb,spark`.
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
    for (log, data) in logs.iter().zip(&sets) {
        store(&hub, folder.path(), log, data).await?;
        println!("{log}: {}", archive(&hub, &lake)?.trim());
    }
    for engine in engines.split(',') {
        for (log, data) in logs.iter().zip(&sets) {
            agrees(engine, &lake, log, data).await?;
            println!("{engine} agrees on {log}: {} rows", data.rows.len());
        }
    }
    Ok(())
}

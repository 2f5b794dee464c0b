//! Boards without a battery: the clock starts in 1970, and is set when there is a network.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::{Result, wait};
use serde_json::Value;

const DAY_NS: i64 = 86_400_000_000_000;

/// The library that gives a program another clock: `faketime`, by where Debian and others keep it.
fn another_clock() -> Result<PathBuf> {
    let lib = Path::new("/usr/lib");
    let folders = std::fs::read_dir(lib)?.filter_map(|entry| Some(entry.ok()?.path())).chain([lib.to_owned()]);
    let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|path| path.is_file());
    found.next().ok_or_else(|| "libfaketime is not there: cargo xtask setup".into())
}

/// The records of a log as the hub gives them.
async fn records(hub: &Hub, log: &str) -> Result<Vec<Value>> {
    let lines = hub.page(&format!("/v1/agents/board/logs/{log}/records")).await?;
    Ok(lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}

#[tokio::test]
async fn times_of_a_clock_that_was_never_set_are_told_and_can_be_set_right() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "@1970-01-01 00:00:10")?;
    let agent = Options::new("board")
        .upstream(hub.address)
        .env("LD_PRELOAD", &another_clock()?.display().to_string())
        .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("TZ", "UTC")
        .start(folder.path())
        .await?;
    agent.write("climate temp=1\n".to_owned()).await?;
    let early = wait::until("the hub's clock", wait::LONG, async || {
        let status = agent.status().await?;
        Ok(status["clock"]["hub_offset_s"].as_f64().is_some().then_some(status))
    });
    let early = early.await?;
    assert_eq!(early["clock"]["state"], "unset", "{early}");
    assert!(early["clock"]["hub_offset_s"].as_f64() > Some(1.7e9), "{early}");
    std::fs::write(&clock, "+0")?;
    let late = wait::until("the step", wait::LONG, async || {
        let status = agent.status().await?;
        Ok((status["clock"]["steps"] == 1).then_some(status))
    });
    let late = late.await?;
    assert_eq!(late["clock"]["state"], "set", "{late}");
    assert!(late["clock"]["hub_offset_s"].as_f64().is_some_and(|offset| offset.abs() < 600.0), "{late}");
    let steps = wait::until("what the clock did", wait::LONG, async || {
        let records = records(&hub, "_clock").await?;
        Ok((records.len() == 2).then_some(records))
    });
    let steps = steps.await?;
    assert!(steps[0]["state"] == "unset" && steps[0]["was"].is_null(), "at first it was only found out: {steps:?}");
    let was = steps[1]["was"].as_i64().ok_or("no time before")?;
    let step = steps[1]["step_ns"].as_i64().ok_or("no step")?;
    let time = records(&hub, "climate").await?[0]["time"].as_i64().ok_or("no time")?;
    assert!(time < was && was < DAY_NS, "{time} and {was}");
    let right = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    assert!((time + step).abs_diff(right) < 600_000_000_000, "{} is not today", time + step);
    Ok(())
}

//! Stopping, bad configuration, and the command lines of both programs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::scenario::{HTTP_LOG, send_http};
use pyralog_e2e::{Result, generate, python, wait};

async fn command(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(binary(program)?);
    command.args(args);
    python::output(program, command).await
}

#[tokio::test]
async fn an_agent_that_is_told_to_stop_ships_what_it_has_and_exits_0() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    // So long an interval that only the stop can ship.
    let mut agent = Options::new("board").upstream(hub.address).set("sync.interval", "1h").start(folder.path()).await?;
    let data = generate::weather(9, 500);
    send_http(&agent, &data, 0..500).await?;
    let status = agent.process.terminate(Duration::from_secs(30)).await?;
    assert_eq!(status.code(), Some(0), "{}", agent.process.said());
    let stored = hub.records("board", HTTP_LOG).await?;
    assert_eq!(stored.len(), 500);
    stored.equals(&data, 0)?;
    Ok(())
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_named_with_file_line_and_nearest_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (program, key, near) in
        [("pyralog-agent", "max_memroy", "max_memory"), ("pyralog-hub", "max_bach", "max_batch")]
    {
        let section = if program == "pyralog-agent" { "storage" } else { "limits" };
        let file = folder.path().join("bad.toml");
        std::fs::write(&file, format!("# mine\n[{section}]\n{key} = \"1MiB\"\n"))?;
        let out = Command::new(binary(program)?).args(["serve", "--config"]).arg(&file).output()?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{said}");
        for word in ["bad.toml:3", key, near] {
            assert!(said.contains(word), "no {word} in: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_command_lines_of_both_tell_the_same_account() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    let agent = Options::new("board").upstream(hub.address).start(folder.path()).await?;
    let data = generate::weather(10, 300);
    send_http(&agent, &data, 0..300).await?;
    agent.drained(HTTP_LOG, wait::LONG).await?;

    let status = command("pyralog-agent", &["status", "--url", &agent.url, "--json"]).await?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    assert_eq!(status["logs"][HTTP_LOG]["committed"], 300);
    let of_agent = command("pyralog-agent", &["read", HTTP_LOG, "--url", &agent.url, "--format", "csv"]).await?;
    assert_eq!(of_agent.lines().count(), 301);

    let url = hub.url();
    let agents = command("pyralog-hub", &["agents", "--url", &url]).await?;
    assert!(agents.contains("board"), "{agents}");
    let account = command("pyralog-hub", &["account", "--agent", "board", "--log", HTTP_LOG, "--url", &url]).await?;
    assert!(account.contains("300"), "{account}");
    let read = ["read", "--agent", "board", "--log", HTTP_LOG, "--format", "csv", "--url", &url];
    let of_hub = command("pyralog-hub", &read).await?;
    // The hub's rows begin with the epoch, which the agent's do not have.
    let without_epoch: Vec<_> =
        of_hub.lines().map(|line| line.split_once(',').map_or(line, |(_, rest)| rest)).collect();
    assert_eq!(without_epoch, of_agent.lines().collect::<Vec<_>>());
    hub.verify()?;
    Ok(())
}

/// A file that is not empty; the store has empty ones whose name says all.
fn file_below(folder: PathBuf) -> Result<PathBuf> {
    let mut paths = vec![folder];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                paths.push(entry?.path());
            }
        } else if path.metadata()?.len() > 0 {
            return Ok(path);
        }
    }
    Err("no file has anything in it".into())
}

#[tokio::test]
async fn one_flipped_byte_in_the_store_is_found_by_verify() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    let agent = Options::new("board").upstream(hub.address).start(folder.path()).await?;
    send_http(&agent, &generate::weather(11, 500), 0..500).await?;
    agent.drained(HTTP_LOG, wait::LONG).await?;
    hub.verify()?;
    let entry = file_below(hub.store.join("agents/board/logs"))?;
    let mut bytes = std::fs::read(&entry)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entry, bytes)?;
    let error = hub.verify().err().ok_or("verify saw nothing")?.to_string();
    assert!(error.contains("board") && error.contains(HTTP_LOG), "{error}");
    Ok(())
}

//! Firmware at a real agent: the program for this machine over a Unix socket, and the same code on an emulated Cortex-M0.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use firmware_sidecar::{DEVICE, LOG, Reading};
use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::process::{Process, binary};
use pyralog_e2e::{Result, http, wait};
use serde_json::{Value, json};

/// What a device is stopped for, until the agent has all that was under way.
const QUIET: Duration = Duration::from_millis(300);

fn options(socket: &Path) -> Options {
    Options::new("board").set("sidecar.listen", &format!("unix:{}", socket.display()))
}

/// The readings of each life of the device that are in the agent's ring, in their order; each is compared with what was sent.
async fn readings(agent: &Agent) -> Result<Vec<u64>> {
    let path = format!("/v1/logs/{LOG}/records?limit=1000000");
    let bytes =
        http::bytes(agent.request(reqwest::Method::GET, &path).header("accept", "application/x-ndjson")).await?;
    let mut numbers = Vec::new();
    for line in String::from_utf8(bytes)?.lines() {
        let mut record: BTreeMap<String, Value> = serde_json::from_str(line)?;
        let time = record.remove("time").and_then(|time| time.as_i64()).ok_or("a record without a time")?;
        let age = i128::try_from(std::time::UNIX_EPOCH.elapsed()?.as_nanos())? - i128::from(time);
        assert!((0..120_000_000_000).contains(&age), "{line}: {age} ns old");
        record.remove("offset");
        let n = record["n"].as_u64().ok_or("a record without its number")?;
        let sent = Reading::new(u32::try_from(n)?);
        let expected = json!({
            "device": DEVICE, "station": sent.station, "n": n, "temp": sent.temp, "steps": sent.steps,
            "closed": sent.closed, "phase": sent.phase, "raw": base64(sent.raw),
        });
        assert_eq!(serde_json::to_value(record)?, expected);
        numbers.push(n);
    }
    Ok(numbers)
}

/// Three bytes as four characters.
fn base64([a, b, c]: [u8; 3]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize])).iter().collect()
}

async fn device(agent: &Agent) -> Result<Value> {
    Ok(agent.status().await?["sidecar"]["devices"][DEVICE].clone())
}

/// Waits until the agent has so many records of the log.
async fn accepted(agent: &Agent, least: u64) -> Result<()> {
    wait::until(&format!("{least} readings"), wait::LONG, async || {
        let taken = agent.log(LOG).await?.accepted;
        if taken >= least { Ok(Some(())) } else { Err(format!("{taken} so far: {}", device(agent).await?).into()) }
    })
    .await
}

/// Stops the device, lets the agent take what is under way, and gives what it has.
async fn quiesce(device: &Process, agent: &Agent) -> Result<Vec<u64>> {
    device.signal("STOP")?;
    let mut before = u64::MAX;
    wait::until("the agent to have all that was under way", wait::LONG, async || {
        let taken = agent.log(LOG).await?.accepted;
        let is_quiet = std::mem::replace(&mut before, taken) == taken;
        tokio::time::sleep(QUIET).await;
        Ok(is_quiet.then_some(()))
    })
    .await?;
    readings(agent).await
}

/// How many records devices dropped, as the agent knows.
async fn dropped(agent: &Agent) -> Result<u64> {
    Ok(device(agent).await?["dropped"].as_u64().ok_or("no count of dropped ones")?)
}

/// Waits until the agent has heard all of a life of `count` readings.
async fn heard(agent: &Agent, count: u64) -> Result<()> {
    wait::until("all readings", wait::LONG, async || {
        let next = device(agent).await?["next"].as_u64();
        if next == Some(count) { Ok(Some(())) } else { Err(format!("the agent waits for {next:?} of {count}").into()) }
    })
    .await
}

fn assert_in_order_and_none_twice(numbers: &[u64]) {
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

/// One life of a device of `count` readings, in which the agent is killed and started again. Gives the agent that then has
/// the rest.
async fn agent_is_killed(device: Process, agent: Agent, options: &Options, folder: &Path, count: u64) -> Result<Agent> {
    accepted(&agent, count / 4).await?;
    let before = quiesce(&device, &agent).await?;
    assert_in_order_and_none_twice(&before);
    let mut killed = agent;
    killed.process.kill();
    let agent = options.start(folder).await?;
    device.signal("CONT")?;
    heard(&agent, count).await?;
    let after = readings(&agent).await?;
    assert_in_order_and_none_twice(&after);
    let all: BTreeSet<_> = before.iter().chain(&after).collect();
    let (missing, dropped) = (count - all.len() as u64, dropped(&agent).await?);
    let again = before.len() + after.len() - all.len();
    // It may have dropped what the killed agent had, and had not told it of.
    assert!(missing <= dropped, "{missing} missing, {dropped} dropped");
    let taken = before.len();
    eprintln!("{count} readings: {taken} before the agent was killed, {again} of them again, {missing} dropped");
    Ok(agent)
}

fn host(socket: &Path, boot: u64, count: u64) -> Result<Process> {
    let mut command = Command::new(binary("firmware-sidecar")?);
    command.arg("--socket").arg(socket).args(["--boot", &boot.to_string(), "--count", &count.to_string()]);
    command.args(["--interval-us", "5000"]);
    Process::start("firmware-sidecar", command)
}

#[tokio::test]
async fn firmware_on_this_machine_loses_nothing_uncounted_when_the_agent_is_killed_or_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("s.sock");
    let options = options(&socket);
    let agent = options.start(folder.path()).await?;
    let agent = agent_is_killed(host(&socket, 1, 600)?, agent, &options, folder.path(), 600).await?;

    // The device is killed: its buffer is all that may be gone.
    let (before, dropped_before) = (readings(&agent).await?.len(), dropped(&agent).await?);
    let mut second = host(&socket, 2, 10_000)?;
    accepted(&agent, before as u64 + 200).await?;
    second.kill();
    let _third = host(&socket, 3, 200)?;
    wait::until("the third life", wait::LONG, async || {
        Ok((device(&agent).await?["boot"] == "0000000000000003").then_some(()))
    })
    .await?;
    heard(&agent, 200).await?;
    let all = readings(&agent).await?.split_off(before);
    let turn = 1 + all.windows(2).position(|pair| pair[0] >= pair[1]).ok_or("one life only")?;
    let (lives, gone) = (all.split_at(turn), dropped(&agent).await? - dropped_before);
    assert_in_order_and_none_twice(lives.0);
    assert_in_order_and_none_twice(lives.1);
    assert!(lives.1.len() as u64 + gone >= 200, "{} of 200, {gone} dropped", lives.1.len());
    let reached = lives.0.last().copied().unwrap_or(0) + 1;
    assert!(lives.0.len() as u64 + gone >= reached, "{} of {reached}, {gone} dropped", lives.0.len());
    Ok(())
}

/// The emulator, and the program for it; or why it cannot be run.
fn emulator(socket: &Path) -> std::result::Result<Command, String> {
    let program = std::env::var_os("PYRALOG_QEMU").unwrap_or_else(|| "qemu-system-arm".into());
    let found = Command::new(&program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        let program = program.display();
        return Err(format!(
            "{program} does not run; `apt-get install qemu-system-arm`, or set PYRALOG_QEMU to its path"
        ));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let firmware = target.join("thumbv6m-none-eabi/firmware/board");
    if !firmware.is_file() {
        return Err(format!("{} is missing; run `cargo xtask test no-std` first", firmware.display()));
    }
    let mut command = Command::new(program);
    command.args([
        "-machine",
        "microbit",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "chardev:link",
        "-chardev",
    ]);
    command.arg(format!("socket,id=link,path={},reconnect=1", socket.display())).arg("-kernel").arg(firmware);
    Ok(command)
}

#[tokio::test]
async fn firmware_on_an_emulated_cortex_m0_loses_nothing_uncounted_when_the_agent_is_killed() -> Result<()> {
    const COUNT: u64 = 400;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("s.sock");
    let command = match emulator(&socket) {
        Ok(command) => command,
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            return Ok(());
        }
    };
    let options = options(&socket);
    let agent = options.start(folder.path()).await?;
    let board = Process::start("qemu-system-arm", command)?;
    let agent = agent_is_killed(board, agent, &options, folder.path(), COUNT).await?;

    // Another life, with a boot id of its own from the chip's random numbers.
    let (before, dropped_before) = (readings(&agent).await?.len(), dropped(&agent).await?);
    let command = emulator(&socket)?;
    let _board = Process::start("qemu-system-arm", command)?;
    wait::until("the second life", wait::LONG, async || Ok((device(&agent).await?["boots"] == 2).then_some(())))
        .await?;
    heard(&agent, COUNT).await?;
    let (all, gone) = (readings(&agent).await?.split_off(before), dropped(&agent).await? - dropped_before);
    assert_in_order_and_none_twice(&all);
    assert_eq!(all.len() as u64 + gone, COUNT, "what is missing was dropped, and told");
    Ok(())
}

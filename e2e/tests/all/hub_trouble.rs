//! A hub that cannot store, or will not let the agent in: the agent keeps its data and says what to do.

use std::process::Command;
use std::time::Duration;

use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::{binary, free_address};
use pyralog_e2e::scenario::{HTTP_LOG, send_http};
use pyralog_e2e::{Result, generate, python, wait};

const ROWS: usize = 3_000;

/// Waits until the agent's status tells of a failed exchange; its words.
async fn complaint(agent: &Agent) -> Result<String> {
    wait::until("the agent to complain", wait::LONG, async || {
        let status = agent.status().await?;
        Ok(status["sync"]["last_error"].as_str().map(str::to_owned))
    })
    .await
}

#[tokio::test]
async fn a_hub_whose_store_is_broken_says_busy_and_gets_everything_once_it_is_mended() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hub = Hub::absent(folder.path())?;
    hub.set("sync.retry_after", "1s");
    hub.up().await?;
    // Where the hub keeps its agents there is a file: no name below it can be made.
    let agents = hub.store.join("agents");
    let _ = std::fs::remove_dir_all(&agents);
    std::fs::write(&agents, "in the way")?;
    let agent = Options::new("board").upstream(hub.address).start(folder.path()).await?;
    let data = generate::weather(6, ROWS);
    send_http(&agent, &data, 0..ROWS).await?;
    complaint(&agent).await?;
    assert_eq!(agent.log(HTTP_LOG).await?.pending, ROWS as u64);
    std::fs::remove_file(&agents)?;
    agent.drained(HTTP_LOG, wait::LONG).await?;
    let stored = hub.records("board", HTTP_LOG).await?;
    assert_eq!(stored.len(), ROWS);
    stored.equals(&data, 0)?;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_at_the_hub_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hub = Hub::absent(folder.path())?;
    hub.set("sync.retry_after", "1s");
    std::fs::create_dir_all(&hub.store)?;
    // A disk of a few pages, in a mount name space of the hub's own; it ends with the hub.
    let (store, address) = (hub.store.display().to_string(), free_address()?.to_string());
    let script =
        r#"mount -t tmpfs -o size=48k,nr_inodes=2000 tmpfs "$1" && exec "$2" serve --listen "$3" --store "file://$1""#;
    let probe = Command::new("unshare").args(["--mount", "--", "true"]).output();
    if !probe.is_ok_and(|out| out.status.success()) {
        println!("not run: this machine does not let us mount a small disk (`unshare --mount` needs root)");
        return Ok(());
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", script, "sh", &store]).arg(binary("pyralog-hub")?).arg(address);
    command.env("PYRALOG_SYNC__RETRY_AFTER", "1s");
    hub.run(command).await?;
    let agent = Options::new("board").upstream(hub.address).start(folder.path()).await?;
    let data = generate::weather(7, 20_000);
    send_http(&agent, &data, 0..20_000).await?;
    let words = complaint(&agent).await?;
    println!("the agent says: {words}");
    let account = agent.log(HTTP_LOG).await?;
    assert_eq!((account.accepted, account.lost()), (20_000, 0));
    assert!(account.pending > 0, "{account:?} fits on the small disk");
    // The same hub, now with room: what the small disk had is gone with it, so the agent meets an empty store.
    assert!(hub.process().is_some_and(|process| process.is_running()), "the hub died of a full disk");
    Ok(())
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_the_agent_names_the_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (tokens, token) = (folder.path().join("tokens"), folder.path().join("board.token"));
    let mut new = Command::new(binary("pyralog-hub")?);
    new.args(["token", "new", "--agent", "board", "--tokens"]).arg(&tokens);
    let printed = python::output("pyralog-hub token new", new).await?;
    let right = printed.split_whitespace().last().ok_or("no token printed")?.to_owned();
    std::fs::write(&token, "not-the-token\n")?;

    let mut hub = Hub::absent(folder.path())?;
    hub.set("tokens", &tokens.display().to_string());
    hub.up().await?;
    let options = Options::new("board").upstream(hub.address).set("sync.token_file", &token.display().to_string());
    let mut agent = options.start(folder.path()).await?;
    let data = generate::weather(8, 100);
    send_http(&agent, &data, 0..100).await?;
    let words = complaint(&agent).await?;
    assert!(words.contains(&token.display().to_string()), "{words}");
    assert_eq!(agent.log(HTTP_LOG).await?.pending, 100);

    agent.process.terminate(Duration::from_secs(30)).await?;
    std::fs::write(&token, format!("{right}\n"))?;
    let agent = options.start(folder.path()).await?;
    send_http(&agent, &data, 0..100).await?;
    assert_eq!(agent.drained(HTTP_LOG, wait::LONG).await?.committed, 100);
    Ok(())
}

#[tokio::test]
async fn an_agent_tells_when_a_store_has_lost_what_was_committed_and_sends_it_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hub = Hub::start(folder.path()).await?;
    let mut agent = Options::new("board").upstream(hub.address).start(folder.path()).await?;
    let data = generate::weather(12, ROWS);
    send_http(&agent, &data, 0..ROWS / 2).await?;
    agent.drained(HTTP_LOG, wait::LONG).await?;
    hub.kill();
    // The newest end of a chain: nothing in the store can tell that it was there.
    let chain = hub.store.join("agents/board/logs").join(HTTP_LOG).join("0000000001");
    let entries = std::fs::read_dir(&chain)?.collect::<Result<Vec<_>, _>>()?;
    let last = entries.iter().map(|entry| entry.path()).filter(|path| path.is_file()).max().ok_or("no entry")?;
    std::fs::remove_file(last)?;
    hub.verify()?;
    hub.up().await?;
    send_http(&agent, &data, ROWS / 2..ROWS).await?;
    agent
        .process
        .find("the agent to tell of it", |said| said.contains("has lost what the hub had").then_some(()))
        .await?;
    assert_eq!(agent.drained(HTTP_LOG, wait::LONG).await?.committed, ROWS as u64);
    hub.records("board", HTTP_LOG).await?.equals(&data, 0)?;
    hub.verify()?;
    Ok(())
}

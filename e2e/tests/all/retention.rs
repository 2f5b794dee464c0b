//! A hub that deletes while an agent streams to it, and is killed meanwhile: the account stays whole.

use std::fmt::Write;
use std::process::{Command, Output};
use std::time::Duration;

use pyralog_e2e::agent::Options;
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use pyralog_e2e::{Result, wait};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 12;
const RECORDS: u64 = 200;

fn hub_command(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("pyralog-hub")?).args(arguments).output()?)
}

#[tokio::test]
async fn a_hub_that_deletes_and_is_killed_meanwhile_accounts_for_every_record_all_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hub = Hub::absent(folder.path())?;
    hub.set("retention.log", "[{ log = \"clim*\", max_bytes = \"500B\" }]");
    hub.set("retention.interval", "100ms");
    hub.up().await?;
    let agent = Options::new("board-9").upstream(hub.address).start(folder.path()).await?;
    for round in 0..ROUNDS {
        let mut lines = String::new();
        for record in round * RECORDS..(round + 1) * RECORDS {
            writeln!(lines, "climate,room=a temp={}.5,n={record}i {}", record % 40, (record + 1) * 1_000)?;
        }
        agent.write(lines).await?;
        agent.drained("climate", LIMIT).await?;
        if round % 4 == 2 {
            hub.kill();
            hub.up().await?;
        }
    }
    let total = ROUNDS * RECORDS;
    let deleted = async || -> Result<serde_json::Value> {
        let account: serde_json::Value = serde_json::from_str(&hub.page("/v1/agents/board-9/logs/climate").await?)?;
        Ok(account["epochs"][0]["deleted"].clone())
    };
    let deleted = wait::until("retention to delete half", LIMIT, async || {
        let deleted = deleted().await?;
        Ok(deleted["records"].as_u64().is_some_and(|records| records > total / 2).then_some(deleted))
    })
    .await?;
    let account = &hub.account("board-9", "climate").await?[0];
    assert_eq!((account.committed, account.next_offset), (total, total), "{account:?}");
    assert_eq!(agent.log("climate").await?.committed, total);
    hub.kill();
    hub.verify()?;

    // By hand, without any hub: first what it would do, then the rest but for the last entry.
    let store = hub.store.to_string_lossy().into_owned();
    let trim = |more: &[&str]| {
        let mut arguments = vec!["trim", "--store", &store, "--max-bytes", "0"];
        arguments.extend(more);
        hub_command(&arguments)
    };
    let would = trim(&["--dry-run"])?;
    let said = String::from_utf8(would.stdout)?;
    assert!(would.status.success() && said.contains("would be deleted: "), "{said}");
    let done = trim(&["--log", "climate"])?;
    assert_eq!(String::from_utf8(done.stdout)?, said.replace("would be deleted", "deleted"));
    let wrong = trim(&["--agent", "board-8"])?;
    assert!(!wrong.status.success() && String::from_utf8(wrong.stderr)?.contains("holds nothing of that agent"));
    hub.verify()?;

    hub.up().await?;
    let url = hub.url();
    let log = ["--agent", "board-9", "--log", "climate", "--url", &url];
    let read = hub_command(&[&["read"], log.as_slice()].concat())?;
    let left = String::from_utf8(read.stdout)?.lines().count() as u64;
    let note = String::from_utf8(read.stderr)?;
    assert!(note.contains(&format!("1/{}", total - left)), "{left} records are left: {note}");
    let shown = String::from_utf8(hub_command(&[&["account"], log.as_slice()].concat())?.stdout)?;
    assert!(shown.contains("DELETED") && shown.contains("2,400"), "{shown}");
    assert!(deleted["below"].as_u64() <= Some(total - left));

    // And the agent goes on.
    agent.write(format!("climate,room=a temp=1,n=1i {}\n", (total + 1) * 1_000)).await?;
    agent.drained("climate", LIMIT).await?;
    assert_eq!(hub.account("board-9", "climate").await?[0].committed, total + 1);
    Ok(())
}

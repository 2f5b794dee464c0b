//! Accounted to the last record, on a small scale; `prove` does the same with real data.

use std::time::Duration;

use pyralog_e2e::process::resident_limit;
use pyralog_e2e::scenario::{crash, fence, overflow, round_trip};
use pyralog_e2e::{Result, generate};

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_hub_killed_thrice_while_records_stream_has_each_of_them_once_and_the_agent_writes_nothing_to_disk()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("{}", round_trip::run(folder.path(), &generate::weather(1, 8_000), LIMIT).await?);
    Ok(())
}

#[tokio::test]
async fn what_a_small_ring_loses_is_receipted_to_the_record_and_memory_stays_under_its_cap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let size = overflow::Size { max_memory: "4MiB", max_resident: resident_limit(4 << 20), rounds: 20, limit: LIMIT };
    println!("{}", overflow::run(folder.path(), &generate::weather(2, 20_000), &size).await?);
    Ok(())
}

#[tokio::test]
async fn an_agent_killed_while_it_drains_comes_back_as_a_new_epoch_and_the_rest_is_receipted_as_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("{}", crash::run(folder.path(), &generate::weather(3, 40_000), LIMIT).await?);
    Ok(())
}

#[tokio::test]
async fn of_two_agents_with_one_name_the_older_is_fenced_and_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("{}", fence::run(folder.path(), &generate::weather(4, 1_000), LIMIT).await?);
    Ok(())
}

//! Two agents with one name: the older is fenced, says so, and keeps what it has.

use std::path::Path;
use std::time::Duration;

use super::{Figures, HTTP_LOG, ensure, send_http};
use crate::agent::Options;
use crate::dataset::Dataset;
use crate::hub::Hub;
use crate::{Result, wait};

const AGENT: &str = "board-4";

/// Runs it: the older sends the first half, the newer the second, the older the first again.
///
/// # Errors
/// When the older is not fenced, is silent about it, or anything of its later records arrives.
pub async fn run(folder: &Path, data: &Dataset, limit: Duration) -> Result<Figures> {
    let half = data.rows.len() / 2;
    let hub = Hub::start(folder).await?;
    let options = Options::new(AGENT).upstream(hub.address);
    let older = options.start(folder).await?;
    send_http(&older, data, 0..half).await?;
    older.drained(HTTP_LOG, limit).await?;
    let newer = options.start(folder).await?;
    send_http(&newer, data, half..data.rows.len()).await?;
    newer.drained(HTTP_LOG, limit).await?;
    send_http(&older, data, 0..half).await?;

    let status = wait::until("the older agent to be fenced", limit, async || {
        let status = older.status().await?;
        Ok((status["sync"]["state"] == "fenced").then_some(status))
    })
    .await?;
    let words = status["sync"]["last_error"].as_str().unwrap_or_default().to_owned();
    ensure(!words.is_empty(), || format!("the status does not say why: {status}"))?;
    let said = older.process.said().to_ascii_lowercase();
    ensure(said.contains("fenced"), || format!("the older agent does not say that it is fenced:\n{said}"))?;
    let account = older.log(HTTP_LOG).await?;
    ensure(account.committed == half as u64 && account.pending == half as u64, || format!("older: {account:?}"))?;

    let epochs = hub.account(AGENT, HTTP_LOG).await?;
    let committed: Vec<_> = epochs.iter().map(|epoch| epoch.committed).collect();
    ensure(committed == [half as u64, (data.rows.len() - half) as u64], || format!("{epochs:?}"))?;
    hub.verify()?;
    let mut figures = Figures::default();
    figures.add("epochs", format!("{} fenced by {}", epochs[0].epoch, epochs[1].epoch));
    figures.add("the older one says", format!("{words:?}"));
    figures.add("and keeps", format!("{} records pending", account.pending));
    Ok(figures)
}

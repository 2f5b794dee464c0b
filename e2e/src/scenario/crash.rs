//! The agent killed in the middle of a drain: a new epoch, the rest of the old one receipted as lost, nothing twice.

use std::path::Path;
use std::time::Duration;

use super::{Figures, HTTP_LOG, ensure, send_http};
use crate::agent::Options;
use crate::dataset::Dataset;
use crate::hub::Hub;
use crate::{Result, wait};

const AGENT: &str = "board-3";

/// Runs it: the first half of the rows in the first life, the second half in the second.
///
/// # Errors
/// When the account of either life is wrong, or a record of the first is not at its offset.
pub async fn run(folder: &Path, data: &Dataset, limit: Duration) -> Result<Figures> {
    let half = data.rows.len() / 2;
    let mut hub = Hub::absent(folder)?;
    // A hub that asks for a pause, and small batches: the drain takes so long that the kill hits it.
    hub.set("sync.pause", "300ms");
    let options = Options::new(AGENT).upstream(hub.address);
    let options = options.set("sync.max_batch", "64KiB").set("storage.segment_rows", "256");
    let mut agent = options.start(folder).await?;
    send_http(&agent, data, 0..half).await?;
    hub.up().await?;
    wait::until("the drain to be under way", limit, async || {
        let epochs = hub.account(AGENT, HTTP_LOG).await?;
        Ok(epochs.first().filter(|epoch| epoch.committed > 0).map(|_| ()))
    })
    .await?;
    agent.process.kill();
    let agent = options.start(folder).await?;
    send_http(&agent, data, half..data.rows.len()).await?;
    let account = agent.drained(HTTP_LOG, limit).await?;
    ensure(account.lost() == 0 && account.committed == (data.rows.len() - half) as u64, || format!("{account:?}"))?;

    let epochs = hub.account(AGENT, HTTP_LOG).await?;
    let [old, new] = epochs.as_slice() else { return Err(format!("not two epochs but {epochs:?}").into()) };
    ensure(new.epoch > old.epoch && new.committed == account.committed, || format!("{new:?}"))?;
    ensure(old.next_offset == half as u64 && old.head_seen == half as u64, || format!("not closed: {old:?}"))?;
    let reasons: Vec<_> = old.receipts.iter().map(|receipt| receipt.reason.as_str()).collect();
    ensure(reasons == ["lost"], || format!("not one receipt, `lost`: {old:?}"))?;
    let all = hub.records(AGENT, HTTP_LOG).await?;
    let (first, second) = (all.epoch(old.epoch as u32), all.epoch(new.epoch as u32));
    ensure(first.len() as u64 == old.committed, || format!("{} records of {old:?}", first.len()))?;
    let mut cells = first.equals(data, 0)?;
    let rest = Dataset { columns: data.columns.clone(), rows: data.rows.iter().skip(half).cloned().collect() };
    ensure(second.len() == rest.rows.len(), || format!("{} records of {new:?}", second.len()))?;
    cells += second.equals(&rest, 0)?;
    hub.verify()?;

    let mut figures = Figures::default();
    figures.add("epochs", format!("{} and {}", old.epoch, new.epoch));
    figures.add("first life", format!("{half} = {} committed + {} lost", old.committed, old.lost()));
    figures.add("second life", format!("{} committed", new.committed));
    figures.add("cells equal", cells);
    Ok(figures)
}

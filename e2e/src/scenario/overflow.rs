//! A small ring, the hub away: records are lost, and the receipts say to the record which.

use std::path::Path;
use std::time::Duration;

use super::{Figures, HTTP_LOG, MQTT_LOG, ensure, route, send_http, send_mqtt};
use crate::Result;
use crate::agent::Options;
use crate::dataset::Dataset;
use crate::hub::Hub;

const AGENT: &str = "board-2";

/// How a run is sized.
#[derive(Debug, Clone)]
pub struct Size {
    /// `max_memory` of the agent.
    pub max_memory: &'static str,
    /// Its resident memory must stay under this, in bytes.
    pub max_resident: u64,
    /// How often the data is sent again, with later times.
    pub rounds: usize,
    /// Bound of the wait for the last record.
    pub limit: Duration,
}

/// Runs it: the hub comes after all is sent.
///
/// # Errors
/// When nothing overflows, or the account is wrong by one record.
pub async fn run(folder: &Path, data: &Dataset, size: &Size) -> Result<Figures> {
    let data = &repeated(data, size.rounds);
    let mut hub = Hub::absent(folder)?;
    let options =
        Options::new(AGENT).upstream(hub.address).set("storage.max_memory", size.max_memory).toml(&route(data));
    let agent = options.start(folder).await?;
    let rows = data.rows.len();
    let (http, mqtt) = tokio::join!(send_http(&agent, data, 0..rows), send_mqtt(&agent, data, 0..rows));
    http.and(mqtt)?;
    hub.up().await?;
    let mut figures = Figures::default();
    let mut lost = 0;
    for log in [HTTP_LOG, MQTT_LOG] {
        let account = agent.drained(log, size.limit).await?;
        ensure(account.accepted == rows as u64, || format!("{log}: sent {rows}, {account:?}"))?;
        let epochs = hub.account(AGENT, log).await?;
        let [epoch] = epochs.as_slice() else { return Err(format!("{log}: not one epoch but {epochs:?}").into()) };
        let same =
            (epoch.next_offset, epoch.committed, epoch.lost()) == (rows as u64, account.committed, account.lost());
        ensure(same, || format!("{log}: the hub says {epoch:?}, the agent {account:?}"))?;
        let stored = hub.records(AGENT, log).await?;
        ensure(stored.len() as u64 == epoch.committed, || format!("{log}: {} records of {epoch:?}", stored.len()))?;
        let both = stored.offsets.iter().find(|offset| epoch.has_receipt_for(**offset));
        ensure(both.is_none(), || format!("{log}: offset {both:?} is stored and receipted"))?;
        let cells = stored.equals(data, 0).map_err(|error| format!("{log}: {error}"))?;
        receipts_know_their_times(data, epoch).map_err(|error| format!("{log}: {error}"))?;
        lost += epoch.lost();
        let (kept, gone, receipts) = (epoch.committed, epoch.lost(), epoch.receipts.len());
        figures.add(
            log,
            format!("{rows} = {kept} committed + {gone} receipted in {receipts} receipts, {cells} cells equal"),
        );
    }
    ensure(lost > 0, || format!("nothing was lost: {} is too large for {rows} rows", size.max_memory))?;
    hub.verify()?;
    let peak = agent.process.peak_memory()?;
    figures.add("VmHWM", format!("{:.1} MiB at {}", peak as f64 / 1_048_576.0, size.max_memory));
    ensure(peak < size.max_resident, || format!("VmHWM is {peak} bytes, allowed are {}", size.max_resident))?;
    Ok(figures)
}

/// A receipt's time range must be that of the rows which it names.
fn receipts_know_their_times(data: &Dataset, epoch: &crate::account::EpochAccount) -> Result<()> {
    for receipt in &epoch.receipts {
        let (from, to) = (receipt.range.start as usize, receipt.range.end as usize);
        let lost = data.rows.get(from..to).ok_or_else(|| format!("{receipt:?} names what was never sent"))?;
        let times = lost.iter().map(|row| row.time).min().zip(lost.iter().map(|row| row.time).max());
        if receipt.times.is_some() && receipt.times != times {
            return Err(format!("{receipt:?} should say {times:?}").into());
        }
    }
    Ok(())
}

/// The data again and again, each time later.
pub(super) fn repeated(data: &Dataset, rounds: usize) -> Dataset {
    let span =
        data.rows.last().zip(data.rows.first()).map_or(0, |(last, first)| last.time - first.time + 1_000_000_000);
    let mut out = Dataset { columns: data.columns.clone(), rows: Vec::with_capacity(data.rows.len() * rounds) };
    for round in 0..rounds as i64 {
        out.rows.extend(data.rows.iter().cloned().map(|mut row| {
            row.time += round * span;
            row
        }));
    }
    out
}

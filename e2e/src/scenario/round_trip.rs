//! All rows by HTTP and by MQTT, the hub killed and restarted meanwhile: the hub returns exactly what was sent.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Figures, HTTP_LOG, MQTT_LOG, ensure, route, send_http, send_mqtt};
use crate::Result;
use crate::agent::{Agent, Options};
use crate::dataset::Dataset;
use crate::hub::Hub;

const AGENT: &str = "board-1";

/// How often the hub is killed while records stream.
const KILLS: usize = 3;

/// Runs it. `limit` bounds the wait for the last record to arrive.
///
/// # Errors
/// When a record is missing, doubled, out of order or different in one bit.
pub async fn run(folder: &Path, data: &Dataset, limit: Duration) -> Result<Figures> {
    let mut hub = Hub::start(folder).await?;
    let options = Options::new(AGENT).upstream(hub.address).set("sync.size_threshold", "64KiB").toml(&route(data));
    let agent = options.start(folder).await?;
    let begun = Instant::now();
    let rows = data.rows.len();
    let mut sent = 0;
    for kill in 1..=KILLS {
        let end = rows * kill / (KILLS + 1);
        send_both(&agent, data, sent..end).await?;
        sent = end;
        // Killed while it is at work, away for a moment in which more arrives, and back.
        hub.kill();
        let end = (sent + rows / 20).min(rows);
        send_both(&agent, data, sent..end).await?;
        sent = end;
        hub.up().await?;
    }
    send_both(&agent, data, sent..rows).await?;
    let sending = begun.elapsed();
    let mut figures = Figures::default();
    for log in [HTTP_LOG, MQTT_LOG] {
        let account = agent.drained(log, limit).await?;
        let all = rows as u64;
        ensure((account.accepted, account.committed) == (all, all), || format!("{log}: {account:?}"))?;
        let stored = hub.records(AGENT, log).await?;
        ensure(stored.len() == rows, || format!("{log}: the hub has {} of {rows} records", stored.len()))?;
        figures.add(log, format!("{rows} records and {} cells equal", stored.equals(data, 0).map_err(named(log))?));
        let ring = agent.records(log, "").await?;
        ring.equals(data, 0).map_err(named("in the ring, "))?;
    }
    hub.verify()?;
    figures.add("hub kills", KILLS);
    figures.add("sent in", format!("{:.1} s", sending.as_secs_f64()));
    figures.add("drained in", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    figures.add("agent wrote", format!("{} bytes", agent.process.written()?));
    ensure(agent.process.written()? == 0, || "the agent wrote to storage".to_owned())?;
    Ok(figures)
}

async fn send_both(agent: &Agent, data: &Dataset, rows: std::ops::Range<usize>) -> Result<()> {
    let (http, mqtt) = tokio::join!(send_http(agent, data, rows.clone()), send_mqtt(agent, data, rows));
    http.and(mqtt)
}

fn named(log: &str) -> impl Fn(crate::Error) -> crate::Error {
    move |error| format!("{log}: {error}").into()
}

//! All rows by HTTP and by MQTT, the hub killed and restarted meanwhile: the hub returns exactly what was sent.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Figures, HTTP_LOG, MQTT_LOG, ensure, route, send_http, send_mqtt};
use crate::agent::{Agent, Options};
use crate::dataset::Dataset;
use crate::hub::Hub;
use crate::{Result, wait};

const AGENT: &str = "board-1";

/// How often the hub is killed while records stream.
const KILLS: usize = 3;
/// How long it is away each time.
const AWAY: Duration = Duration::from_millis(200);

/// Runs it. `limit` bounds the wait for the last record to arrive.
///
/// # Errors
/// When a record is missing, doubled, out of order or different in one bit.
pub async fn run(folder: &Path, data: &Dataset, limit: Duration) -> Result<Figures> {
    let rows = data.rows.len();
    let mut hub = Hub::absent(folder)?;
    // A pause between small batches, so that each kill finds records on their way.
    hub.set("sync.pause", "20ms");
    hub.up().await?;
    let (segment_rows, max_batch) = ((rows / 100).clamp(64, 8_192), (rows / 2).max(4 << 10));
    let options = Options::new(AGENT).upstream(hub.address).set("sync.max_batch", &max_batch.to_string());
    let options = options.set("storage.segment_rows", &segment_rows.to_string()).toml(&route(data));
    let agent = options.start(folder).await?;
    // What the kernel counts while a program that was just built is loaded is none of its doing.
    let at_start = agent.process.written()?;
    let begun = Instant::now();
    let (http, mqtt, kills) = tokio::join!(
        send_http(&agent, data, 0..rows),
        send_mqtt(&agent, data, 0..rows),
        kill(&mut hub, &agent, rows as u64)
    );
    http.and(mqtt).and(kills)?;
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
    figures.add("sent and drained in", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let written = agent.process.written()? - at_start;
    figures.add("agent wrote", format!("{written} bytes ({at_start} counted while it was loaded)"));
    ensure(written == 0, || format!("the agent wrote {written} bytes to storage"))?;
    Ok(figures)
}

/// Kills the hub each time another share of the records is committed, and starts it again a moment later.
async fn kill(hub: &mut Hub, agent: &Agent, rows: u64) -> Result<()> {
    for kill in 0..KILLS as u64 {
        let share = rows * kill / (KILLS as u64 + 1);
        wait::until("another share of the records at the hub", wait::LONG, async || {
            let account = agent.log(HTTP_LOG).await?;
            Ok((account.committed > share).then_some(()))
        })
        .await?;
        hub.kill();
        tokio::time::sleep(AWAY).await;
        let account = agent.log(MQTT_LOG).await?;
        ensure(account.committed < rows, || format!("kill {} came too late: {account:?}", kill + 1))?;
        hub.up().await?;
    }
    Ok(())
}

fn named(log: &str) -> impl Fn(crate::Error) -> crate::Error {
    move |error| format!("{log}: {error}").into()
}

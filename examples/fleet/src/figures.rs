//! What a fleet sees of its hubs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyralog_sync_protocol::sender::Failure;

/// Latencies kept; beyond, the newest are dropped, and counted all the same.
const MAX_KEPT: usize = 4 << 20;

/// Counts and latencies.
#[derive(Debug, Default)]
pub struct Figures(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Of batches that were taken.
    batches: Vec<Duration>,
    hellos: Vec<Duration>,
    refused: BTreeMap<u16, u64>,
    failed: BTreeMap<String, u64>,
}

impl Figures {
    /// A hub answered.
    pub fn answered(&self, what: &str, status: u16, took: Duration) {
        let mut seen = self.lock();
        if status != 200 {
            *seen.refused.entry(status).or_default() += 1;
            return;
        }
        let latencies = if what == "batch" { &mut seen.batches } else { &mut seen.hellos };
        if latencies.len() < MAX_KEPT {
            latencies.push(took);
        }
    }

    /// A hub did not answer in the words of the protocol.
    pub fn failed(&self, failure: &Failure) {
        let words = match failure {
            Failure::Transport(why) => why.split(':').next().unwrap_or_default().to_owned(),
            Failure::Status { code, .. } => format!("status {code}"),
        };
        *self.lock().failed.entry(words).or_default() += 1;
    }

    /// Begins anew.
    pub fn clear(&self) {
        *self.lock() = Seen::default();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seen = self.lock();
        write!(f, "batches {}, hellos {}", quantiles(&mut seen.batches), quantiles(&mut seen.hellos))?;
        for (status, count) in &seen.refused {
            write!(f, ", refused with {status}: {count}")?;
        }
        for (why, count) in &seen.failed {
            write!(f, ", {why}: {count}")?;
        }
        Ok(())
    }
}

/// How many there are, and their median, p99 and greatest.
fn quantiles(latencies: &mut [Duration]) -> String {
    latencies.sort_unstable();
    let at =
        |share: f64| latencies.get(((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1)));
    let show = |latency: Option<&Duration>| {
        latency.map_or("-".into(), |latency| format!("{:.1}", latency.as_secs_f64() * 1e3))
    };
    let (count, half, most, all) = (latencies.len(), show(at(0.5)), show(at(0.99)), show(latencies.last()));
    format!("{count} (p50 {half} ms, p99 {most} ms, max {all} ms)")
}

//! The books: what the sensors, the agent and the hub each say, and whether it is the same.

#![allow(clippy::print_stdout, reason = "the table is what the program is for")]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Result;
use super::readings::Counted;
use super::screen::bold;
use super::sensors::Acknowledged;
use super::watch::{AtHub, Log, Snapshot, Watch};

/// What was found at the end.
#[derive(Debug)]
pub(super) struct Verdict {
    rows: Vec<Row>,
    sent_bytes: u64,
    wire_readings: u64,
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Row {
    name: String,
    log: Log,
    receipts: u64,
    ring: Counted,
}

/// Waits until the sensors' logs are drained, then asks everyone.
pub(super) async fn reach(
    watch: &Watch,
    acknowledged: &Acknowledged,
    limit: Duration,
    mut show: impl FnMut(&Snapshot),
) -> Result<Verdict> {
    let sensors = [
        ("climate", acknowledged.climate.load(Ordering::Relaxed)),
        ("vibration", acknowledged.vibration.load(Ordering::Relaxed)),
    ];
    let begun = Instant::now();
    let snapshot = loop {
        let snapshot = watch.snapshot().await?;
        show(&snapshot);
        let drained = sensors.iter().all(|(name, _)| snapshot.logs.get(*name).is_some_and(|log| log.pending == 0));
        if drained || begun.elapsed() > limit {
            break snapshot;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut verdict = Verdict { rows: Vec::new(), sent_bytes: 0, wire_readings: 0, wrong: Vec::new() };
    for (name, log) in &snapshot.logs {
        let sent = sensors.iter().find(|(sensor, _)| sensor == name).map(|(_, sent)| *sent);
        let hub = watch.at_hub(name).await?;
        let stored = watch.readings_at_hub(name).await?;
        verdict.wrong.extend(faults(name, log, sent, hub, stored));
        verdict.wire_readings += stored.readings;
        let ring = watch.readings_in_ring(name).await?;
        verdict.rows.push(Row { name: name.clone(), log: *log, receipts: hub.receipts, ring });
    }
    verdict.sent_bytes = watch.sent_bytes().await?;
    Ok(verdict)
}

/// What does not add up for one log. Logs of the host go on growing, so for them the hub may be ahead of the snapshot.
fn faults(name: &str, log: &Log, sent: Option<u64>, hub: AtHub, stored: Counted) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |right: bool, words: String| {
        if !right {
            faults.push(format!("{name}: {words}"));
        }
    };
    let sum = log.committed + log.pending + log.receipted;
    check(sum == log.accepted, format!("committed + pending + receipted is {sum}, accepted is {}", log.accepted));
    check(hub.committed + hub.receipted == hub.next_offset, format!("the hub's sum is wrong: {hub:?}"));
    if let Some(sent) = sent {
        check(
            sent == log.accepted,
            format!("the sensors were acknowledged {sent} records, accepted are {}", log.accepted),
        );
        check(log.pending == 0, format!("{} records are still pending", log.pending));
        let same = (hub.committed, hub.receipted) == (log.committed, log.receipted);
        check(same, format!("the hub says {} committed, {} receipted", hub.committed, hub.receipted));
        check(
            stored.records == hub.committed,
            format!("the hub returns {} records of {}", stored.records, hub.committed),
        );
    } else {
        check(hub.committed >= log.committed, format!("the hub has {} records of {}", hub.committed, log.committed));
        check(
            stored.records >= log.committed,
            format!("the hub returns {} records of {}", stored.records, log.committed),
        );
    }
    faults
}

impl Verdict {
    /// Prints the table; whether everything added up.
    pub(super) fn print(&self, terminal: bool) -> bool {
        let columns = ["accepted", "committed", "pending", "receipted"].map(|name| format!("{name:>12}")).concat();
        let head = format!("{:<12}{columns}  {:<8}{:>9}{:>24}", "log", "sum", "receipts", "RAM, bytes per reading");
        println!("{}", bold(terminal, &head));
        for Row { name, log, receipts, ring } in &self.rows {
            let sum = if log.committed + log.pending + log.receipted == log.accepted { "right" } else { "WRONG" };
            let numbers =
                [log.accepted, log.committed, log.pending, log.receipted].map(|n| format!("{n:>12}")).concat();
            println!("{name:<12}{numbers}  {sum:<8}{receipts:>9}{:>24}", per(log.bytes, ring.readings));
        }
        let (bytes, readings) = (self.sent_bytes, self.wire_readings);
        println!(
            "\nOn the wire: {} bytes per reading ({bytes} bytes sent for {readings} readings, resends and all).",
            per(bytes, readings)
        );
        for fault in &self.wrong {
            println!("WRONG: {fault}");
        }
        if self.wrong.is_empty() {
            println!(
                "Every record that a sensor had acknowledged is at the hub, pending in the ring, or named by a receipt."
            );
        }
        self.wrong.is_empty()
    }
}

fn per(bytes: u64, readings: u64) -> String {
    if readings == 0 { "-".to_owned() } else { format!("{:.2}", bytes as f64 / readings as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_accounts_for_is_a_fault() {
        let log = Log { accepted: 10, committed: 7, pending: 0, receipted: 3, bytes: 1 };
        let hub = AtHub { next_offset: 10, committed: 7, receipted: 3, receipts: 1 };
        let stored = Counted { records: 7, readings: 14 };
        assert!(faults("climate", &log, Some(10), hub, stored).is_empty());
        assert_eq!(faults("climate", &log, Some(11), hub, stored).len(), 1);
        assert_eq!(faults("climate", &Log { committed: 6, ..log }, Some(10), hub, stored).len(), 2);
        assert_eq!(faults("climate", &log, Some(10), hub, Counted { records: 6, readings: 12 }).len(), 1);
    }
}

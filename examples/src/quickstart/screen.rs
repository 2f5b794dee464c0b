//! The live view: a panel redrawn in place on a terminal, a line every two seconds elsewhere.

#![allow(clippy::print_stdout, reason = "this is what the program is for")]

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use super::servers::Places;
use super::watch::Snapshot;

const PLAIN_EVERY: Duration = Duration::from_secs(2);
const GAUGE: usize = 40;

/// Where the story is shown.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    begun: Instant,
    title: String,
    /// Lines of the panel on the screen now.
    drawn: usize,
    last_plain: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { terminal, begun: Instant::now(), title: String::new(), drawn: 0, last_plain: None }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(super) fn title(&self, places: &Places) {
        println!("{}", bold(self.terminal, "Pyralog Edge quickstart"));
        println!("agent  http://{}  mqtt://{}", places.http, places.mqtt);
        println!("hub    http://{}  store {}\n", places.hub, places.folder.join("store").display());
    }

    /// Shows the state of things under the name of what goes on.
    pub(super) fn show(&mut self, title: &str, snapshot: &Snapshot) {
        let seconds = self.begun.elapsed().as_secs_f64();
        if self.terminal {
            self.redraw(title, snapshot, seconds);
            return;
        }
        if self.title != title {
            title.clone_into(&mut self.title);
            println!("{seconds:>5.1} s  {title}");
            self.last_plain = None;
        }
        if self.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last_plain = Some(Instant::now());
            let logs = snapshot.logs.values();
            let (accepted, committed, pending, receipted) = logs.fold((0, 0, 0, 0), |sum, log| {
                (sum.0 + log.accepted, sum.1 + log.committed, sum.2 + log.pending, sum.3 + log.receipted)
            });
            let used = snapshot.used as f64 / 1_048_576.0;
            println!(
                "{seconds:>5.1} s  ring {used:.2} MiB, {accepted} accepted = {committed} committed + {pending} pending + {receipted} receipted"
            );
        }
    }

    /// Leaves the last panel where it is.
    pub(super) fn close(&mut self) {
        self.drawn = 0;
        println!();
    }

    /// What `--keep` leaves behind.
    pub(super) fn urls(&self, places: &Places) {
        println!("\nBoth servers stay up until Ctrl-C:");
        println!("  agent status   http://{}/", places.http);
        println!("  a log          curl http://{}/v1/logs/climate/records", places.http);
        println!("  fleet          http://{}/", places.hub);
        println!("  from the hub   curl http://{}/v1/agents/quickstart/logs/climate/records", places.hub);
        println!(
            "  publish        mosquitto_pub -p {} -q 1 -t home/hall/climate -m '{{\"temp\": 21.5}}'",
            places.mqtt.port()
        );
    }

    fn redraw(&mut self, title: &str, snapshot: &Snapshot, seconds: f64) {
        let mut panel = String::new();
        let mut line = |text: &str| {
            // Erase what a longer line left there.
            let _ = writeln!(panel, "{text}\x1b[K");
        };
        line(&format!("{seconds:>5.1} s  {}", bold(true, title)));
        line(&gauge(snapshot));
        let runway = snapshot.runway.map_or_else(|| "nothing at risk".to_owned(), |left| format!("runway {left:.0} s"));
        line(&format!("         sync {:<8} {runway}, resident {:.1} MiB", snapshot.sync, mib(snapshot.resident)));
        line(&format!(
            "         {:<12}{:>12}{:>12}{:>12}{:>12}",
            "log", "accepted", "committed", "pending", "receipted"
        ));
        for (name, log) in &snapshot.logs {
            let receipted = format!("{:>12}", log.receipted);
            let receipted = if log.receipted > 0 { format!("\x1b[33m{receipted}\x1b[0m") } else { receipted };
            line(&format!(
                "         {name:<12}{:>12}{:>12}{:>12}{receipted}",
                log.accepted, log.committed, log.pending
            ));
        }
        let lines = panel.lines().count();
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        self.drawn = lines;
        let mut out = std::io::stdout().lock();
        // A terminal that is gone is no reason to stop.
        let _ = write!(out, "{up}{panel}\x1b[J").and_then(|()| out.flush());
    }
}

/// Text in bold where that can be seen.
pub(super) fn bold(terminal: bool, text: &str) -> String {
    if terminal { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

fn gauge(snapshot: &Snapshot) -> String {
    let share = snapshot.used as f64 / snapshot.cap.max(1) as f64;
    let full = ((share * GAUGE as f64).round() as usize).min(GAUGE);
    let color = if share < 0.7 { 32 } else { 33 };
    let bar = format!("\x1b[{color}m{}\x1b[0m{}", "█".repeat(full), "░".repeat(GAUGE - full));
    format!("         ring {bar} {:.2} of {:.0} MiB", mib(snapshot.used), mib(snapshot.cap))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

//! `pyralog-sim`: runs histories until a promise breaks.

#![allow(clippy::print_stdout, reason = "it talks to its terminal")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pyralog_sim::many::{Series, Summary};
use pyralog_sim::{Options, Profile, Sabotage, run};

/// Simulates whole agents and hubs under a bad network, bad disks and bad clocks, and checks that every accepted record is
/// accounted for. Everything that happens follows from the seed.
///
/// Exit: 0 all promises held, 1 one was broken, 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Arguments {
    /// How many histories; each has the seed after that of the one before
    #[arg(long, default_value_t = 1)]
    histories: u64,
    /// As many of them as so many minutes hold
    #[arg(long)]
    minutes: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many at once
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Show everything that happens in the history of the seed
    #[arg(long)]
    trace: bool,
    /// Histories of one kind: calm, storm, tiny-memory, disk-trouble, clock, restarts, backup
    #[arg(long, value_parser = profile)]
    profile: Option<Profile>,
}

fn profile(name: &str) -> Result<Profile, String> {
    let known = || Profile::ALL.map(|(profile, _)| profile.name()).join(", ");
    Profile::named(name).ok_or_else(|| format!("there is no such profile; there are {}", known()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.trace {
        return trace(&arguments);
    }
    // Panics are violations, and are shown as such.
    std::panic::set_hook(Box::new(|_| {}));
    let Arguments { histories, minutes, seed: first, jobs, profile, .. } = arguments;
    let most = minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let series = Series { first, histories, most, jobs, profile, sabotage: Sabotage::None };
    let terminal = std::io::stdout().is_terminal();
    let summary = series.run(|summary| {
        let (end, start) = if terminal { ("", "\r") } else { ("\n", "") };
        print!("{start}{}{end}", line(summary, histories));
        let _ = std::io::stdout().flush();
    });
    println!("{}{}", if terminal { "\r" } else { "" }, line(&summary, histories));
    for (what, count) in &summary.tally {
        println!("  {count:>12}  {what}");
    }
    for report in &summary.broken {
        let kind = arguments.profile.map_or_else(String::new, |profile| format!(" --profile {}", profile.name()));
        println!("\nseed {} ({}): {}", report.seed, report.profile.name(), report.violation.as_deref().unwrap_or(""));
        println!("  replay: cargo xtask sim --seed {}{kind} --trace", report.seed);
    }
    if summary.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(summary: &Summary, of: u64) -> String {
    let seconds = summary.took.as_secs_f64();
    format!(
        "{} of {of} histories in {seconds:.0} s ({:.1} a second), {} broken; {:.1} simulated hours, {:.1} M events",
        summary.histories,
        summary.histories as f64 / seconds.max(1e-3),
        summary.broken.len(),
        summary.simulated.as_secs_f64() / 3600.0,
        summary.events as f64 / 1e6,
    )
}

fn trace(arguments: &Arguments) -> ExitCode {
    // Whoever reads may have read enough.
    let show = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    let sink = Some(Box::new(show) as pyralog_sim::trace::Sink);
    let report = run(arguments.seed, Options { profile: arguments.profile, sink, ..Options::default() });
    println!(
        "\n{} events in {:.0} simulated seconds, hash {:016x}",
        report.events,
        report.lasted.as_secs_f64(),
        report.hash
    );
    for (what, count) in &report.tally {
        println!("  {count:>12}  {what}");
    }
    match report.violation {
        Some(violation) => {
            println!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

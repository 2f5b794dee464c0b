//! Real agents and hubs under faults from a seed, and every record accounted for.
//!
//! ```text
//! cargo build --release -p pyralog-agent -p pyralog-hub --bins
//! cargo run --release -p pyralog-e2e --bin chaos -- --rounds 1000 --seed 1 [--faults kill-agent,flood] [--at-once 3]
//! cargo run --release -p pyralog-e2e --bin chaos -- --seed 1 --round 17 --rounds 20
//! ```
//! The second runs one round of a seed over and over: the same faults, at the same times.
//!
//! Exit code 1 if a promise is broken; the run's folder is kept then.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what the program is for")]

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use pyralog_e2e::Result;
use pyralog_e2e::chaos::faults::Fault;
use pyralog_e2e::chaos::world::Size;
use pyralog_e2e::chaos::{Outcome, Plan, run};

/// Runs agents and hubs under faults, and accounts for every record.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  chaos --rounds 100 --seed 7 --faults kill-agent,kill-hub,flood\n  \
                        chaos --seed 7 --round 17 --rounds 20")]
struct Args {
    /// How many rounds; a round takes one to three seconds.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Decides on the faults and their order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these faults, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// How many faults may happen at once in a round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=6))]
    at_once: u64,
    /// Only this round of the seed, over and over: its faults at its times.
    #[arg(long)]
    round: Option<u64>,
    /// How many agents.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=8))]
    agents: u64,
    /// Memory for data of each agent, in MiB.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(4..=1024))]
    max_memory: u64,
    /// Rounds between two reckonings.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    reckon_every: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(chaos(&args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn chaos(args: &Args) -> Result<()> {
    let faults = if args.faults.is_empty() { Fault::value_variants().to_vec() } else { args.faults.clone() };
    let size = Size { agents: args.agents as usize, max_memory: args.max_memory << 20 };
    let Args { seed, rounds, reckon_every, at_once, round: only, .. } = *args;
    let plan = Plan { seed, rounds, only, faults, in_order: false, at_once, reckon_every, size };
    let folder = tempfile::Builder::new().prefix("pyralog-chaos-").tempdir()?;
    let (begun, mut last) = (Instant::now(), 0);
    let terminal = std::io::stderr().is_terminal();
    let ended = run(folder.path(), &plan, |script| {
        last += 1;
        let seconds = begun.elapsed().as_secs();
        let line = format!("round {last} of {rounds}, {seconds} s: {:<40}", script.names());
        if terminal {
            eprint!("\r{line}");
        } else if last % 50 == 1 {
            eprintln!("{line}");
        }
    })
    .await;
    if terminal {
        eprintln!();
    }
    match ended {
        Ok(outcome) => {
            print(&outcome, args, begun.elapsed().as_secs_f64());
            if outcome.is_blind() {
                return Err(
                    "BLIND: sensors lost answers, and no record of unknown fate was ever stored, or none was stored \
                            twice; nothing was proven of either"
                        .into(),
                );
            }
            match outcome.over_cap {
                (0, _) => Ok(()),
                (over, all) => {
                    Err(format!("BROKEN: {over} of {all} lives of agents took more than cap + 16 MiB").into())
                }
            }
        }
        Err(error) => Err(failure(&error, args, last, &folder.keep()).into()),
    }
}

fn failure(error: &pyralog_e2e::Error, args: &Args, round: u64, folder: &Path) -> String {
    let faults: Vec<_> = args.faults.iter().map(|fault| fault.name()).collect();
    let faults = if faults.is_empty() { String::new() } else { format!(" --faults {}", faults.join(",")) };
    let Args { seed, agents, max_memory, reckon_every, at_once, .. } = args;
    let again = format!(
        "cargo run --release -p pyralog-e2e --bin chaos -- --seed {seed} --agents {agents} --max-memory {max_memory} \
         --reckon-every {reckon_every} --at-once {at_once}{faults}"
    );
    let only = args.round.unwrap_or(round);
    format!(
        "BROKEN: {error}\n  seed {seed}, all rounds and what the processes said in {}\n  again: {again} --rounds {round}\n  \
         the round alone: {again} --round {only} --rounds 20",
        folder.display()
    )
}

fn print(outcome: &Outcome, args: &Args, seconds: f64) {
    let words = |counts: &BTreeMap<String, u64>| {
        let words: Vec<_> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    };
    let totals = &outcome.totals;
    println!("every record accounted for: seed {}, {} rounds in {seconds:.0} s", args.seed, args.rounds);
    for (fault, rounds) in &outcome.rounds {
        println!("  {:<28}{rounds}", format!("rounds of {}", fault.name()));
    }
    let at_once: BTreeMap<String, u64> =
        outcome.at_once.iter().map(|(count, rounds)| (format!("{count}:"), *rounds)).collect();
    println!("  {:<28}{}", "rounds by faults at once", words(&at_once));
    let left_out: Vec<_> = outcome.left_out.iter().map(|fault| fault.name()).collect();
    if !left_out.is_empty() {
        println!("  not run: {}; this machine does not let us mount a disk for them", left_out.join(", "));
    }
    println!("  {:<28}{}, {} times", "records sent", totals.records, totals.sent);
    println!("  {:<28}{}", "acknowledged", totals.acked);
    println!("  {:<28}{}", "of unknown fate", totals.unknown());
    println!("  {:<28}{} in {} epochs of logs", "committed", totals.committed, totals.epochs);
    println!("  {:<28}{}, {} of them late", "of them of unknown fate", totals.unknown_committed, totals.late);
    println!("  {:<28}{}", "sent again and there again", totals.repeated);
    println!("  {:<28}{}", "receipted", words(&totals.receipted));
    println!("  {:<28}{}", "gone with a killed agent", totals.lost_with_life);
    println!("  {:<28}{}", "restarts", outcome.restarts);
    println!("  {:<28}{}", "writers were not served", words(&outcome.refusals));
    println!("  {:<28}{}", "hubs answered", words(&outcome.replies));
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    println!(
        "  {:<28}{:.1} MiB under a cap of {} MiB",
        "peak memory of an agent",
        mib(outcome.peaks.0),
        args.max_memory
    );
    println!("  {:<28}{} of {}", "lives over cap + 16 MiB", outcome.over_cap.0, outcome.over_cap.1);
    println!("  {:<28}{:.1} MiB", "peak memory of a hub", mib(outcome.peaks.1));
}

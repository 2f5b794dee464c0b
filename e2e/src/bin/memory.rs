//! The memory cap on the real process: every case under every cap, a row each.
//!
//! ```text
//! cargo build --release -p pyralog-agent -p pyralog-hub -p pyralog-e2e --bins
//! cargo run --release -p pyralog-e2e --bin memory -- [--caps 4MiB,16MiB,64MiB,256MiB] [--case NAME]... [--out docs/memory]
//! ```
//! Exit code 1 if resident memory went over a limit, or a client who behaves was refused.

#![allow(clippy::print_stdout, reason = "the figures are what the program is for")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use pyralog_e2e::Result;
use pyralog_e2e::memory::{CASES, Case, cases, raise_descriptors, report, run};

/// Runs the cases.
#[derive(Debug, Parser)]
struct Args {
    /// Caps to run under.
    #[arg(long, value_delimiter = ',', value_parser = size, default_value = "4MiB,16MiB,64MiB,256MiB")]
    caps: Vec<u64>,
    /// Cases to run, by name; all of them if none is named.
    #[arg(long = "case", value_name = "NAME", value_delimiter = ',', value_parser = case)]
    cases: Vec<&'static Case>,
    /// Folder for the page, the points and the pictures; nothing is written without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Under the first cap alone.
    #[arg(long)]
    quick: bool,
    /// Says what the cases are.
    #[arg(long)]
    list: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix("MiB") {
        Some(number) => (number, 1 << 20),
        None => (text.strip_suffix("KiB").unwrap_or_default(), 1 << 10),
    };
    let number: u64 = number.trim().parse().map_err(|_| "write it as 64MiB or 512KiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too much".to_owned())
}

fn case(name: &str) -> Result<&'static Case, String> {
    let all = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    cases::named(name).ok_or_else(|| format!("there are {}", all()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        CASES.iter().for_each(|case| println!("{:<16} {}", case.name, case.about));
        return ExitCode::SUCCESS;
    }
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(all(&args)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn all(args: &Args) -> Result<bool> {
    let cases: Vec<&'static Case> = if args.cases.is_empty() { CASES.iter().collect() } else { args.cases.clone() };
    let caps = if args.quick { args.caps.get(..1).unwrap_or_default() } else { &args.caps };
    let begun = Instant::now();
    println!("{}", report::heading());
    let (mut outcomes, mut died) = (Vec::new(), false);
    for case in &cases {
        for cap in caps {
            match run(case, *cap).await {
                Ok(outcome) => {
                    println!("{}", report::row(&outcome));
                    outcomes.push(outcome);
                }
                Err(error) => {
                    died = true;
                    println!("{:<16} {:>8} FAILED: {error}", case.name, cap >> 20);
                }
            }
        }
    }
    let within = outcomes.iter().all(|outcome| outcome.is_within());
    let fair = outcomes.iter().all(|outcome| outcome.is_fair());
    println!(
        "{} runs in {:.0} s; within limits: {within}; neighbour always served: {fair}",
        outcomes.len(),
        begun.elapsed().as_secs_f64()
    );
    if let Some(folder) = &args.out {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo run --release -p pyralog-e2e --bin memory -- {}", words.join(" "));
        report::write(folder, &outcomes, &command, &machine())?;
    }
    Ok(within && fair && !died)
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown CPU");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

//! How long an outage a cap sits out: fills the ring of an agent that has no hub until it evicts, and counts what it holds.
//!
//! ```text
//! cargo build --workspace --bins
//! cargo run -p pyralog-e2e --bin sizing -- --data DIR
//! ```
//! Records come as fast as the agent packs them, in segments of the size that the rate would give them: at few records a second it is
//! `segment_age` that ends one.

#![allow(clippy::print_stdout, reason = "the figures are what the program is for")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::dataset::Dataset;
use pyralog_e2e::{Result, wait};

/// Measures how many records a ring holds.
#[derive(Debug, Parser)]
struct Args {
    /// Folder of data sets, `NAME.csv.gz` each: a column `time`, then `tag:NAME` and `TYPE:NAME`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Caps to measure
    #[arg(long, value_delimiter = ',', default_value = "8MiB,64MiB", value_name = "SIZE")]
    caps: Vec<String>,
    /// Records a second to measure for
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_name = "N")]
    rates: Vec<u64>,
}

/// The default `storage.segment_age`, in seconds, and the default `storage.segment_rows`.
const SEGMENT_AGE: u64 = 600;
const SEGMENT_ROWS: u64 = 8192;
/// Records in a request.
const CHUNK: usize = 8192;
/// A ring that evicts, and holds no more after so many requests, is full.
const SAME: u32 = 12;
/// A ring that has not evicted after so many records is not being filled.
const MOST: usize = 200_000_000;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sizing: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    println!("{:<16} {:>8} {:>12} {:>12} {:>12} {:>10}", "data", "cap", "records/s", "held", "bytes each", "hours");
    let mut files: Vec<_> = std::fs::read_dir(&args.data)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".csv.gz"));
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().replace(".csv.gz", "");
        let data = Dataset::load(&file)?;
        for cap in &args.caps {
            // Rates that make segments of one size hold as much.
            let mut known = None;
            for rate in &args.rates {
                let rows = (rate * SEGMENT_AGE).clamp(1, SEGMENT_ROWS);
                let (held, bytes) = match known {
                    Some((measured, figures)) if measured == rows => figures,
                    _ => fill(&data, cap, rows).await?,
                };
                known = Some((rows, (held, bytes)));
                let hours = held as f64 / *rate as f64 / 3600.0;
                let each = bytes as f64 / held.max(1) as f64;
                println!("{name:<16} {cap:>8} {rate:>12} {held:>12} {each:>12.1} {hours:>10.1}");
            }
        }
    }
    Ok(())
}

/// Records that a ring of `cap` holds in segments of `rows`, once it has begun to evict; and the bytes of the cap.
async fn fill(data: &Dataset, cap: &str, rows: u64) -> Result<(u64, u64)> {
    let folder = tempfile::tempdir()?;
    let options = Options::new("sizing").set("storage.max_memory", cap);
    let agent = options.set("storage.segment_rows", &rows.to_string()).start(folder.path()).await?;
    let (mut shifted, mut sent, mut at) = (data.clone(), 0, 0);
    // Records held at most, and requests since that grew.
    let (mut most, mut same, mut full) = (0, 0, false);
    let first = data.rows.first().map_or(0, |row| row.time);
    let span = data.rows.iter().map(|row| row.time).max().map_or(1, |last| last - first + 1);
    loop {
        if at >= shifted.rows.len() {
            // Over again, later; and from the beginning where time would end.
            let later = shifted.rows.iter().map(|row| row.time.checked_add(span)).collect::<Option<Vec<_>>>();
            let times = later.unwrap_or_else(|| data.rows.iter().map(|row| row.time).collect());
            shifted.rows.iter_mut().zip(times).for_each(|(row, time)| row.time = time);
            at = 0;
        }
        let until = (at + CHUNK).min(shifted.rows.len());
        agent.write(shifted.line_protocol("log", at..until)).await?;
        (sent, at) = (sent + until - at, until);
        // In a hurry, what is not packed yet makes the ring look full; what counts is how much it holds when it is packed.
        packed(&agent).await?;
        let log = agent.log("log").await?;
        full |= !log.receipted.is_empty();
        if full {
            same += 1;
        }
        if log.pending > most + most / 100 {
            (most, same) = (log.pending, 0);
        }
        if same > SAME {
            let cap = agent.status().await?["memory"]["cap"].as_u64().unwrap_or_default();
            return Ok((log.pending, cap));
        }
        if sent > MOST {
            return Err(format!("{sent} records did not fill a ring of {cap}").into());
        }
    }
}

/// Waits until the agent has packed what it was sent: a ring of segments that wait for it holds less.
async fn packed(agent: &Agent) -> Result<()> {
    let begun = Instant::now();
    loop {
        let page = agent.request(reqwest::Method::GET, "/metrics").send().await?.text().await?;
        let count = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix("pyralog_segments_")?.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        };
        match (count("sealed_total"), count("packed_total")) {
            (Some(sealed), Some(packed)) if packed >= sealed => return Ok(()),
            (Some(_), Some(_)) if begun.elapsed() < wait::LONG => tokio::time::sleep(Duration::from_millis(2)).await,
            counts => return Err(format!("the agent does not pack: {counts:?}").into()),
        }
    }
}

//! `pyralog-hub sql`.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyralog_sql::{Answer, Engine, Format, Limits, SqlError};

use super::table::grouped;
use super::waiting::Waiting;
use super::{CliError, SqlArgs, client, offline};
use crate::archive::open_lake_to_read;
use crate::sql::{Notes, Tables};
use crate::store::StoreUrl;

/// Longest query that is read from standard input.
const MAX_QUERY: u64 = 1 << 20;

/// Of a query without a hub: whoever waits for it can end it.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn sql(args: SqlArgs) -> Result<ExitCode, CliError> {
    let query = match args.query.as_str() {
        "-" => {
            let mut query = String::new();
            let read = std::io::stdin().take(MAX_QUERY).read_to_string(&mut query);
            read.map_err(|error| CliError::failed(format!("cannot read the query from standard input: {error}")))?;
            query
        }
        query => query.to_owned(),
    };
    let format = if args.client.json { "ndjson" } else { &args.format };
    match args.store.is_some() || args.lake.is_some() {
        true => here(&args, &query, format).await,
        false => {
            let waiting = waiting(Instant::now());
            let answer = client::sql(&args.client, query, format, args.skip_damaged).await?;
            drop(waiting);
            client::print_stream(answer).await
        }
    }
}

/// Answers without a hub.
async fn here(args: &SqlArgs, query: &str, format: &str) -> Result<ExitCode, CliError> {
    let format: Format = format.parse().map_err(CliError::configuration)?;
    let store = offline::open(args.store.as_deref()).await?;
    let lake = match &args.lake {
        Some(lake) => {
            let url: StoreUrl = lake.parse().map_err(|error| CliError::configuration(format!("--lake: {error}")))?;
            Some(open_lake_to_read(&url).await.map_err(CliError::configuration)?)
        }
        None => None,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = usize::try_from(args.max_memory.as_u64()).unwrap_or(usize::MAX);
    let limits = Limits { memory, queries: 1, timeout: TIMEOUT, threads };
    let engine = Engine::new(limits).map_err(|error| CliError::failed(format!("no threads for SQL: {error}")))?;
    let notes = Notes::new(args.skip_damaged);
    let tables = Arc::new(Tables::new(store, lake, Arc::clone(&notes)));
    let began = Instant::now();
    let waiting = waiting(began);
    let mut answer = engine.query(tables, query, format).await.map_err(told)?;
    drop(waiting);
    if !print(&mut answer).await? {
        return Ok(ExitCode::SUCCESS);
    }
    if std::io::stderr().is_terminal() {
        let read = answer.scanned;
        let count = |number: usize| grouped(number as u64);
        let files = format!("{} of {} files", count(read.files_read), count(read.files));
        let segments = grouped(notes.segments());
        let chains = format!("{} of {} chains ({segments} segments)", count(read.parts_read), count(read.parts));
        let _ = writeln!(std::io::stderr(), "read {files} and {chains} in {:.1} s", began.elapsed().as_secs_f64());
    }
    match notes.damaged() {
        (_, 0) => Ok(ExitCode::SUCCESS),
        (names, count) => Err(CliError::failed(format!(
            "{} damaged places were left out, among them:\n  {}",
            grouped(count),
            names.join("\n  ")
        ))),
    }
}

fn waiting(began: Instant) -> Waiting {
    Waiting::begin(move || format!("reading, {} s", began.elapsed().as_secs()))
}

/// Prints an answer; says whether all of it was taken.
async fn print(answer: &mut Answer) -> Result<bool, CliError> {
    let mut out = std::io::stdout();
    while let Some(piece) = answer.next().await {
        match out.write_all(&piece.map_err(told)?).and_then(|()| out.flush()) {
            Ok(()) => {}
            // `| head` has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(CliError::failed(error)),
        }
    }
    Ok(true)
}

fn told(error: SqlError) -> CliError {
    match error {
        SqlError::Query(_) => CliError::configuration(error),
        SqlError::Memory(_) => CliError::failed(format!("{error}; --max-memory is the limit")),
        error => CliError::failed(error),
    }
}

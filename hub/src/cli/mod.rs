//! The command line.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use pyralog_service::credential_or_path;

use crate::auth::tokens::Scope;

#[cfg(feature = "lake")]
mod archive;
mod client;
mod offline;
mod serve;
#[cfg(feature = "sql")]
mod sql;
mod table;
mod trim;
#[cfg(feature = "lake")]
mod waiting;

/// The front door of a Pyralog cluster: takes the batches of agents, stores them, and reads them back.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Start a hub on this machine, then an agent that ships to it:
  pyralog-hub serve --store ./pyralog-store
  pyralog-agent serve --memory-only --upstream http://127.0.0.1:7390
See what arrived:
  pyralog-hub agents
  pyralog-hub account --agent board-17 --log climate
  pyralog-hub read --agent board-17 --log climate --format csv
  pyralog-hub sql \"SELECT agent, count(*) FROM climate GROUP BY agent\""
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a hub.
    Serve(ServeArgs),
    /// List the agents that a hub knows.
    Agents(ClientArgs),
    /// Show what a hub has of a log: committed, receipted and why, and how far behind it is.
    #[command(
        after_help = "For every epoch: next offset = committed + receipted. A receipt says exactly which offsets \
                            will never arrive, and why: evicted (the ring was full), expired, lost (the agent's memory \
                            went with a crash), corrupt. Deleted is what was committed, and retention deleted since."
    )]
    Account(AccountArgs),
    /// Print the records of a log.
    #[command(
        after_help = "Examples:\n  pyralog-hub read --agent board-17 --log climate --from-offset 1000 --limit 10\n  \
                            pyralog-hub read --agent board-17 --log climate --from 2026-11-23T00:00:00Z --format arrow > day.arrows"
    )]
    Read(ReadArgs),
    /// Check a store without a hub: offsets, hashes, objects. Exit code 1 when something is wrong.
    #[command(
        after_help = "Names the first fault of each log. It cannot see that the last entries of an agent's newest \
                            epoch were removed; keep an account from time to time to know where a log stood."
    )]
    Verify(VerifyArgs),
    /// Delete what is too old or too much, oldest first, as `serve` does by its [retention].
    #[command(after_help = "Examples:\n  pyralog-hub trim --store /var/lib/pyralog-hub --max-age 30d --dry-run\n  \
                            pyralog-hub trim --store /var/lib/pyralog-hub --max-bytes 10GiB --log vibration\n\
                            Deleted are records alone. What was committed and what was lost stays in the account, which also says \
                            what was deleted. The last entry of each log and epoch always stays. Hubs may be at work meanwhile.")]
    Trim(TrimArgs),
    /// Move what a store holds into Parquet files that any engine reads.
    #[cfg(feature = "lake")]
    #[command(
        after_help = "Each log becomes a table, LAKE/log=NAME/date=YYYY-MM-DD/*.parquet, with a Delta log beside it; receipts \
                            are LAKE/receipts/. Every record is there once, whatever is killed and however many archivers run. \
                            With --once, exit code 1 says that something damaged was left out.\n\n\
                            Examples:\n  pyralog-hub archive --store ./pyralog-store --lake ./lake --once\n  \
                            duckdb -c \"SELECT agent, count(*) FROM './lake/log=climate/date=*/*.parquet' GROUP BY agent\""
    )]
    Archive(ArchiveArgs),
    /// Ask what is stored by SQL: each log is a table, as are _agents and _receipts.
    #[cfg(feature = "sql")]
    #[command(
        after_help = "A log's table has the columns agent, epoch, offset, time, time_nanos, those of the log, and date. Its rows are \
                            all that the store and the lake have, each once. Conditions on agent, time and date decide what is read \
                            at all. Names with capitals or signs need double quotes. SHOW TABLES lists tables, DESCRIBE their columns. \
                            With --store (or --lake) no hub is needed; else the hub at --url is asked.\n\n\
                            Examples:\n  pyralog-hub sql \"SELECT agent, count(*), max(time) FROM climate GROUP BY agent\"\n  \
                            pyralog-hub sql \"SELECT * FROM climate WHERE time >= now() - INTERVAL '1 hour'\" --format csv\n  \
                            pyralog-hub sql \"SELECT * FROM _receipts\" --store ./pyralog-store"
    )]
    Sql(SqlArgs),
    /// Make and list tokens.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file; pyralog-hub.toml(5) and examples/config/hub.toml explain every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:7390].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where to keep entries: a directory, as file:///path or plain path; a bucket, as s3://bucket/prefix?region=…,
    /// with credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or streams, as nats://host:4222/STREAM.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The lake into which `archive` moves the store's records, for SQL: a directory or a bucket.
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// File of hashed tokens; without it, or --tls-client-ca, the hub only listens on this machine.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The hub's certificate chain, PEM: HTTPS instead of HTTP. Read again when it changes.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities of clients' certificates, PEM: a client may sync as the agents that its certificate names.
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Any key of the configuration, e.g. --set limits.max_batch=8MiB.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What every client command takes.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// The hub's address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7390")]
    url: String,
    /// File with a token for reading; the variable PYRALOG_TOKEN works too.
    #[arg(long, value_name = "FILE", value_parser = credential_or_path)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Print JSON as the hub sends it.
    #[arg(long)]
    json: bool,
}

/// How a client command trusts an https:// hub, and who it is there.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// Authority that signed the hub's certificate, PEM; without it, the system's authorities are trusted.
    #[arg(long, value_name = "FILE", value_parser = credential_or_path)]
    ca_file: Option<PathBuf>,
    /// This client's certificate chain, PEM, for a hub that asks for one.
    #[arg(long, value_name = "FILE", value_parser = credential_or_path, requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The private key of --cert-file, PEM.
    #[arg(long, value_name = "FILE", value_parser = credential_or_path, requires = "cert_file")]
    key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// The agent's id.
    #[arg(long)]
    agent: String,
    /// The log's name; without it, all logs of the agent in their newest epoch.
    #[arg(long)]
    log: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// The agent's id.
    #[arg(long)]
    agent: String,
    /// The log's name.
    #[arg(long)]
    log: String,
    /// ndjson, csv or arrow (an Arrow IPC stream).
    #[arg(long, default_value = "ndjson", value_parser = ["ndjson", "csv", "arrow"])]
    format: String,
    /// Only this epoch.
    #[arg(long)]
    epoch: Option<u32>,
    /// Only offsets from here on.
    #[arg(long, value_name = "OFFSET")]
    from_offset: Option<u64>,
    /// Only times from here on: RFC 3339 in UTC, or Unix nanoseconds.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Only times before this.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// So many records at most.
    #[arg(long)]
    limit: Option<u64>,
    /// Leave out damaged entries and go on, instead of stopping at the first; the exit code is 1 all the same.
    #[arg(long)]
    skip_damaged: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The store, as `serve` is given it [default: where `serve` keeps it by default].
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Only this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only this log.
    #[arg(long)]
    log: Option<String>,
    /// Decode every segment too.
    #[arg(long)]
    decode: bool,
}

/// Flags of `archive`.
#[cfg(feature = "lake")]
#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// The store, as `serve` takes it [default: where `serve` keeps it by default].
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The lake: a directory, as file:///path or plain path, or a bucket, as s3://bucket/prefix?region=R.
    #[arg(long, value_name = "URL")]
    lake: String,
    /// Archive all there is, and end.
    #[arg(long)]
    once: bool,
    /// How often to look for more.
    #[arg(long, value_name = "TIME", default_value = "15m", conflicts_with = "once")]
    interval: humantime::Duration,
    /// Records of a log that are worth a file.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, conflicts_with = "once")]
    min_rows: u64,
    /// How long fewer records wait for more.
    #[arg(long, value_name = "TIME", default_value = "1h", conflicts_with = "once")]
    max_delay: humantime::Duration,
    /// What to log: error, warn, info, debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
}

/// Flags of `sql`.
#[cfg(feature = "sql")]
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; `-` reads it from standard input.
    query: String,
    /// Ask this store instead of a hub, as `serve` takes it.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Ask this lake too: that into which the store is archived.
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// table, ndjson, csv or arrow (an Arrow IPC stream).
    #[arg(long, default_value = "table", value_parser = ["table", "ndjson", "csv", "arrow"])]
    format: String,
    /// Leave out what is damaged and go on, instead of failing of it; the exit code is 1 all the same.
    #[arg(long)]
    skip_damaged: bool,
    /// What the query may hold to sort, join and aggregate; without a hub.
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    max_memory: bytesize::ByteSize,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrimArgs {
    /// The store, as --store of `serve` takes it [default: where `serve` keeps it by default].
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Delete what a hub received longer ago than this, e.g. 30d or 12h.
    #[arg(long, value_name = "AGE")]
    max_age: Option<String>,
    /// Keep so much of each log of each agent, e.g. 10GiB.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<String>,
    /// Only this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only this log.
    #[arg(long)]
    log: Option<String>,
    /// Say what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, print it once, and append its hash to the file.
    #[command(
        after_help = "Example:\n  pyralog-hub token new --agent board-17 --tokens /etc/pyralog/hub-tokens > token\n\
                            Put it on the device and name it there: [sync] token_file = \"/etc/pyralog/token\""
    )]
    New {
        /// The agent that the token is for; '*' for all.
        #[arg(long)]
        agent: String,
        /// The file of hashed tokens that the hub is given.
        #[arg(long, value_name = "FILE")]
        tokens: PathBuf,
        /// What it opens: sync (send batches) or read.
        #[arg(long, value_enum, default_value = "sync")]
        scope: Scope,
    },
    /// List what the tokens of a file are for.
    List {
        /// The file of hashed tokens.
        #[arg(long, value_name = "FILE")]
        tokens: PathBuf,
    },
}

/// Why a command failed: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct CliError {
    code: u8,
    message: String,
}

impl CliError {
    /// The configuration or the command line is wrong.
    pub(crate) fn configuration(message: impl ToString) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Anything else.
    pub(crate) fn failed(message: impl ToString) -> Self {
        Self { code: 1, message: message.to_string() }
    }
}

/// Names of threads in which a panic ends no more than what they do: a query that meets a bug of the engine's is one reader's trouble.
pub const MAY_PANIC: &[&str] = &[
    #[cfg(feature = "sql")]
    pyralog_sql::THREADS,
];

/// What can be asked, for whoever documents it.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let style = if std::io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "{}error:{} {}", style.0, style.1, error.message);
            ExitCode::from(error.code)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, CliError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().map_err(|error| CliError::failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::serve(args).await,
            Command::Agents(args) => client::agents(args).await,
            Command::Account(args) => client::account(args).await,
            Command::Read(args) => client::read(args).await,
            Command::Verify(args) => offline::verify(args).await,
            Command::Trim(args) => trim::trim(args).await,
            #[cfg(feature = "lake")]
            Command::Archive(args) => archive::archive(args).await,
            #[cfg(feature = "sql")]
            Command::Sql(args) => sql::sql(args).await,
            Command::Token(command) => offline::token(command),
        }
    })
}

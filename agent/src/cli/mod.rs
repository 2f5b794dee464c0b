//! The command line: what can be asked, and the exit codes (0 done, 1 it failed, 2 bad flags or configuration).

mod check;
mod client;
mod read;
mod room;
mod serve;
mod status;
mod supervised;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ConfigError, FlagValue, Sources};

/// Bad flags or configuration.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "pyralog-agent",
    version,
    about = "A flight recorder for sensors",
    long_about = "A flight recorder for sensors: readings come in by MQTT and HTTP, the newest stay in RAM under a fixed cap, \
                  and compressed batches go upstream. Every record is accounted for: committed, pending, or receipted as lost.",
    after_help = "Examples:
  pyralog-agent serve                                        start with defaults, keep 64 MiB of readings in RAM
  pyralog-agent serve --upstream http://hub:7390             and ship them to a hub
  curl -d 'climate temp=21.5' http://127.0.0.1:7380/write    send a first reading
  pyralog-agent read climate                                 read it back
  pyralog-agent status                                       where every record is",
    after_long_help = "Examples:
  pyralog-agent serve                                        start with defaults, keep 64 MiB of readings in RAM
  pyralog-agent serve --upstream http://hub:7390             and ship them to a hub
  curl -d 'climate temp=21.5' http://127.0.0.1:7380/write    send a first reading
  pyralog-agent read climate                                 read it back
  pyralog-agent status                                       where every record is

Exit codes: 0 done, 1 it failed, 2 bad flags or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take readings and serve them until stopped
    Serve(ServeArgs),
    /// Validate a configuration and print what it resolves to
    Check(CheckArgs),
    /// Show where every record of a running agent is
    Status(StatusArgs),
    /// Print the records of a log
    Read(ReadArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pyralog-agent serve --max-memory 128MiB --upstream https://hub.example.com
  pyralog-agent serve --config /etc/pyralog/agent.toml --set storage.segment_age=1m
  PYRALOG_STORAGE__MAX_MEMORY=128MiB pyralog-agent serve

Precedence: flag > environment (PYRALOG_ + key path with __) > file > default.
SIGTERM and SIGINT seal, ship what they can within shutdown_grace, and exit; a second one exits at once.")]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Keep records in RAM alone, never on disk (the only mode so far)
    #[arg(long)]
    memory_only: bool,
    /// Cap on everything that data can make grow [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<String>,
    /// Name of this agent at the hub [default: made from the machine id]
    #[arg(long, value_name = "ID")]
    agent_id: Option<String>,
    /// URL of the hub; without one nothing is sent. Several, before one store: given again, or separated by commas
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
    /// Where MQTT listens [default: 127.0.0.1:1883]
    #[arg(long, value_name = "IP:PORT")]
    mqtt_listen: Option<String>,
    /// Where HTTP listens [default: 127.0.0.1:7380]
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pyralog-agent check --config /etc/pyralog/agent.toml
  pyralog-agent check --config /etc/pyralog/agent.toml --memory-max 96M

The second fails where storage.max_memory needs a larger MemoryMax= of its unit than 96 MiB: it needs 5/4 of the cap and 16 MiB.")]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// MemoryMax= of the service, as systemd writes it: fail if storage.max_memory needs more
    #[arg(long, value_name = "SIZE", value_parser = room::parse_memory_max)]
    memory_max: Option<u64>,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// TOML file; pyralog-agent.toml(5) and examples/config/agent.toml explain every key
    #[arg(long, short, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Set any key, such as storage.segment_age=1m; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// Where the agent's HTTP listens [default: $PYRALOG_URL, else http://127.0.0.1:7380]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File whose first line is a token of the agent's http.tokens [default: $PYRALOG_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// Authority that signed the certificate of an https:// agent, PEM; without it, the system's are trusted
    #[arg(long, value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pyralog-agent status
  pyralog-agent status --json | jq '.logs[].pending'")]
struct StatusArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pyralog-agent read climate --limit 10
  pyralog-agent read climate --from 2026-01-01T00:00:00Z --format csv > climate.csv
  pyralog-agent read climate --format arrow > climate.arrows")]
struct ReadArgs {
    /// Name of the log
    log: String,
    #[command(flatten)]
    agent: AgentArgs,
    /// First offset to print [default: the oldest in the ring]
    #[arg(long, value_name = "N")]
    from_offset: Option<u64>,
    /// Earliest time: Unix nanoseconds or RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Time to stop before: Unix nanoseconds or RFC 3339
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Most records to print
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to print them
    #[arg(long, value_enum, default_value_t = FormatArg::Ndjson)]
    format: FormatArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// One JSON object per line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// Arrow IPC stream
    Arrow,
}

impl FormatArg {
    fn query_name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        let flags = self.set.into_iter().map(|(key, value)| FlagValue { flag: "--set".to_owned(), key, value });
        // Variables that are not UTF-8 cannot be ours.
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Sources { file: self.config, env: env.collect(), flags: flags.collect() }
    }
}

/// What can be asked, for whoever documents it.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Status(args) => client::block_on(status::run(args)),
        Command::Read(args) => client::block_on(read::run(args)),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write key=value, such as storage.segment_age=1m".to_owned()),
    }
}

/// Prints what is wrong with a configuration, each problem on a line that says all, and gives the exit code.
fn refuse(error: &ConfigError) -> ExitCode {
    for problem in &error.problems {
        eprintln!("pyralog-agent: configuration: {problem}");
    }
    ExitCode::from(EXIT_USAGE)
}

/// Prints what is wrong and gives the exit code.
fn fail(code: u8, message: impl std::fmt::Display) -> ExitCode {
    eprintln!("pyralog-agent: {message}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use pyralog_segment::Format;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_of_serve_becomes_its_key() {
        let words = "pyralog-agent serve --memory-only --max-memory 8MiB --agent-id a --upstream http://h \
                     --upstream http://i,http://j --mqtt-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --set log.level=debug";
        let Command::Serve(args) = Cli::try_parse_from(words.split_whitespace()).unwrap().command else {
            panic!("serve was asked for");
        };
        let mut sources = args.sources();
        sources.env.clear();
        let loaded = crate::config::load(&sources).unwrap();
        assert_eq!(loaded.config.storage.max_memory, 8 << 20);
        assert_eq!(loaded.config.agent_id, "a");
        assert_eq!(loaded.config.sync.upstream, ["http://h", "http://i", "http://j"]);
        assert_eq!((loaded.config.mqtt.listen.port(), loaded.config.http.listen.port()), (0, 0));
        assert_eq!(loaded.config.log.level, "debug");
    }

    #[test]
    fn a_setting_without_a_value_says_how_one_is_written() {
        let error = Cli::try_parse_from(["pyralog-agent", "serve", "--set", "storage"]).unwrap_err();
        assert!(error.to_string().contains("write key=value"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    /// The clap value and the HTTP parameter must not drift apart.
    #[test]
    fn every_format_of_read_is_one_the_server_knows() {
        for format in FormatArg::value_variants() {
            assert!(format.query_name().parse::<Format>().is_ok(), "{format:?}");
        }
    }
}

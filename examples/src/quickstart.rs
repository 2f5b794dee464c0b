//! The quickstart: readings come in, the hub goes away, the ring overflows, the hub comes back, and the books balance.

mod readings;
mod screen;
mod sensors;
mod servers;
mod story;
mod verdict;
mod watch;

use std::process::ExitCode;

use clap::Parser;

pub use servers::{AGENT, HUB};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// A hub on a temporary directory, an agent with a small ring, and sensors that publish over MQTT and HTTP beside the
/// readings of this machine. The hub is taken away until the ring overflows, and comes back; then the account of every log is shown
/// and checked. Takes less than a minute.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
struct Args {
    /// Leave both servers up at the end and print their URLs
    #[arg(long)]
    keep: bool,
}

/// Runs the quickstart: 0 when every sum is right, 1 when one is wrong or something broke.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quickstart: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(story::run(args.keep)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

//! `manuals FOLDER`: writes `FOLDER/man` and `FOLDER/completions`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Man pages and shell completions of the agent and the hub
#[derive(Parser)]
struct Args {
    /// Where to write `man` and `completions`
    folder: PathBuf,
    /// The date that the pages bear
    #[arg(long, default_value = "", value_name = "YYYY-MM-DD")]
    date: String,
}

fn main() -> ExitCode {
    let Args { folder, date } = Args::parse();
    match pyralog_manuals::write(&folder, &date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manuals: cannot write below {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

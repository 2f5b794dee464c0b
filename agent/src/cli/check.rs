//! `pyralog-agent check`: would `serve` start with this configuration, and what would it run with?

use std::io::Write;
use std::process::ExitCode;

use super::{CheckArgs, EXIT_USAGE, fail, refuse, room};
use crate::config::load;

pub(super) fn run(args: CheckArgs) -> ExitCode {
    match load(&args.config.sources()) {
        Ok(loaded) => {
            for warning in loaded.warnings.iter().chain(&room::warnings(loaded.config.storage.max_memory)) {
                eprintln!("warning: {warning}");
            }
            // A closed pipe (`check | head`) is the reader's choice.
            let _ = std::io::stdout().write_all(loaded.resolved.as_bytes());
            match args.memory_max.map(|limit| room::fits(loaded.config.storage.max_memory, limit)) {
                Some(Err(message)) => fail(EXIT_USAGE, message),
                _ => ExitCode::SUCCESS,
            }
        }
        Err(error) => refuse(&error),
    }
}

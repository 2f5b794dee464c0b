//! A hub, an agent and simulated sensors in one process tree; see `quickstart --help`.
//!
//! The children are this same program under another name, as busybox does it: called `pyralog-agent` or `pyralog-hub`, it is
//! that program, so that one `cargo run` builds all there is to see.

use std::path::Path;
use std::process::ExitCode;

use pyralog_examples::quickstart;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some(quickstart::AGENT) => pyralog_agent::cli::main(),
        Some(quickstart::HUB) => pyralog_hub::cli::main(),
        _ => quickstart::main(),
    }
}

//! `pyralog-hub`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyralog_hub::cli::main()
}

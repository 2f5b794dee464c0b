//! `pyralog-hub`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyralog_service::panics::end_the_process(pyralog_hub::cli::MAY_PANIC);
    pyralog_hub::cli::main()
}

//! The agent's binary; everything is in the library, so that tests and examples can run it in-process.

fn main() -> std::process::ExitCode {
    pyralog_agent::cli::main()
}

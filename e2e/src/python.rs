//! Python clients, run as their users run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Runs a script with the environment that `cargo xtask setup` makes; what it printed.
///
/// # Errors
/// When the script fails or the environment is missing.
pub async fn run(script: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(interpreter()?);
    command.arg("-c").arg(script).args(args);
    output("the Python script", command).await
}

/// Runs a program to its end; what it printed.
///
/// # Errors
/// When it cannot be started or fails, with what it said.
pub async fn output(name: &str, mut command: Command) -> Result<String> {
    let ended = tokio::task::spawn_blocking(move || command.output()).await?;
    let out = ended.map_err(|error| format!("cannot start {name}: {error}; `cargo xtask setup` installs it"))?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(said);
    }
    Err(format!("{name} ended with {}:\n{said}{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}

/// A program that `cargo xtask setup` installs beside the Python clients.
///
/// # Errors
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let interpreter = interpreter()?;
    let program = interpreter.with_file_name(name);
    match program.is_file() {
        true => Ok(program),
        false => Err(format!("{} is missing; run `cargo xtask setup`", program.display()).into()),
    }
}

fn interpreter() -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("PYRALOG_PYTHON") {
        return Ok(python.into());
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.parent().unwrap_or(here).join(".venv/bin/python");
    if python.is_file() { Ok(python) } else { Err("no .venv with the Python clients; run `cargo xtask setup`".into()) }
}

//! Man pages and shell completions, made from what the programs themselves say: their command lines and their documented
//! configurations. A crate of its own, so that none of it is in the binaries.

mod commands;
mod configurations;
mod page;

use std::fs;
use std::io;
use std::path::Path;

use clap_complete::Shell;

/// A program with a manual.
struct Program {
    command: clap::Command,
    /// Its documented configuration file.
    configuration: &'static str,
}

fn programs() -> [Program; 2] {
    [
        Program {
            command: pyralog_agent::cli::command(),
            configuration: include_str!("../../examples/config/agent.toml"),
        },
        Program { command: pyralog_hub::cli::command(), configuration: include_str!("../../examples/config/hub.toml") },
    ]
}

/// Writes `folder/man` and `folder/completions`; the pages bear the date `date`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path, date: &str) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder)?;
    }
    for Program { command, configuration } in programs() {
        let name = command.get_name().to_owned();
        fs::write(man.join(format!("{name}.toml.5")), configurations::page(&name, configuration, date)?)?;
        for (file, page) in commands::pages(&command, date)? {
            fs::write(man.join(file), page)?;
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command.clone(), &name, &completions)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

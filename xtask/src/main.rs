//! The project's own chores.
//!
//! `cargo xtask test` is the whole check: it installs what it needs, then formats, lints, builds, tests and documents, and
//! closes with a table. `cargo xtask test fmt tidy` runs single steps; `cargo xtask test --list` names them.
//! `cargo xtask sim` simulates agents and hubs from seeds; `cargo xtask cross TARGET` builds the agent for a board.

#![allow(clippy::print_stdout, reason = "a chore talks to its terminal")]

mod command;
mod cross;
mod deb;
mod firmware;
mod fuzz;
mod no_std;
mod runner;
mod setup;
mod steps;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check everything that a change must pass.
    Test {
        /// Run these steps alone, in the table's order.
        steps: Vec<String>,
        /// Name the steps and stop.
        #[arg(long)]
        list: bool,
    },
    /// Simulate whole agents and hubs; `cargo xtask sim --help` tells more.
    #[command(disable_help_flag = true)]
    Sim {
        /// What the simulation takes: `--histories 1000`, `--seed 4711 --trace`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz: each target in turn, from its stored corpus, under nightly and libFuzzer.
    Fuzz {
        /// Fuzz these targets alone.
        targets: Vec<String>,
        /// How long to fuzz each.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Build a small static agent for a board, left at target/cross/TARGET/pyralog-agent.
    Cross {
        /// What to build for, in Rust's names: aarch64-unknown-linux-musl, armv7-unknown-linux-musleabihf and others.
        #[arg(required = true)]
        targets: Vec<String>,
        /// Say what the bytes are, by crate.
        #[arg(long)]
        table: bool,
        /// Run it, under an emulator where it needs one: end to end with a hub of this machine, and the tests of ring, codec and protocol.
        #[arg(long)]
        test: bool,
    },
    /// Package the agent and the hub for Debian, left in target/deb.
    Deb(deb::DebArgs),
    /// Write man pages to target/man, and shell completions to target/completions.
    Manuals,
    /// Install what the tests need: mosquitto, curl, Python clients, cargo-deny.
    Setup,
}

fn main() -> ExitCode {
    let root = root();
    match Cli::parse().chore {
        Chore::Test { list: true, .. } => {
            for step in steps::ALL {
                println!("{:<8} {}", step.name, step.what);
            }
            ExitCode::SUCCESS
        }
        Chore::Test { steps, .. } => match runner::select(steps::ALL, &steps) {
            Ok(chosen) => runner::run(&chosen, &root),
            Err(message) => {
                println!("{message}");
                ExitCode::from(2)
            }
        },
        Chore::Sim { arguments } => verdict(steps::sim(&root, &arguments)),
        Chore::Fuzz { targets, seconds } => verdict(fuzz::run(&root, &targets, seconds)),
        Chore::Cross { targets, table, test } => verdict(cross::run(&root, &targets, table, test)),
        Chore::Deb(args) => verdict(deb::run(&root, &args)),
        Chore::Manuals => verdict(deb::manuals(&root)),
        Chore::Setup => match runner::select(steps::ALL, &["setup".into()]) {
            Ok(chosen) => runner::run(&chosen, &root),
            Err(_) => ExitCode::from(2),
        },
    }
}

fn verdict(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: the parent of this crate's folder, wherever cargo was called.
fn root() -> PathBuf {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

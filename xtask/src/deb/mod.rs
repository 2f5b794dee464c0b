//! `cargo xtask deb ARCHITECTURE`: Debian packages of the agent and the hub, from binaries that are there already.

mod architecture;
mod binary;
mod contents;
mod package;
mod trial;

use std::path::{Path, PathBuf};

use package::{Order, Program};
pub(crate) use trial::run as check;

use crate::command::Run;

/// Where packages are left, below the workspace's root.
const FOLDER: &str = "target/deb";

/// What `cargo xtask deb` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DebArgs {
    /// amd64, arm64, armhf, or one of Rust's targets, such as armv7-unknown-linux-musleabihf
    architecture: String,
    /// Package this program alone: pyralog-agent or pyralog-hub [default: all whose binaries are there]
    #[arg(long)]
    package: Option<String>,
    /// The program itself [default: what `cargo xtask cross` left, or a release build for this machine]
    #[arg(long, requires = "package", value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// Makes the packages that are asked for, and says where they are.
pub(crate) fn run(root: &Path, args: &DebArgs) -> Result<(), String> {
    let (architecture, triple) = architecture::named(&args.architecture)?;
    let chosen = match &args.package {
        Some(name) => vec![package::named(name)?],
        None => package::PROGRAMS.iter().collect(),
    };
    let mut orders: Vec<(&Program, PathBuf)> = Vec::new();
    let mut absent = Vec::new();
    for program in chosen {
        match args.binary.clone().or_else(|| binary::find(root, architecture, triple, program.name)) {
            Some(binary) => orders.push((program, binary)),
            None => absent.push(binary::remedy(architecture, program.name)),
        }
    }
    if orders.is_empty() {
        return Err(format!("there is no binary for {} yet: {}", architecture.debian, absent.join("; ")));
    }
    // Before the manuals, which take their time.
    for (_, binary) in &orders {
        binary::fits(binary, architecture)?;
    }
    for remedy in absent {
        println!("left out: {remedy}");
    }
    manuals(root)?;
    let version = contents::version(root)?;
    for (program, binary) in orders {
        let order = Order { program, architecture, binary: &binary, version: &version, quick: false };
        let made = package::make(root, &order, &root.join("target"), &root.join(FOLDER))?;
        let bytes = std::fs::metadata(&made).map_or(0, |file| file.len());
        println!("{} ({bytes} bytes, from {})", made.display(), binary.display());
    }
    Ok(())
}

/// Writes man pages to `target/man` and completions to `target/completions`.
pub(crate) fn manuals(root: &Path) -> Result<(), String> {
    let date = contents::day(root)?;
    let run = Run::cargo(root).words("run --quiet --locked --package pyralog-manuals --bin manuals -- target --date");
    run.arg(date).go()
}

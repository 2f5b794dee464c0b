//! `cargo xtask cross TARGET`: a static binary of the agent for a board, built on any machine.

mod build;
#[cfg(test)]
mod container;
mod elf;
mod emulated;
mod size;
mod target;
mod tools;

use std::path::{Path, PathBuf};

pub(crate) use target::Target;

use crate::command::which;

/// Largest stripped agent, in bytes: a root file system of 32 MiB must not notice it.
const MAX_BYTES: u64 = 5 << 20;
/// Lines of the table of what the bytes are.
const TABLE_LINES: usize = 24;

/// The target whose programs `cargo xtask test` runs under an emulator: 32 bits, and the board that most have.
const EMULATED: &str = "armv7-unknown-linux-musleabihf";
/// The target whose programs run here, so that what they take can be measured.
const MEASURED: &str = "x86_64-unknown-linux-musl";

/// What was built for a target.
pub(crate) struct Built {
    /// The stripped binary.
    pub(crate) binary: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Builds `targets`, checks each binary, says what its bytes are, and runs its tests.
pub(crate) fn run(root: &Path, targets: &[String], table: bool, test: bool) -> Result<(), String> {
    let chosen = targets.iter().map(|name| Target::named(name)).collect::<Result<Vec<_>, _>>()?;
    for target in chosen {
        let made = make(root, target);
        // Above all when the binary is too large.
        let of_what = size::table(&build::unstripped(root, target), TABLE_LINES);
        match (&made, of_what) {
            (_, Ok(text)) if table => println!("{text}"),
            (Ok(_), Err(error)) if table => return Err(error),
            _ => {}
        }
        let built = made?;
        println!("{}", built.summary(target));
        if test {
            emulated::end_to_end(root, target, &built)?;
            emulated::units(root, target, true)?;
        }
    }
    Ok(())
}

/// The step of `cargo xtask test`: small binaries for every target, under their limits of size, and of memory where they run here.
pub(crate) fn check(root: &Path) -> Result<String, String> {
    if which("rustup").is_none() {
        return Ok("SKIPPED: without rustup there is no standard library for boards".to_owned());
    }
    let mut sizes = Vec::new();
    for target in target::ALL {
        sizes.push(format!("{} bytes ({})", make(root, target)?.bytes, target.triple));
    }
    let target = Target::named(MEASURED)?;
    let here = make(root, target)?;
    let tests = if cfg!(target_arch = "x86_64") { emulated::end_to_end(root, target, &here)? } else { String::new() };
    Ok(format!("{}, at most {MAX_BYTES}; {tests}", sizes.join(", ")))
}

/// The step of `cargo xtask test` that runs a board's binary, and the tests of codec and protocol as a board's programs.
pub(crate) fn check_emulated(root: &Path) -> Result<String, String> {
    let target = Target::named(EMULATED)?;
    if which("rustup").is_none() {
        return Ok("SKIPPED: without rustup there is no standard library for boards".to_owned());
    }
    if let Err(error) = emulated::emulator(root, target) {
        return Ok(format!("SKIPPED: no emulator for {EMULATED} can be had: {error}"));
    }
    let built = make(root, target)?;
    let end_to_end = emulated::end_to_end(root, target, &built)?;
    Ok(format!("{end_to_end}; codec and protocol: {}", emulated::units(root, target, false)?))
}

/// Builds for one target, and checks that the binary is what a board can run.
pub(crate) fn make(root: &Path, target: &Target) -> Result<Built, String> {
    let tools = tools::ready(root)?;
    let binary = build::build(root, target, &tools)?;
    let bytes = std::fs::read(&binary).map_err(|error| format!("cannot read {}: {error}", binary.display()))?;
    elf::check(&bytes, target).map_err(|error| format!("{}: {error}", binary.display()))?;
    let bytes = bytes.len() as u64;
    if bytes > MAX_BYTES {
        return Err(format!(
            "{} has {bytes} bytes, {MAX_BYTES} are allowed; `cargo xtask cross {} --table` says what they are",
            binary.display(),
            target.triple
        ));
    }
    Ok(Built { binary, bytes })
}

impl Built {
    fn summary(&self, target: &Target) -> String {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        format!("{}: {} bytes ({mib:.2} MiB), static, for {}", self.binary.display(), self.bytes, target.boards)
    }
}

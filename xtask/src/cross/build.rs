//! One build for one machine.

use std::path::{Path, PathBuf};

use super::Target;
use super::tools::{self, Std, Tools};
use crate::command::Run;

/// The profile of small binaries, in the workspace's manifest.
const PROFILE: &str = "size";
/// What is built.
const PROGRAM: &str = "pyralog-agent";

/// Nobody can look at what a stripped binary without unwinding had on its stack: no tables for it, in Rust or in C.
const RUST: &str = "-Cforce-unwind-tables=no";
/// Of zstd's compressors those that our level (3) can choose are enough; what the others are called is in `zstd_compress_internal.h`.
const C: &str = "-fno-unwind-tables -fno-asynchronous-unwind-tables -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR \
                 -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR \
                 -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR \
                 -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR";

/// Builds the agent and leaves it, stripped, at `target/cross/TARGET/pyralog-agent`.
pub(super) fn build(root: &Path, target: &Target, tools: &Tools) -> Result<PathBuf, String> {
    let std = tools::std_of(root, target)?;
    let run = zigbuild(root, target, tools, std, "zigbuild", RUST)?.words("--profile").arg(PROFILE);
    // Without `backtrace` and unwinding.
    let run = if std == Std::FromSource { run.arg("-Zbuild-std-features=optimize_for_size") } else { run };
    let run = run.env(&format!("CFLAGS_{}", target.triple.replace('-', "_")), C);
    run.arg("--package").arg(PROGRAM).arg("--bin").arg(PROGRAM).go()?;
    strip(root, target)
}

/// A command that runs tests as programs of `target`.
pub(super) fn test(root: &Path, target: &Target, tools: &Tools) -> Result<Run, String> {
    zigbuild(root, target, tools, tools::std_of(root, target)?, "test", "")
}

fn zigbuild(root: &Path, target: &Target, tools: &Tools, std: Std, command: &str, flags: &str) -> Result<Run, String> {
    let run = Run::new(tools.zigbuild(), root).arg(command).words("--locked --target").arg(target.triple);
    let run = run.arg("--target-dir").arg(folder(root)).env("PATH", tools.path()?);
    let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", target.in_capitals());
    Ok(match std {
        Std::Ready => run.env(&variable, flags),
        // A stable compiler builds its own library only if it is told that this is meant. Without a finished library there are no
        // start-up files beside it either: they are zig's.
        Std::FromSource => run
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC_BOOTSTRAP", "1")
            .env(&variable, format!("{flags} -Clink-self-contained=no").trim()),
    })
}

/// A target folder of our own: a long build for a board must not make those for this machine wait, and what `RUSTC_BOOTSTRAP` makes of
/// macros there would have all be built again here.
fn folder(root: &Path) -> PathBuf {
    root.join("target/cross-build")
}

/// The binary with its symbols.
pub(super) fn unstripped(root: &Path, target: &Target) -> PathBuf {
    folder(root).join(target.triple).join(PROFILE).join(PROGRAM)
}

fn strip(root: &Path, target: &Target) -> Result<PathBuf, String> {
    let folder = root.join("target/cross").join(target.triple);
    std::fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let binary = folder.join(PROGRAM);
    tools::objcopy(root)?.arg("--strip-all").arg(unstripped(root, target)).arg(&binary).output()?;
    Ok(binary)
}

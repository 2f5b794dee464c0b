//! The compilers for other machines, and Rust's standard library there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Target;
use crate::command::{Run, which};
use crate::setup;

/// What builds need.
pub(crate) struct Tools {
    /// The folder with `cargo-zigbuild`, which finds zig beside itself.
    programs: PathBuf,
}

/// Where a target's standard library comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Std {
    /// Built by Rust's own people.
    Ready,
    /// Built here from its source.
    FromSource,
}

/// Installs zig and cargo-zigbuild, pinned, where only we use them.
pub(super) fn ready(root: &Path) -> Result<Tools, String> {
    let folder = root.join("target/tools/zig");
    setup::virtual_environment(root, &folder, &root.join("cross/requirements.txt"))?;
    Ok(Tools { programs: folder.join("bin") })
}

impl Tools {
    /// The search path with our programs first.
    pub(super) fn path(&self) -> Result<OsString, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = [self.programs.clone()].into_iter().chain(std::env::split_paths(&path));
        std::env::join_paths(all).map_err(|error| format!("the search path: {error}"))
    }

    /// The program that builds.
    pub(super) fn zigbuild(&self) -> PathBuf {
        self.programs.join("cargo-zigbuild")
    }
}

/// Finds the standard library: not every target is to be had everywhere, and its source does for all.
pub(super) fn std_of(root: &Path, target: &Target) -> Result<Std, String> {
    if which("rustup").is_none() {
        return Err("rustup is not here; it brings the standard library for other machines: https://rustup.rs".into());
    }
    let rustup = |words: &str| Run::new("rustup", root).words(words);
    if rustup("target add").arg(target.triple).output().is_ok() {
        return Ok(Std::Ready);
    }
    println!("{}: no finished standard library to be had; building it from source", target.triple);
    rustup("component add rust-src").output().map_err(|error| {
        format!("{error}\nneither the standard library for {} nor its source can be had", target.triple)
    })?;
    Ok(Std::FromSource)
}

/// The program that strips binaries of every machine; it comes with the compiler.
pub(super) fn objcopy(root: &Path) -> Result<PathBuf, String> {
    let sysroot = Run::new("rustc", root).words("--print sysroot").output()?;
    let host = Run::new("rustc", root).words("--print host-tuple").output()?;
    let program = Path::new(sysroot.trim()).join("lib/rustlib").join(host.trim()).join("bin/rust-objcopy");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is not there: it comes with rustc", program.display()))
    }
}

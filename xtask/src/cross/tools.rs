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

/// Finds the standard library. Its source comes first: built along with the rest it is smaller than the finished one, it is to be had for
/// every target, and what comes out is the same on all machines.
pub(super) fn std_of(root: &Path, target: &Target) -> Result<Std, String> {
    if which("rustup").is_none() {
        return Err("rustup is not here; it brings the standard library for other machines: https://rustup.rs".into());
    }
    let rustup = |words: &str| Run::new("rustup", root).words(words);
    let Err(error) = rustup("component add rust-src").output() else { return Ok(Std::FromSource) };
    println!("{error}\nno source of the standard library to be had; taking the finished one for {}", target.triple);
    rustup("target add").arg(target.triple).output().map_err(|error| {
        format!("{error}\nneither the source of the standard library nor the finished one can be had")
    })?;
    Ok(Std::Ready)
}

/// The program that strips binaries of every machine; it comes with the compiler, whose libraries it needs.
pub(super) fn objcopy(root: &Path) -> Result<Run, String> {
    let sysroot = Run::new("rustc", root).words("--print sysroot").output()?;
    let host = Run::new("rustc", root).words("--print host-tuple").output()?;
    let library = Path::new(sysroot.trim()).join("lib");
    let program = library.join("rustlib").join(host.trim()).join("bin/rust-objcopy");
    if !program.is_file() {
        return Err(format!("{} is not there: it comes with rustc", program.display()));
    }
    Ok(Run::new(program, root).env("LD_LIBRARY_PATH", library))
}

//! Proof that the protocol crate needs no standard library, that its sidecar needs no allocator, and that firmware
//! stays small.

use std::path::Path;

use crate::command::{Run, which};
use crate::firmware;
use crate::tidy::sources;

/// Targets that have no standard library at all: Cortex-M4 with floating point, and the smallest Cortex-M.
pub(crate) const BARE: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv6m-none-eabi"];
const BUILD: &str = "build --locked --package pyralog-sync-protocol --no-default-features";

/// Builds the crate for bare targets, with an allocator and without, and the firmware. Where those targets cannot be
/// had, builds the crate for this machine instead; the sources are searched for `std` either way.
pub(crate) fn run(root: &Path) -> Result<String, String> {
    let folder = root.join("sync-protocol/src");
    let mut bare = false;
    for (path, text) in sources(&folder)? {
        bare |= text.contains("#![no_std]") || text.contains("#![cfg_attr(not(test), no_std)]");
        if let Some(line) = first_use_of_std(&text) {
            let name = path.strip_prefix(root).unwrap_or(&path).display();
            return Err(format!("{name}:{line} uses `std`; take it from `core` or `alloc`"));
        }
    }
    if !bare {
        return Err("sync-protocol/src/lib.rs does not say `#![no_std]`".to_owned());
    }
    let is_there = |target| Run::new("rustup", root).words("target add").arg(target).go().is_ok();
    if which("rustup").is_some() && BARE.into_iter().all(is_there) {
        let mut sizes = Vec::new();
        for target in BARE {
            Run::cargo(root).words(BUILD).arg("--target").arg(target).go()?;
            Run::cargo(root).words(BUILD).words("--features alloc --target").arg(target).go()?;
            sizes.push(firmware::measure(root, target)?);
        }
        return Ok(format!("built for {}; firmware: {}", BARE.join(" and "), sizes.join(", ")));
    }
    Run::cargo(root).words(BUILD).go()?;
    Run::cargo(root).words(BUILD).words("--features alloc").go()?;
    Ok(format!("{} cannot be had here: built for this machine, sources searched for `std`", BARE.join(" and ")))
}

/// The line of the first use of `std` that is always there, from 1. What is behind a `cfg` for tests or for the feature
/// `std` may use it; from `#[cfg(test)]` on, the rest of a file is tests.
fn first_use_of_std(text: &str) -> Option<usize> {
    let mut before = "";
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().trim();
        if code == "#[cfg(test)]" {
            return None;
        }
        let is_optional = before.starts_with("#[cfg(") && (before.contains("\"std\"") || before.contains("test"));
        if !is_optional && uses_std(code) {
            return Some(index + 1);
        }
        before = code;
    }
    None
}

fn uses_std(code: &str) -> bool {
    let is_part = |text: &str| text.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    code.contains("extern crate std") || code.match_indices("std::").any(|(at, _)| !is_part(&code[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_std_is_found_with_its_line() {
        assert_eq!(first_use_of_std("use core::fmt;\nuse std::time::Duration;\n"), Some(2));
        assert_eq!(first_use_of_std("extern crate std;\n"), Some(1));
        assert_eq!(first_use_of_std("fn f() { ::std::process::exit(1) }"), Some(1));
    }

    #[test]
    fn what_is_behind_a_cfg_may_use_std() {
        assert_eq!(first_use_of_std("#[cfg(any(feature = \"std\", test))]\nextern crate std;\nmod a;\n"), None);
        assert_eq!(first_use_of_std("#[cfg(unix)]\nextern crate std;\n"), Some(2));
    }

    #[test]
    fn comments_tests_and_names_that_end_alike_may_say_std() {
        assert_eq!(first_use_of_std("// std::fmt is not here\nuse my_std::x;\n#[cfg(test)]\nuse std::vec;\n"), None);
    }
}

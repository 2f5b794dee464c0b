//! Proof that the protocol crate needs no standard library.

use std::path::Path;

use crate::command::{Run, which};
use crate::tidy::sources;

/// A target that has no standard library at all.
const BARE: &str = "thumbv7em-none-eabihf";
const BUILD: &str = "build --locked --package pyralog-sync-protocol --no-default-features";

/// Builds the crate for a bare target. Where that target cannot be had, builds it for this machine instead; the sources
/// are searched for `std` either way.
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
    if which("rustup").is_some() && Run::new("rustup", root).words("target add").arg(BARE).go().is_ok() {
        Run::cargo(root).words(BUILD).arg("--target").arg(BARE).go()?;
        return Ok(format!("built for {BARE}"));
    }
    Run::cargo(root).words(BUILD).go()?;
    Ok(format!("{BARE} cannot be had here: built for this machine, sources searched for `std`"))
}

/// The line of the first `std::` before the tests begin, from 1.
fn first_use_of_std(text: &str) -> Option<usize> {
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    let position = code.map(|line| line.split("//").next().unwrap_or_default()).position(|line| {
        line.contains("extern crate std")
            || line
                .match_indices("std::")
                .any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
    });
    position.map(|index| index + 1)
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
    fn comments_tests_and_names_that_end_alike_may_say_std() {
        assert_eq!(first_use_of_std("// std::fmt is not here\nuse my_std::x;\n#[cfg(test)]\nuse std::vec;\n"), None);
    }
}

//! The steps of `cargo xtask test`, cheapest verdict first.
//!
//! One target folder and one profile serve them all; what clippy compiles of the dependencies, rustdoc uses again.

use std::path::Path;

use crate::command::Run;
use crate::runner::Step;
use crate::{cross, deb, no_std, setup, tidy};

/// Every step, in order.
pub(crate) const ALL: &[Step] = &[
    Step { name: "setup", what: "tools that the tests drive, and the dependencies' sources", run: setup::run },
    Step { name: "fmt", what: "one formatting", run: fmt },
    Step { name: "tidy", what: "sizes of files, left-overs, unsafe code, direction of dependencies", run: tidy::run },
    Step { name: "deny", what: "bans, licences and sources of dependencies", run: deny },
    Step { name: "clippy", what: "lints, warnings denied", run: clippy },
    Step { name: "build", what: "binaries and tests", run: build },
    // Before the tests, which run that firmware where there is an emulator.
    Step {
        name: "no-std",
        what: "the protocol crate without the standard library, and the size of firmware",
        run: no_std::run,
    },
    Step { name: "test", what: "unit, integration and end-to-end tests", run: test },
    Step { name: "cross", what: "small static agents, their size, and their memory here", run: cross::check },
    Step {
        name: "emulated",
        what: "a board's agent, codec and protocol under an emulator",
        run: cross::check_emulated,
    },
    // After the boards' agents: one of them is packaged too.
    Step { name: "packages", what: "Debian packages: made, looked at, installed, upgraded, purged", run: deb::check },
    Step { name: "doctest", what: "examples in the documentation", run: doctest },
    Step { name: "doc", what: "documentation, warnings denied", run: doc },
];

fn fmt(root: &Path) -> Result<String, String> {
    Run::cargo(root).words("fmt --all --check").go()?;
    Ok(String::new())
}

fn deny(root: &Path) -> Result<String, String> {
    let program = setup::cargo_deny(root).ok_or("cargo-deny is not installed; run `cargo xtask setup`")?;
    Run::new(program, root)
        .words("--offline --locked --log-level error check --hide-inclusion-graph bans licenses sources")
        .go()?;
    Ok("advisories need the network and are not part of this".to_owned())
}

fn clippy(root: &Path) -> Result<String, String> {
    Run::cargo(root).words("clippy --locked --workspace --all-targets -- -D warnings").go()?;
    Ok(String::new())
}

fn build(root: &Path) -> Result<String, String> {
    // One invocation, so that binaries and tests agree on the features of what they share.
    Run::cargo(root).words("build --locked --workspace --lib --bins --tests").go()?;
    Ok(String::new())
}

fn test(root: &Path) -> Result<String, String> {
    let run = Run::cargo(root).words("test --locked --workspace --lib --bins --tests --no-fail-fast");
    counted(run.env("PYRALOG_PYTHON", setup::python(root)))
}

fn doctest(root: &Path) -> Result<String, String> {
    counted(Run::cargo(root).words("test --locked --workspace --doc --no-fail-fast"))
}

fn doc(root: &Path) -> Result<String, String> {
    let run = Run::cargo(root).words("doc --locked --workspace --no-deps");
    run.env("RUSTDOCFLAGS", "-D warnings").go()?;
    Ok(String::new())
}

/// Runs the simulation: at the speed of a release, with the assertions of a debug build.
pub(crate) fn sim(root: &Path, arguments: &[String]) -> Result<(), String> {
    let run = Run::cargo(root).words("run --quiet --locked --profile sim -p pyralog-sim --");
    arguments.iter().fold(run, Run::arg).go()
}

/// Runs cargo's tests and adds up the closing lines of all suites.
pub(crate) fn counted(run: Run) -> Result<String, String> {
    let mut totals = Totals::default();
    let outcome = run.lines(|line| totals.add(line));
    println!("{totals}");
    for line in &totals.failed_lines {
        println!("  {line}");
    }
    outcome.map(|()| totals.to_string())
}

#[derive(Default)]
struct Totals {
    suites: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
    failed_lines: Vec<String>,
}

impl Totals {
    fn add(&mut self, line: &str) {
        if line.starts_with("test ") && line.ends_with("... FAILED") {
            self.failed_lines.push(line.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        self.suites += 1;
        for part in counts.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { suites, passed, failed, ignored, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored in {suites} suites")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_suites_add_up() {
        let mut totals = Totals::default();
        totals.add("test a::b ... FAILED");
        totals.add("test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        totals.add("test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.20s");
        totals.add("running 40 tests");
        assert_eq!(totals.to_string(), "43 passed, 1 failed, 2 ignored in 2 suites");
        assert_eq!(totals.failed_lines, ["test a::b ... FAILED"]);
    }
}

//! `cargo xtask fuzz`: each target in turn under libFuzzer, from its stored corpus, with memory as one of the properties.

use std::path::Path;

use crate::command::{Run, which};

/// What a process may hold: the inputs are small, and so is every cap that the targets set.
const RSS_MB: &str = "1024";
/// The largest single allocation. The greatest that a target allows on purpose is a decoded segment of 64 MiB at the most.
const MALLOC_MB: &str = "128";
/// Seconds for one input: anything near that is a loop.
const TIMEOUT_S: &str = "10";
/// Bytes of an input.
const MAX_LEN: &str = "4096";

/// Runs `targets`, or all there are, for `seconds` each.
pub(crate) fn run(root: &Path, targets: &[String], seconds: u64) -> Result<(), String> {
    let known = known(root)?;
    if let Some(unknown) = targets.iter().find(|target| !known.contains(target)) {
        return Err(format!("no fuzz target is called `{unknown}`; there are: {}", known.join(", ")));
    }
    ready(root)?;
    let chosen = if targets.is_empty() { &known } else { targets };
    for (index, target) in chosen.iter().enumerate() {
        println!("\n==> [{}/{}] {target} for {seconds} s", index + 1, chosen.len());
        one(root, target, seconds).map_err(|error| {
            format!(
                "{error}\nIf an input was found, it lies in fuzz/artifacts/{target}: move it to fuzz/crashes/{target}, where \
                 `cargo test -p pyralog-fuzz` replays it from then on"
            )
        })?;
    }
    Ok(())
}

/// Finds go to a folder of their own beside the stored corpus, so that what is stored stays small.
fn one(root: &Path, target: &str, seconds: u64) -> Result<(), String> {
    let found = root.join("fuzz/target/found").join(target);
    std::fs::create_dir_all(&found).map_err(|error| format!("cannot create {}: {error}", found.display()))?;
    // Generated coverage is for all of the dependencies; one unit each would take twice as long to build.
    let run = Run::cargo_of("nightly", root).words("fuzz run --codegen-units 16").arg(target).arg(&found);
    let run = run.arg(format!("fuzz/corpus/{target}")).arg("--");
    let run = run.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={RSS_MB}"));
    let run = run.arg(format!("-malloc_limit_mb={MALLOC_MB}")).arg(format!("-timeout={TIMEOUT_S}"));
    run.arg(format!("-max_len={MAX_LEN}")).words("-print_final_stats=1 -verbosity=1").go()
}

/// The names of the fuzzers' files.
fn known(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let names = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        Some(name.to_str()?.strip_suffix(".rs")?.to_owned())
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

/// Says what is missing before anything is built.
fn ready(root: &Path) -> Result<(), String> {
    if Run::cargo_of("nightly", root).arg("--version").output().is_err() {
        return Err(
            "libFuzzer needs a nightly toolchain: rustup toolchain install nightly --profile minimal".to_owned()
        );
    }
    if which("cargo-fuzz").is_none() && Run::cargo_of("nightly", root).words("fuzz --version").output().is_err() {
        return Err("cargo-fuzz is not installed: cargo install cargo-fuzz --locked".to_owned());
    }
    if ["c++", "g++", "clang++"].iter().all(|compiler| which(compiler).is_none()) {
        return Err("libFuzzer is built from C++ and there is no compiler: apt-get install g++".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_there_is_named_with_those_that_are() {
        let error = run(&crate::root(), &["fames".to_owned()], 1).unwrap_err();
        assert!(error.contains("`fames`") && error.contains("frames") && error.contains("mqtt"), "{error}");
    }
}

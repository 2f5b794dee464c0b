//! What was built for a board, run here: under its emulator, or as it is where this machine is one of its kind.

use std::path::Path;

use super::tools::{self, Tools};
use super::{Built, Target, build};
use crate::command::Run;
use crate::{setup, steps};

/// Crates whose own tests run as a board's programs: the codec, and the protocol. The model check of the protocol is left out: it proves
/// the same on any machine, and takes millions of steps.
const UNITS: &str =
    "--package pyralog-segment --package pyralog-sync-protocol --lib --test suite --test pair --test sidecar";
/// The ring, which is in the agent; with all that the agent is made of it takes minutes to build, so on request alone.
const RING: &str = "--package pyralog-agent --lib";

/// How programs of `target` are started here: nothing where none is needed. An error says why it cannot be had.
pub(super) fn emulator(root: &Path, target: &Target) -> Result<Option<String>, String> {
    let Some((program, processor)) = target.emulator else { return Ok(None) };
    Ok(Some(format!("{} -cpu {processor}", setup::emulator(root, program)?.display())))
}

/// The agent that was built for `target`, end to end with a hub of this machine.
pub(super) fn end_to_end(root: &Path, target: &Target, built: &Built) -> Result<String, String> {
    let emulator = emulator(root, target)?;
    // The whole workspace, as the tests' own step does: to build less would mean other features, and so all over again.
    Run::cargo(root).words("build --locked --workspace --bins").go()?;
    let run = Run::cargo(root).words("test --locked --workspace --test all -- --ignored --nocapture board::");
    // What an emulator takes of memory and time says nothing of a board.
    let run = if emulator.is_none() { run.arg("small::") } else { run };
    let run = run.env("PYRALOG_E2E_AGENT", &built.binary);
    steps::counted(run.env("PYRALOG_E2E_EMULATOR", emulator.unwrap_or_default()))
}

/// The tests of codec and protocol as programs of `target`; those of the ring too if `ring` says so.
pub(super) fn units(root: &Path, target: &Target, ring: bool) -> Result<String, String> {
    let tools = tools::ready(root)?;
    let mut told = vec![steps::counted(tests(root, target, &tools)?.words(UNITS))?];
    if ring {
        told.push(steps::counted(tests(root, target, &tools)?.words(RING).words("-- ring::"))?);
    }
    Ok(told.join("; "))
}

fn tests(root: &Path, target: &Target, tools: &Tools) -> Result<Run, String> {
    let run = build::test(root, target, tools)?.words("--no-fail-fast");
    let run = run.env("CARGO_PROFILE_DEV_DEBUG", "0");
    let runner = format!("CARGO_TARGET_{}_RUNNER", target.in_capitals());
    Ok(match emulator(root, target)? {
        Some(emulator) => run.env(&runner, emulator),
        None => run,
    })
}

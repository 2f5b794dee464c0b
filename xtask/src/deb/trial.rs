//! The step `packages`: packages of the debug binaries, looked at by lintian, and installed, upgraded, removed and purged in a
//! small Debian of its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::package::{Order, PROGRAMS, Program, make};
use super::{architecture, contents};
use crate::command::{Run, which};

mod house;

use house::House;

/// Makes and tries the packages.
pub(crate) fn run(root: &Path) -> Result<String, String> {
    if which("dpkg-deb").is_none() {
        return Ok("SKIPPED: dpkg-deb is not here; packages are made on Debian and its kin".to_owned());
    }
    let architecture = architecture::ALL.iter().find(|known| known.is_here());
    let architecture = architecture.ok_or("there are no packages for this machine")?;
    let debug = root.join("target/debug");
    let folder = root.join("target/packages");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Run::new(debug.join("manuals"), root).arg(&folder).arg("--date").arg(contents::day(root)?).go().map_err(unbuilt)?;
    let version = contents::version(root)?;
    let mut made = Vec::new();
    for program in PROGRAMS {
        let binary = debug.join(program.name);
        let order = Order { program, architecture, binary: &binary, version: &version, quick: true };
        made.push((program, make(root, &order, &folder, &folder)?));
        if program.short == "agent" {
            is_the_same_again(root, &order, &folder)?;
        }
    }
    for_another_machine(root, &folder, &version)?;
    let lint = lint(root, &made)?;
    let trial = install(root, &folder, &made)?;
    Ok(format!("{} packages, the same bytes when made again; {lint}; {trial}", made.len()))
}

fn unbuilt(error: String) -> String {
    format!("{error}; `cargo xtask test build packages` builds what the packages are made of")
}

fn is_the_same_again(root: &Path, order: &Order<'_>, folder: &Path) -> Result<(), String> {
    let again = folder.join("again");
    fs::create_dir_all(&again).map_err(|error| format!("cannot make {}: {error}", again.display()))?;
    let second = make(root, order, folder, &again)?;
    let first = folder.join(second.file_name().unwrap_or_default());
    Run::new("cmp", root).arg(first).arg(second).go().map_err(|error| format!("the package differs each time: {error}"))
}

/// A package for ARM says so, and a program of this machine is not taken for one.
fn for_another_machine(root: &Path, folder: &Path, version: &str) -> Result<(), String> {
    let (armhf, _) = architecture::named("armhf")?;
    let agent = super::package::named("pyralog-agent")?;
    let built = super::binary::find(root, armhf, None, agent.name);
    let order = |binary: &Path| {
        let order = Order { program: agent, architecture: armhf, binary, version, quick: true };
        make(root, &order, folder, folder)
    };
    let here = root.join("target/debug").join(agent.name);
    if architecture::ALL.iter().any(|known| known.is_here() && known != armhf) && order(&here).is_ok() {
        return Err("a program of this machine went into a package for armhf".to_owned());
    }
    let stand_in = folder.join("armhf-head");
    let binary = match built {
        Some(binary) => binary,
        // No board's program is here: the head of one is enough to be told from ours.
        None => fs::write(&stand_in, arm_head()).map(|()| stand_in).map_err(|error| error.to_string())?,
    };
    let package = order(&binary)?;
    let told = Run::new("dpkg-deb", root).arg("--field").arg(&package).arg("Architecture").output()?;
    if told.trim() != "armhf" {
        return Err(format!("{} says that it is for {}", package.display(), told.trim()));
    }
    Ok(())
}

/// An ELF header for 32-bit ARM, and nothing behind it.
fn arm_head() -> Vec<u8> {
    let mut head = b"\x7fELF\x01\x01\x01".to_vec();
    head.resize(52, 0);
    // Type: a program; machine; version; size of this header; no tables.
    for (at, byte) in [(16, 2), (18, 40), (20, 1), (40, 52), (42, 32), (46, 40)] {
        if let Some(place) = head.get_mut(at) {
            *place = byte;
        }
    }
    head
}

fn lint(root: &Path, made: &[(&Program, PathBuf)]) -> Result<String, String> {
    if which("lintian").is_none() {
        return Ok("SKIPPED: lintian is not here".to_owned());
    }
    let run = Run::new("lintian", root).words("--allow-root --fail-on error --tag-display-limit 0");
    made.iter().fold(run, |run, (_, package)| run.arg(package)).go()?;
    Ok("lintian finds no error".to_owned())
}

fn install(root: &Path, folder: &Path, made: &[(&Program, PathBuf)]) -> Result<String, String> {
    if Run::new("id", root).arg("-u").output()?.trim() != "0" {
        return Ok("SKIPPED: only root can install packages, even elsewhere".to_owned());
    }
    let house = House::build(root, folder)?;
    for (program, package) in made {
        house.installs(program, package)?;
        house.upgrades(program, package)?;
    }
    for (program, _) in made {
        house.removes_and_purges(program)?;
    }
    house.is_as_it_was()?;
    house.demolish()?;
    Ok("installed, upgraded with an edited configuration, removed and purged".to_owned())
}

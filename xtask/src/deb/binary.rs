//! The program that goes into a package: where it is, whether it fits, and what it needs of the system.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::architecture::{ALL, Architecture};
use crate::command::Run;

/// The binary of `program` that a build has left, static ones first.
pub(crate) fn find(root: &Path, architecture: &Architecture, triple: Option<&str>, program: &str) -> Option<PathBuf> {
    let triples = triple.map_or(architecture.triples, |_| &[]).iter().copied().chain(triple);
    let mut places: Vec<_> = triples.map(|triple| root.join("target/cross").join(triple).join(program)).collect();
    if architecture.is_here() && triple.is_none() {
        places.push(root.join("target/release").join(program));
    }
    places.into_iter().find(|place| place.is_file())
}

/// How to get one.
pub(crate) fn remedy(architecture: &Architecture, program: &str) -> String {
    let cross = format!("`cargo xtask cross {}`", architecture.triples.first().unwrap_or(&""));
    match (program, architecture.is_here()) {
        ("pyralog-agent", false) => format!("{cross} makes {program}"),
        ("pyralog-agent", true) => format!("{cross} or `cargo build --release -p {program}` makes {program}"),
        (_, true) => format!("`cargo build --release -p {program}` makes {program}"),
        (_, false) => format!("`--package {program} --binary PATH` takes one that was built on such a machine"),
    }
}

/// Refuses what is no program for `architecture`: a package of the wrong machine installs well and then runs nowhere.
pub(crate) fn fits(path: &Path, architecture: &Architecture) -> Result<(), String> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(20).read_to_end(&mut head));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    is_for(&head, architecture).map_err(|error| format!("{}: {error}", path.display()))
}

fn is_for(head: &[u8], architecture: &Architecture) -> Result<(), String> {
    let is_elf = head.starts_with(b"\x7fELF");
    let (Some(low), Some(high), true) = (head.get(18), head.get(19), is_elf) else {
        return Err("this is no ELF program".to_owned());
    };
    let machine = u16::from_le_bytes([*low, *high]);
    if machine == architecture.machine {
        return Ok(());
    }
    let found = ALL.iter().find(|other| other.machine == machine).map_or("another machine", |other| other.debian);
    Err(format!("this program is for {found}, and the package is for {}", architecture.debian))
}

/// The packages that the program at `path` needs; none if it is static.
pub(crate) fn depends(path: &Path, root: &Path) -> Result<String, String> {
    let readelf = |flag: &str| Run::new("readelf", root).words(flag).arg(path).env("LC_ALL", "C").output();
    judge(&readelf("--dynamic --wide")?, &readelf("--version-info --wide")?)
}

fn judge(dynamic: &str, versions: &str) -> Result<String, String> {
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let mut packages = BTreeSet::new();
    for library in needed.filter_map(|line| line.split(['[', ']']).nth(1)) {
        match library {
            "libgcc_s.so.1" => packages.insert("libgcc-s1 (>= 4.2)".to_owned()),
            "libc.so.6" | "libm.so.6" | "libdl.so.2" | "libpthread.so.0" => {
                packages.insert(format!("libc6 (>= {})", newest_glibc(versions)?))
            }
            loader if loader.starts_with("ld-linux") => false,
            other => return Err(format!("the program needs {other}, and nobody has said which package has it")),
        };
    }
    Ok(packages.into_iter().collect::<Vec<_>>().join(", "))
}

/// The newest `GLIBC_x.y` among the versions of symbols, which is the oldest glibc that will do.
fn newest_glibc(versions: &str) -> Result<String, String> {
    let words = versions.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    let numbers = words.filter_map(|version| {
        let (major, minor) = version.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    let (major, minor) = numbers.max().ok_or("the program is linked with glibc, and does not say with which")?;
    Ok(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::architecture::named;

    #[test]
    fn a_program_of_another_machine_is_refused_by_name() {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(18, 0);
        elf.extend(183u16.to_le_bytes());
        assert_eq!(is_for(&elf, named("arm64").unwrap().0), Ok(()));
        let error = is_for(&elf, named("armhf").unwrap().0).unwrap_err();
        assert!(error.contains("for arm64") && error.contains("for armhf"), "{error}");
        assert!(is_for(b"#!/bin/sh\n", named("arm64").unwrap().0).unwrap_err().contains("no ELF"));
    }

    #[test]
    fn what_a_program_links_becomes_packages_and_an_unknown_library_is_told() {
        let dynamic = " 0x01 (NEEDED)  Shared library: [libgcc_s.so.1]\n 0x01 (NEEDED)  Shared library: [libc.so.6]\n \
                       0x01 (NEEDED)  Shared library: [ld-linux-x86-64.so.2]\n";
        let versions =
            "  0x0010:   Name: GLIBC_2.9  Flags: none\n 0x0020: Name: GLIBC_2.34 Flags: none Name: GLIBC_2.2.5";
        assert_eq!(judge(dynamic, versions).unwrap(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2)");
        assert_eq!(judge("There is no dynamic section in this file.", "").unwrap(), "");
        assert!(judge(" (NEEDED) Shared library: [libssl.so.3]", "").unwrap_err().contains("libssl.so.3"));
    }
}

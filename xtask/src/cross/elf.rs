//! Is a file a static program for a machine?

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, elf};

use super::Target;

/// Says what keeps `bytes` from running on a board of `target` that has nothing but a kernel.
pub(super) fn check(bytes: &[u8], target: &Target) -> Result<(), String> {
    match FileKind::parse(bytes).map_err(|error| format!("not a program: {error}"))? {
        FileKind::Elf32 if !target.is_64 => headers::<elf::FileHeader32<Endianness>>(bytes, target),
        FileKind::Elf64 if target.is_64 => headers::<elf::FileHeader64<Endianness>>(bytes, target),
        kind => Err(format!("{kind:?} is not what {} runs", target.triple)),
    }
}

fn headers<H: FileHeader<Endian = Endianness>>(bytes: &[u8], target: &Target) -> Result<(), String> {
    let broken = |error: object::Error| format!("a damaged program: {error}");
    let header = H::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let machine = header.e_machine(endian).0;
    if machine != target.machine {
        return Err(format!("for machine {machine}, not {} as {} is", target.machine, target.triple));
    }
    let wants = header.program_headers(endian, bytes).map_err(broken)?;
    if wants.iter().any(|part| part.p_type(endian) == elf::PT_INTERP) {
        return Err("it asks for a dynamic linker, which a board may not have: it must be static".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_dynamic_program_is_refused() {
        if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
            let error = check(&this_program(), Target::named("x86_64-unknown-linux-musl").unwrap()).unwrap_err();
            assert!(error.contains("dynamic linker"), "{error}");
        }
    }

    #[test]
    fn another_machines_program_is_refused() {
        if cfg!(target_arch = "x86_64") {
            let error = check(&this_program(), Target::named("aarch64-unknown-linux-musl").unwrap()).unwrap_err();
            assert!(error.contains("machine 62"), "{error}");
            let error = check(&this_program(), Target::named("armv7-unknown-linux-musleabihf").unwrap()).unwrap_err();
            assert!(error.contains("Elf64"), "{error}");
        }
    }

    #[test]
    fn something_else_is_refused() {
        let target = Target::named("aarch64-unknown-linux-musl").unwrap();
        assert!(check(b"#!/bin/sh\nexit 0\n", target).unwrap_err().contains("not a program"));
        assert!(check(&this_program()[..70], target).is_err());
    }
}

//! The firmware sidecar for a microcontroller: built as it would be shipped, and measured.

use std::path::Path;

use crate::command::Run;

const BUILD: &str = "build --locked --package pyralog-firmware-sidecar --bin board --no-default-features --features board \
                     --profile firmware --target";

/// Bytes of flash and RAM that the whole program may take, with start-up code and UART driver.
const FLASH: u64 = 8 << 10;
const RAM: u64 = 2 << 10;

/// Builds the firmware for `target` and says how large it is; too large is an error.
pub(crate) fn measure(root: &Path, target: &str) -> Result<String, String> {
    Run::cargo(root).words(BUILD).arg(target).go()?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let program = folder.join(target).join("firmware/board");
    let bytes = std::fs::read(&program).map_err(|error| format!("cannot read {}: {error}", program.display()))?;
    let Size { flash, ram } = size(&bytes).ok_or_else(|| format!("{} is no 32-bit ELF file", program.display()))?;
    let told = format!("{flash} bytes of flash and {ram} of RAM ({target})");
    if flash > FLASH || ram > RAM {
        return Err(format!("the firmware takes {told}; the aim is {FLASH} and {RAM}"));
    }
    Ok(told)
}

#[derive(Debug, PartialEq, Eq)]
struct Size {
    flash: u64,
    ram: u64,
}

/// Adds up the sections that take memory: what is written at the start or constant lies in flash, what may be written
/// in RAM, and what is written at the start and changed later in both.
fn size(elf: &[u8]) -> Option<Size> {
    const ALLOCATED: u32 = 2;
    const WRITABLE: u32 = 1;
    const WITHOUT_BYTES: u32 = 8;
    let half = |at: usize| elf.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
    let word = |at: usize| elf.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if elf.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let (table, entry, count) = (word(32)? as usize, usize::from(half(46)?), usize::from(half(48)?));
    let mut size = Size { flash: 0, ram: 0 };
    for section in 0..count {
        let at = table + section * entry;
        let (kind, flags, bytes) = (word(at + 4)?, word(at + 8)?, u64::from(word(at + 20)?));
        if flags & ALLOCATED == 0 {
            continue;
        }
        size.flash += if kind == WITHOUT_BYTES { 0 } else { bytes };
        size.ram += if flags & WRITABLE == 0 { 0 } else { bytes };
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_added_up_by_where_they_lie() {
        let mut elf = vec![0; 52 + 4 * 40];
        elf[..6].copy_from_slice(b"\x7fELF\x01\x01");
        elf[32] = 52;
        elf[46] = 40;
        elf[48] = 4;
        // Code, initialised data, zeroed data, and a comment that is not loaded: kind, flags and size of each.
        for (index, (kind, flags, bytes)) in [(1, 6, 100), (1, 3, 20), (8, 3, 7), (1, 0, 50)].into_iter().enumerate() {
            let at = 52 + index * 40;
            (elf[at + 4], elf[at + 8], elf[at + 20]) = (kind, flags, bytes);
        }
        assert_eq!(size(&elf), Some(Size { flash: 120, ram: 27 }));
        assert_eq!(size(&elf[..100]), None);
        assert_eq!(size(b"no ELF"), None);
    }
}

//! Whether the memory that the agent may need is there: by its cgroup, and on the board.

use std::path::Path;

use crate::config::format_size;

/// What the process takes beyond `storage.max_memory`.
const PROCESS: u64 = 16 << 20;
const UNIT: &str = "pyralog-agent";

/// A warning for each limit that is lower than what `max_memory` promises to stay under; figures and remedy included.
pub(super) fn warnings(max_memory: u64) -> Vec<String> {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    judge(max_memory, cgroup_limit(&cgroup, Path::new("/sys/fs/cgroup")), board())
}

fn judge(max_memory: u64, cgroup: Option<u64>, board: u64) -> Vec<String> {
    let needed = max_memory.saturating_add(PROCESS);
    let (cap, sum) = (format_size(max_memory), mib(needed));
    let mut warnings = Vec::new();
    if let Some(limit) = cgroup.filter(|limit| *limit < needed) {
        let enough = mib(enough(max_memory));
        warnings.push(format!(
            "storage.max_memory is {cap}: the process may take {sum} MiB, and its cgroup allows {} MiB, so the kernel may kill it; \
             run `systemctl edit {UNIT}` and write [Service] MemoryMax={enough}M, or lower storage.max_memory",
            limit >> 20
        ));
    }
    if board > 0 && board < needed {
        warnings.push(format!(
            "storage.max_memory is {cap}: the process may take {sum} MiB, and this machine has {} MiB; set it to half of that at most",
            board >> 20
        ));
    }
    warnings
}

/// The `MemoryMax=` that a cap wants: the kernel's own share for sockets and page tables grows with what the cap lets in.
fn enough(max_memory: u64) -> u64 {
    max_memory.saturating_add(max_memory / 4).saturating_add(PROCESS)
}

/// Whether a service with this `MemoryMax=` has room for an agent with this cap.
///
/// # Errors
/// Both figures, and what to write.
pub(super) fn fits(max_memory: u64, memory_max: u64) -> Result<(), String> {
    let wanted = enough(max_memory);
    if memory_max >= wanted {
        return Ok(());
    }
    // The largest cap c with c + c/4 + 16 MiB within the limit.
    let cap = memory_max.saturating_sub(PROCESS) / 5 * 4;
    Err(format!(
        "storage.max_memory is {} and needs MemoryMax={}M, and {} MiB are given; write that to the unit \
         (`systemctl edit {UNIT}`), or lower storage.max_memory to {} MiB",
        format_size(max_memory),
        mib(wanted),
        memory_max >> 20,
        cap >> 20
    ))
}

/// Reads `MemoryMax=` as systemd writes it: bytes, `96M` and the like in powers of 1024, or `infinity`.
///
/// # Errors
/// What it takes.
pub(super) fn parse_memory_max(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if matches!(text, "infinity" | "max") {
        return Ok(u64::MAX);
    }
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => 64,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?));
    bytes.ok_or_else(|| "write it as the unit does: \"96M\", \"1G\", bytes, or \"infinity\"".to_owned())
}

/// The lowest `memory.max` from the cgroup of this process up to the root (cgroup v2).
fn cgroup_limit(own: &str, root: &Path) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |folder: &Path| std::fs::read_to_string(root.join(folder).join("memory.max")).ok()?.trim().parse().ok();
    Path::new(path).ancestors().filter_map(limit).min()
}

/// Memory of the machine in bytes; 0 when it is not known.
fn board() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_cap_that_does_not_fit_is_told_with_figures_and_remedy() {
        assert!(judge(64 * MIB, Some(96 * MIB), 512 * MIB).is_empty());
        assert!(judge(64 * MIB, None, 0).is_empty(), "what is not known is not warned of");
        let told = judge(128 * MIB, Some(96 * MIB), 100 * MIB);
        assert_eq!(told.len(), 2, "{told:?}");
        for words in ["144 MiB", "allows 96 MiB", "systemctl edit pyralog-agent", "MemoryMax=176M"] {
            assert!(told[0].contains(words), "{told:?}");
        }
        assert!(told[1].contains("has 100 MiB"), "{told:?}");
    }

    #[test]
    fn a_cap_and_a_limit_that_do_not_go_together_are_told_with_what_would() {
        assert_eq!(fits(64 * MIB, 96 * MIB), Ok(()), "the pair that we ship");
        let told = fits(64 * MIB, 95 * MIB).unwrap_err();
        for words in ["max_memory is 64MiB", "MemoryMax=96M", "95 MiB are given", "to 63 MiB"] {
            assert!(told.contains(words), "{words} is not in {told}");
        }
        assert_eq!(fits(63 * MIB, 95 * MIB), Ok(()), "the cap that was named does");
        assert!(fits(64 * MIB, 0).is_err());
        let read = |text: &str| parse_memory_max(text).ok();
        assert_eq!((read("96M"), read("96MiB"), read("4096")), (Some(96 * MIB), Some(96 * MIB), Some(4096)));
        assert_eq!(
            (read("infinity"), read("12%"), read("x"), read("99999999999T")),
            (Some(u64::MAX), None, None, None)
        );
    }

    #[test]
    fn the_lowest_limit_up_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        std::fs::create_dir_all(slice.join("a.service")).unwrap();
        std::fs::write(slice.join("a.service/memory.max"), "max\n").unwrap();
        std::fs::write(slice.join("memory.max"), "1000\n").unwrap();
        assert_eq!(cgroup_limit("0::/system.slice/a.service\n", root.path()), Some(1000));
        std::fs::write(slice.join("a.service/memory.max"), "900\n").unwrap();
        assert_eq!(cgroup_limit("0::/system.slice/a.service\n", root.path()), Some(900));
        assert_eq!(cgroup_limit("3:memory:/x\n", root.path()), None);
        assert!(board() > 0);
    }
}

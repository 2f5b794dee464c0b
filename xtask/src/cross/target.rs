//! The machines that we build for.

/// A machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Rust's name of it.
    pub(crate) triple: &'static str,
    /// What has it, for people.
    pub(crate) boards: &'static str,
    /// The machine's number in an ELF header.
    pub(crate) machine: u16,
    /// Whether its addresses have 64 bits.
    pub(crate) is_64: bool,
    /// The program that emulates it, and the oldest processor that must do.
    pub(crate) emulator: Option<(&'static str, &'static str)>,
}

/// Every target. Numbers of machines: the ELF specification, `e_machine`.
pub(crate) const ALL: &[Target] = &[
    Target {
        triple: "aarch64-unknown-linux-musl",
        boards: "64-bit ARM: Raspberry Pi 3 and later with a 64-bit system",
        machine: 183,
        is_64: true,
        emulator: Some(("qemu-aarch64-static", "cortex-a53")),
    },
    Target {
        triple: "armv7-unknown-linux-musleabihf",
        boards: "32-bit ARMv7 with a floating-point unit: Raspberry Pi 2, BeagleBone, most gateways",
        machine: 40,
        is_64: false,
        emulator: Some(("qemu-arm-static", "cortex-a7")),
    },
    Target {
        triple: "arm-unknown-linux-musleabihf",
        boards: "ARMv6 with a floating-point unit: Raspberry Pi 1 and Zero",
        machine: 40,
        is_64: false,
        emulator: Some(("qemu-arm-static", "arm1176")),
    },
    Target { triple: "x86_64-unknown-linux-musl", boards: "64-bit PCs", machine: 62, is_64: true, emulator: None },
];

impl Target {
    /// The target of that name.
    pub(crate) fn named(name: &str) -> Result<&'static Self, String> {
        let known = || ALL.iter().map(|target| format!("\n  {:<32} {}", target.triple, target.boards));
        ALL.iter()
            .find(|target| target.triple == name)
            .ok_or_else(|| format!("no target is called `{name}`; there are:{}", known().collect::<String>()))
    }

    /// Its part of a variable's name, as cargo wants it.
    pub(crate) fn in_capitals(&self) -> String {
        self.triple.to_uppercase().replace('-', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_answered_with_those_that_are_there() {
        let error = Target::named("armv8").unwrap_err();
        assert!(ALL.iter().all(|target| error.contains(target.triple)), "{error}");
    }

    #[test]
    fn a_target_is_found_by_rusts_name() {
        let found = Target::named("arm-unknown-linux-musleabihf").unwrap();
        assert_eq!((found.is_64, found.in_capitals().as_str()), (false, "ARM_UNKNOWN_LINUX_MUSLEABIHF"));
    }
}

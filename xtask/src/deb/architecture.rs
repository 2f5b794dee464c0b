//! Debian's names of machines, and Rust's.

/// A machine that packages are made for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// Debian's name.
    pub(crate) debian: &'static str,
    /// Rust's names, the one that is preferred first.
    pub(crate) triples: &'static [&'static str],
    /// The machine's number in an ELF header.
    pub(crate) machine: u16,
    /// What `std::env::consts::ARCH` is there.
    pub(crate) rust: &'static str,
}

/// All of them.
pub(crate) const ALL: &[Architecture] = &[
    Architecture {
        debian: "amd64",
        triples: &["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"],
        machine: 62,
        rust: "x86_64",
    },
    Architecture {
        debian: "arm64",
        triples: &["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu"],
        machine: 183,
        rust: "aarch64",
    },
    // Debian's armhf begins at ARMv7; Raspberry Pi OS has ARMv6 under the same name, for which the third is.
    Architecture {
        debian: "armhf",
        triples: &["armv7-unknown-linux-musleabihf", "armv7-unknown-linux-gnueabihf", "arm-unknown-linux-musleabihf"],
        machine: 40,
        rust: "arm",
    },
];

/// The architecture of that name, and Rust's target if it was named.
pub(crate) fn named(name: &str) -> Result<(&'static Architecture, Option<&'static str>), String> {
    for architecture in ALL {
        if architecture.debian == name {
            return Ok((architecture, None));
        }
        if let Some(triple) = architecture.triples.iter().find(|triple| **triple == name) {
            return Ok((architecture, Some(triple)));
        }
    }
    let known: Vec<_> = ALL.iter().map(|known| format!("{} ({})", known.debian, known.triples.join(", "))).collect();
    Err(format!("no architecture is called `{name}`; there are {}", known.join("; ")))
}

impl Architecture {
    /// Whether this machine is one.
    pub(crate) fn is_here(&self) -> bool {
        self.rust == std::env::consts::ARCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_names_and_rusts_name_the_same_machine() {
        let armhf = named("armhf").unwrap().0;
        assert_eq!(named("armv7-unknown-linux-musleabihf").unwrap(), (armhf, Some("armv7-unknown-linux-musleabihf")));
        let error = named("i386").unwrap_err();
        assert!(error.contains("amd64") && error.contains("aarch64-unknown-linux-musl"), "{error}");
    }
}

//! The agent's name when none is configured: stable over restarts, and no secret given away.

/// Longest agent id, in bytes.
const MAX_LEN: usize = 64;

/// A name made from the machine id, else the host name, else `agent`.
pub(super) fn default() -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").ok();
    match machine.as_deref().map(str::trim).filter(|id| !id.is_empty()) {
        Some(id) => from_machine_id(id),
        None => from_host_name(&sysinfo::System::host_name().unwrap_or_default()),
    }
}

/// Accepts a name that the hub accepts too.
pub(super) fn check(id: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !id.is_empty() && id.len() <= MAX_LEN && id.chars().all(allowed) {
        return Ok(id.to_owned());
    }
    Err(format!("\"{id}\" cannot name an agent; use 1 to {MAX_LEN} of the characters A-Z a-z 0-9 . _ -"))
}

/// The machine id itself must not leave the machine (see machine-id(5)), so a keyed hash of it stands in.
fn from_machine_id(id: &str) -> String {
    let hash = blake3::derive_key("pyralog edge 2026 agent id from machine id", id.as_bytes());
    let hex: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("agent-{hex}")
}

fn from_host_name(name: &str) -> String {
    let mapped = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' });
    let name: String = mapped.take(MAX_LEN).collect();
    if name.is_empty() { "agent".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_is_stable_and_allowed() {
        assert_eq!(default(), default());
        assert!(check(&default()).is_ok());
        assert_ne!(from_machine_id("a"), from_machine_id("b"));
        assert_eq!(from_host_name("büro pc"), "b-ro-pc");
        assert_eq!(from_host_name(""), "agent");
    }

    #[test]
    fn a_name_the_hub_would_refuse_is_refused_here() {
        for bad in ["", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}

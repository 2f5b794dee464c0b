//! What differs between two configurations, by key.

use toml::{Table, Value};

/// The keys whose values differ between two resolved configurations, as `check` prints them. A list counts as one key. Secrets
/// are not shown there, so that one was exchanged is not seen.
pub fn changed_keys(before: &str, after: &str) -> Vec<String> {
    let parse = |text: &str| text.parse::<Table>().unwrap_or_default();
    let mut changed = Vec::new();
    compare("", &parse(before), &parse(after), &mut changed);
    changed
}

fn compare(path: &str, before: &Table, after: &Table, changed: &mut Vec<String>) {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    for key in after.keys().chain(gone) {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key), after.get(key)) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => compare(&full, before, after, changed),
            (before, after) if before != after => changed.push(full),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_appeared_or_went_is_named_by_its_key() {
        let before = "a = 1  # default\n[s]\nx = 1\ny = 2\n[[s.list]]\nz = 1\n";
        let after = "a = 1  # agent.toml:3\n[s]\nx = 2\nw = 2\n[[s.list]]\nz = 2\n";
        let mut changed = changed_keys(before, after);
        changed.sort();
        assert_eq!(changed, ["s.list", "s.w", "s.x", "s.y"]);
        assert!(changed_keys(before, before).is_empty());
    }
}

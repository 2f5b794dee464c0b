//! Retention: how long, and how much of each log is kept, and deleting the rest without breaking the account.
//!
//! What is deleted are segments, oldest first, and nothing else: never the last entry of a chain, which is its cursor; never
//! receipts, which are the account; nor anything beside the entries. Before the first segment goes, a [`mark`] is created that
//! says below which offset segments may be gone, and where the chain stood there. So readers, the account and `verify` tell what was
//! deleted from what is missing, a hub that dies in between is followed by one that finishes, and any number of hubs may
//! delete at once: marks only move on.

use std::time::Duration;

mod keeper;
pub mod mark;
mod trim;

pub(crate) use keeper::{Round, keep};
pub use trim::{Budget, Trim, Trimmed};

/// How much of a log is kept. Whatever is beyond either limit goes, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Since a hub received it; `None` for ever.
    pub max_age: Option<Duration>,
    /// Of one log of one agent, over all its epochs; `None` without a limit.
    pub max_bytes: Option<u64>,
}

impl Limits {
    /// Whether everything is kept.
    pub fn keep_all(&self) -> bool {
        *self == Self::default()
    }
}

/// What a hub is told of retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// For logs without a rule of their own.
    pub limits: Limits,
    /// Time between two rounds through the store, about.
    pub interval: Duration,
    /// Rules for logs by name, the first that fits counts.
    pub rules: Vec<LogRule>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { limits: Limits::default(), interval: Duration::from_secs(600), rules: Vec::new() }
    }
}

/// Limits of some logs in place of the common ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRule {
    /// The log's name; `*` stands for any characters.
    pub log: String,
    /// `None`: as for all; `Some(None)`: for ever.
    pub max_age: Option<Option<Duration>>,
    /// `None`: as for all; `Some(None)`: without a limit.
    pub max_bytes: Option<Option<u64>>,
}

impl RetentionConfig {
    /// What holds for a log.
    pub fn limits_of(&self, log: &str) -> Limits {
        let common = self.limits;
        match self.rules.iter().find(|rule| fits(&rule.log, log)) {
            None => common,
            Some(rule) => Limits {
                max_age: rule.max_age.unwrap_or(common.max_age),
                max_bytes: rule.max_bytes.unwrap_or(common.max_bytes),
            },
        }
    }

    /// Whether everything of every log is kept.
    pub fn keep_all(&self) -> bool {
        let bounds = |rule: &LogRule| rule.max_age.flatten().is_some() || rule.max_bytes.flatten().is_some();
        self.limits.keep_all() && !self.rules.iter().any(bounds)
    }
}

/// Whether `name` is as `pattern` says, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place is the best: it leaves most for what follows.
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("climate", "climate", true),
            ("climate", "climate2", false),
            ("plant_*", "plant_", true),
            ("plant_*", "plant_7", true),
            ("plant_*", "a_plant_7", false),
            ("*", "", true),
            ("*_raw", "x_raw", true),
            ("*_raw", "_ra", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "abcb", false),
            ("a*a", "a", false),
            ("été*", "été/2", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_what_it_leaves_out_is_as_for_all() {
        let day = Duration::from_secs(86_400);
        let common = Limits { max_age: Some(day * 30), max_bytes: Some(1 << 30) };
        let rule = |log: &str, max_age, max_bytes| LogRule { log: log.into(), max_age, max_bytes };
        let rules = vec![
            rule("plant_1", Some(None), None),
            rule("plant_*", Some(Some(day)), Some(None)),
            rule("plant_2", None, None),
        ];
        let config = RetentionConfig { limits: common, rules, ..RetentionConfig::default() };
        assert_eq!(config.limits_of("climate"), common);
        assert_eq!(config.limits_of("plant_1"), Limits { max_age: None, max_bytes: Some(1 << 30) });
        assert_eq!(config.limits_of("plant_2"), Limits { max_age: Some(day), max_bytes: None });
        assert!(!config.keep_all() && RetentionConfig::default().keep_all());
        let one = RetentionConfig { rules: vec![rule("x", None, Some(Some(1)))], ..RetentionConfig::default() };
        assert!(!one.keep_all() && one.limits_of("y").keep_all());
    }
}

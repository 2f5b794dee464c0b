//! How limits of retention are written, in `[retention]` and in `[[retention.log]]`.

use std::ops::Range;
use std::time::Duration;

use bytesize::ByteSize;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::file::scalar;
use crate::retention::LogRule;

/// Longest age: 100 years, beyond which nanoseconds would not do.
const MAX_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Rules that make sense.
const MAX_RULES: usize = 1_000;

/// What unsets a limit.
const NONE: &str = "none";

/// The keys of a rule.
pub(super) const RULE_KEYS: &[&str] = &["log", "max_age", "max_bytes"];

/// An age, or none.
pub(crate) fn age(text: &str) -> Result<Option<Duration>, String> {
    if text.trim() == NONE {
        return Ok(None);
    }
    match humantime::parse_duration(text.trim()) {
        Ok(age) if !age.is_zero() && age <= MAX_AGE => Ok(Some(age)),
        _ => Err(format!("{text:?} is not an age such as \"30d\", \"12h\" or \"1y\", nor \"none\"")),
    }
}

/// A size, or none.
pub(crate) fn size(text: &str) -> Result<Option<u64>, String> {
    if text.trim() == NONE {
        return Ok(None);
    }
    match text.trim().parse::<ByteSize>() {
        Ok(size) => Ok(Some(size.as_u64())),
        Err(_) => Err(format!("{text:?} is not a size such as \"10GiB\", nor \"none\"")),
    }
}

/// What is wrong with a rule, and where in the text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Option<Range<usize>>,
    pub(super) key: String,
    /// `None`: there is no such key.
    pub(super) reason: Option<String>,
}

impl Fault {
    fn of(at: Option<Range<usize>>, key: &str, reason: impl Into<String>) -> Self {
        Self { at, key: format!("retention.log.{key}"), reason: Some(reason.into()) }
    }

    /// The key that was meant.
    pub(super) fn nearest(&self) -> Option<String> {
        let name = self.key.rsplit('.').next().unwrap_or_default();
        let score = |known: &str| strsim::normalized_damerau_levenshtein(known, name);
        let near = RULE_KEYS.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
        (score(near) > 0.4).then(|| format!("retention.log.{near}"))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.reason, self.nearest()) {
            (Some(reason), _) => write!(out, "`{}`: {reason}", self.key),
            (None, Some(near)) => write!(out, "there is no key `{}`; did you mean `{near}`?", self.key),
            (None, None) => write!(out, "there is no key `{}`; there are {}", self.key, RULE_KEYS.join(", ")),
        }
    }
}

/// All rules of an item: an array of tables, written one way or the other.
pub(super) fn of_item(item: &Item) -> Result<Vec<LogRule>, Fault> {
    let shape = || Fault {
        at: item.span(),
        key: "retention.log".into(),
        reason: Some("write [[retention.log]] and the rule's keys below, once for each rule".into()),
    };
    let rules: Vec<_> = match item {
        Item::ArrayOfTables(tables) => {
            tables.iter().map(|table| rule(table, table.span())).collect::<Result<_, _>>()?
        }
        Item::Value(Value::Array(values)) => {
            let tables = values.iter().map(|value| value.as_inline_table().ok_or_else(shape));
            tables.map(|table| table.and_then(|table| rule(table, table.span()))).collect::<Result<_, _>>()?
        }
        _ => return Err(shape()),
    };
    if rules.len() > MAX_RULES {
        return Err(Fault {
            reason: Some(format!("there are more than {MAX_RULES} rules; a `*` saves many")),
            ..shape()
        });
    }
    Ok(rules)
}

/// All rules in one value, as a flag or a variable has them: `[{ log = "vibration", max_age = "7d" }]`.
pub(super) fn rules(text: &str) -> Result<Vec<LogRule>, String> {
    let form = "it takes rules such as [{ log = \"vibration\", max_age = \"7d\" }]";
    let document: DocumentMut = format!("log = {text}").parse().map_err(|_| format!("{text:?}: {form}"))?;
    match document.get("log") {
        Some(item @ Item::Value(Value::Array(_))) => of_item(item).map_err(|fault| fault.to_string()),
        _ => Err(format!("{text:?}: {form}")),
    }
}

fn rule(table: &dyn TableLike, at: Option<Range<usize>>) -> Result<LogRule, Fault> {
    let mut rule = LogRule::default();
    for (key, item) in table.iter() {
        let at = table.get_key_value(key).and_then(|(key, _)| key.span()).or_else(|| item.span()).or(at.clone());
        let text = item.as_value().and_then(scalar);
        let text = text.ok_or_else(|| Fault::of(at.clone(), key, "takes one value, not a list or table"));
        let fail = |reason: String| Fault::of(at.clone(), key, reason);
        match key {
            "log" => rule.log = text?,
            "max_age" => rule.max_age = Some(age(&text?).map_err(fail)?),
            "max_bytes" => rule.max_bytes = Some(size(&text?).map_err(fail)?),
            _ => return Err(Fault { reason: None, ..Fault::of(at, key, "") }),
        }
    }
    if rule.log.is_empty() {
        return Err(Fault::of(at, "log", "a rule needs the name of a log, in which * stands for any characters"));
    }
    if rule.max_age.is_none() && rule.max_bytes.is_none() {
        return Err(Fault::of(at, "log", "the rule says nothing: give max_age or max_bytes, or both"));
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!(age("30d"), Ok(Some(Duration::from_secs(30 * 86_400))));
        assert_eq!((age("none"), size("none")), (Ok(None), Ok(None)));
        assert_eq!((size("10GiB"), size("0")), (Ok(Some(10 << 30)), Ok(Some(0))));
        for text in ["", "30", "0s", "200y", "-1d"] {
            assert!(age(text).unwrap_err().contains("30d"), "{text}");
        }
        assert!(size("much").unwrap_err().contains("10GiB"));
    }

    #[test]
    fn rules_come_from_a_flag_too() {
        let found = rules("[{ log = \"a_*\", max_age = \"none\" }, { log = \"b\", max_bytes = 7 }]").unwrap();
        let [a, b] = ["a_*", "b"].map(|log| LogRule { log: log.into(), ..LogRule::default() });
        assert_eq!(found, [LogRule { max_age: Some(None), ..a }, LogRule { max_bytes: Some(Some(7)), ..b }]);
        for (text, words) in [
            ("7d", "it takes rules"),
            ("[7]", "[[retention.log]]"),
            ("[{ log = \"a\" }]", "says nothing"),
            ("[{ max_age = \"7d\" }]", "name of a log"),
            ("[{ log = \"a\", max_aeg = \"7d\" }]", "did you mean `retention.log.max_age`"),
            ("[{ log = \"a\", max_age = [1] }]", "one value"),
        ] {
            let error = rules(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

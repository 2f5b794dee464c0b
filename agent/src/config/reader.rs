//! Turns the untyped tree into typed values, and learns on the way what the keys are.
//!
//! Sections ask for their keys one by one. What was asked for is what exists: unknown keys, the nearest name, the list
//! of keys that the example file must explain and the printed result all follow from these calls, so that they cannot
//! disagree with the code.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use pyralog_service::{credential_or_path, without_password};

use super::nearest;
use super::problem::Problem;
use super::secret::Secret;
use super::tree::{Node, Origin, Raw, Table, parse_value};
use super::units::{format_duration, format_size, parse_duration, parse_size};

/// What reading has found so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    /// Full paths of all keys that the code asked for.
    pub(super) known: Vec<String>,
    /// The resolved configuration as TOML, with the origin of each value.
    pub(super) resolved: String,
    /// Where each value that was given came from, by full path.
    pub(super) places: BTreeMap<String, String>,
    unknown: Vec<(String, Origin)>,
}

/// One table under reading.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    path: String,
    table: Table,
    origin: Option<Origin>,
}

impl Reader {
    /// Reads a whole tree with `read`.
    pub(super) fn read<T>(&mut self, root: Table, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let mut section = Section { reader: self, path: String::new(), table: root, origin: None };
        let value = read(&mut section);
        section.finish();
        for (key, origin) in std::mem::take(&mut self.unknown) {
            let message = match nearest_key(&key, &self.known) {
                Some(known) => format!("unknown key; did you mean `{known}`?"),
                None => "unknown key; `examples/config/agent.toml` explains every key".to_owned(),
            };
            self.problems.push(Problem { place: Some(origin.to_string()), key, message });
        }
        value
    }
}

/// The known key that `key` most likely means: a similar name beside it, else the same name in another section.
pub(super) fn nearest_key<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let beside = known.iter().filter(|k| k.rsplit_once('.').unwrap_or(("", k)).0 == section);
    let elsewhere = || known.iter().find(|k| k.rsplit('.').next() == Some(name));
    nearest(key, beside.map(String::as_str))
        .or_else(|| elsewhere().map(String::as_str))
        .or_else(|| nearest(key, known.iter().map(String::as_str)))
}

impl Section<'_> {
    /// The place to name when something about the whole section is wrong.
    pub(super) fn complain(&mut self, key: &str, message: impl Into<String>) {
        let key = self.full(key);
        let place = self.origin.as_ref().map(ToString::to_string);
        self.reader.problems.push(Problem { place, key, message: message.into() });
    }

    /// How much was wrong so far.
    pub(super) fn problems(&self) -> usize {
        self.reader.problems.len()
    }

    /// A key that may be absent.
    pub(super) fn optional(&mut self, key: &str) -> Option<String> {
        self.get(key, "a string", "", text, |value| quote(value))
    }

    /// A key of a list entry that must be there.
    pub(super) fn required(&mut self, key: &str) -> String {
        let problems = self.problems();
        let value = self.optional(key);
        if value.is_none() && self.problems() == problems {
            self.complain(key, "this key is required here");
        }
        value.unwrap_or_default()
    }

    /// A URL that must be there and may hold a password.
    pub(super) fn url(&mut self, key: &str) -> String {
        let url = self.get(key, "a URL", "", text, |url| quote(&without_password(url)));
        if url.is_none() {
            self.complain(key, "this key is required here");
        }
        url.unwrap_or_default()
    }

    /// A URL, or a list of them; there may be none, and each may hold a password.
    pub(super) fn urls(&mut self, key: &str) -> Vec<String> {
        let shown = |urls: &Vec<String>| {
            let mut hidden: Vec<_> = urls.iter().map(|url| without_password(url)).collect();
            if hidden.len() == 1 { quote(&hidden.remove(0)) } else { list(&hidden) }
        };
        self.get(key, "a URL or a list of URLs", "", one_or_more, shown).unwrap_or_default()
    }

    pub(super) fn text(&mut self, key: &str, default: &str) -> String {
        self.get(key, "a string", &quote(default), text, |value| quote(value)).unwrap_or_else(|| default.to_owned())
    }

    /// A file; `credential:NAME` is the one that the service manager handed over by that name.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.optional(key)?;
        match credential_or_path(&text) {
            Ok(path) => Some(path),
            Err(message) => {
                self.complain(key, message);
                None
            }
        }
    }

    /// A value that is never shown.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.get(key, "a string", "", text, |_| "\"***\"".to_owned()).map(Secret::new)
    }

    /// A list of values that are never shown.
    pub(super) fn secrets(&mut self, key: &str) -> Vec<Secret> {
        let hidden = |list: &Vec<String>| format!("[{}]", vec!["\"***\""; list.len()].join(", "));
        self.get(key, "a list of strings", "[]", texts, hidden)
            .unwrap_or_default()
            .into_iter()
            .map(Secret::new)
            .collect()
    }

    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        self.get(key, "a list of strings", "[]", texts, |texts| list(texts)).unwrap_or_default()
    }

    /// A list of strings, or one string alone.
    pub(super) fn one_or_more(&mut self, key: &str) -> Vec<String> {
        self.get(key, "a string or a list of strings", "[]", one_or_more, |texts| list(texts)).unwrap_or_default()
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        let parse = |raw: &Raw, _: &Origin| match raw {
            Raw::Bool(value) => Some(Ok(*value)),
            Raw::Loose(text) => text.trim().parse().ok().map(Ok),
            _ => None,
        };
        self.get(key, "true or false", &default.to_string(), parse, bool::to_string).unwrap_or(default)
    }

    pub(super) fn size(&mut self, key: &str, default: u64) -> u64 {
        let parse = |raw: &Raw, _: &Origin| match raw {
            Raw::Int(bytes) => u64::try_from(*bytes).ok().map(Ok),
            Raw::Text(text) | Raw::Loose(text) => Some(parse_size(text)),
            _ => None,
        };
        let shown = |bytes: &u64| quote(&format_size(*bytes));
        self.get(key, "a size such as \"64MiB\"", &shown(&default), parse, shown).unwrap_or(default)
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        let parse = |raw: &Raw, _: &Origin| match raw {
            Raw::Text(text) | Raw::Loose(text) => Some(parse_duration(text)),
            _ => None,
        };
        let shown = |value: &Duration| quote(&format_duration(*value));
        self.get(key, "a duration such as \"10s\"", &shown(&default), parse, shown).unwrap_or(default)
    }

    pub(super) fn integer(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let parse = |raw: &Raw, _: &Origin| match raw {
            Raw::Int(number) => u64::try_from(*number).ok().map(|number| within(number, &range)),
            Raw::Loose(text) => text.trim().parse().ok().map(|number| within(number, &range)),
            _ => None,
        };
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        self.get(key, &wanted, &default.to_string(), parse, u64::to_string).unwrap_or(default)
    }

    pub(super) fn number(&mut self, key: &str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let parse = |raw: &Raw, _: &Origin| match raw {
            Raw::Float(number) => Some(within(*number, &range)),
            Raw::Int(number) => Some(within(*number as f64, &range)),
            Raw::Loose(text) => text.trim().parse().ok().map(|number| within(number, &range)),
            _ => None,
        };
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        self.get(key, &wanted, &default.to_string(), parse, f64::to_string).unwrap_or(default)
    }

    /// One of a few words; the first is the default.
    pub(super) fn choice<T: Copy, const N: usize>(&mut self, key: &str, options: [(&'static str, T); N]) -> T {
        const { assert!(N > 0, "a choice needs a default") };
        let listed = options.iter().map(|(name, _)| quote(name)).collect::<Vec<_>>().join(" or ");
        let parse = |raw: &Raw, origin: &Origin| {
            let chosen = text(raw, origin)?.ok()?;
            let index = options.iter().position(|(name, _)| *name == chosen);
            Some(index.ok_or_else(|| match nearest(&chosen, options.iter().map(|(name, _)| *name)) {
                Some(near) => format!("\"{chosen}\" is not known; did you mean \"{near}\"? (It is {listed}.)"),
                None => format!("\"{chosen}\" is not known; it is {listed}"),
            }))
        };
        let name = |index: &usize| options.get(*index).map(|(name, _)| quote(name)).unwrap_or_default();
        let index = self.get(key, &listed, &name(&0), parse, name).unwrap_or(0);
        options[index].1
    }

    /// A value with its own syntax, given as a string.
    pub(super) fn parsed<T: Display>(&mut self, key: &str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let parse = |raw: &Raw, origin: &Origin| Some(text(raw, origin)?.and_then(|text| parse(&text)));
        let shown = |value: &T| quote(&value.to_string());
        self.get(key, "a string", &shown(&default), parse, shown).unwrap_or(default)
    }

    /// A section below this one; an absent one is read as empty, which gives its defaults.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let path = self.full(key);
        self.reader.resolved.push_str(&format!("\n[{path}]\n"));
        self.reader.known.push(path.clone());
        let (table, origin) = match self.table.remove(key) {
            Some(Node { value: Raw::Table(table), origin }) => (table, Some(origin)),
            Some(node) => {
                self.wrong_kind(&path, "a section", &node);
                (Table::new(), None)
            }
            None => (Table::new(), None),
        };
        let mut section = Section { reader: self.reader, path, table, origin };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// A list of sections (`[[path]]`).
    pub(super) fn list<T>(&mut self, key: &str, read: impl Fn(&mut Section<'_>) -> T) -> Vec<T> {
        let path = self.full(key);
        self.learn(&path, &read);
        let Some(Node { value, origin }) = self.table.remove(key) else { return Vec::new() };
        let value = match value {
            Raw::Loose(text) => parse_value(&text, &origin).unwrap_or(Raw::Loose(text)),
            other => other,
        };
        let Raw::List(nodes) = value else {
            self.wrong_kind(&path, &format!("a list of sections, each headed [[{path}]]"), &Node { value, origin });
            return Vec::new();
        };
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Raw::Table(table) = node.value else {
                self.wrong_kind(&path, "a section", &node);
                continue;
            };
            self.reader.resolved.push_str(&format!("\n[[{path}]]\n"));
            let mut section = Section { reader: self.reader, path: path.clone(), table, origin: Some(node.origin) };
            values.push(read(&mut section));
            section.finish();
        }
        values
    }

    /// Runs `read` over nothing to learn the keys of a list that may be empty.
    fn learn<T>(&mut self, path: &str, read: impl Fn(&mut Section<'_>) -> T) {
        let mut scratch = Reader::default();
        read(&mut Section { reader: &mut scratch, path: path.to_owned(), table: Table::new(), origin: None });
        self.reader.known.push(path.to_owned());
        self.reader.known.append(&mut scratch.known);
    }

    fn get<T>(
        &mut self,
        key: &str,
        wanted: &str,
        default: &str,
        parse: impl Fn(&Raw, &Origin) -> Option<Result<T, String>>,
        shown: impl Fn(&T) -> String,
    ) -> Option<T> {
        let path = self.full(key);
        if !self.reader.known.contains(&path) {
            self.reader.known.push(path.clone());
        }
        let Some(node) = self.table.remove(key) else {
            let line = if default.is_empty() {
                format!("# {key} is not set\n")
            } else {
                format!("{key} = {default}  # default\n")
            };
            self.reader.resolved.push_str(&line);
            return None;
        };
        self.reader.places.insert(path.clone(), node.origin.to_string());
        match parse(&node.value, &node.origin) {
            Some(Ok(value)) => {
                self.reader.resolved.push_str(&format!("{key} = {}  # {}\n", shown(&value), node.origin));
                Some(value)
            }
            Some(Err(message)) => {
                self.reader.problems.push(Problem { place: Some(node.origin.to_string()), key: path, message });
                None
            }
            None => {
                self.wrong_kind(&path, wanted, &node);
                None
            }
        }
    }

    fn wrong_kind(&mut self, path: &str, wanted: &str, node: &Node) {
        let message = format!("this must be {wanted}, not {}", node.value.kind());
        self.reader.problems.push(Problem { place: Some(node.origin.to_string()), key: path.to_owned(), message });
    }

    fn full(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    fn finish(self) {
        let Section { reader, path, table, .. } = self;
        for (key, node) in table {
            let key = if path.is_empty() { key } else { format!("{path}.{key}") };
            reader.unknown.push((key, node.origin));
        }
    }
}

fn text(raw: &Raw, _: &Origin) -> Option<Result<String, String>> {
    match raw {
        Raw::Text(text) | Raw::Loose(text) => Some(Ok(text.clone())),
        _ => None,
    }
}

fn one_or_more(raw: &Raw, origin: &Origin) -> Option<Result<Vec<String>, String>> {
    match raw {
        Raw::Text(one) => Some(Ok(vec![one.clone()])),
        other => texts(other, origin),
    }
}

fn texts(raw: &Raw, origin: &Origin) -> Option<Result<Vec<String>, String>> {
    match raw {
        Raw::List(nodes) => nodes.iter().map(|node| text(&node.value, origin)).collect(),
        // In the environment a bare word, or words with commas, reads better than TOML.
        Raw::Loose(loose) if loose.trim_start().starts_with('[') => match parse_value(loose, origin)? {
            list @ Raw::List(_) => texts(&list, origin),
            _ => None,
        },
        Raw::Loose(loose) => {
            Some(Ok(loose.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()))
        }
        _ => None,
    }
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", "))
}

fn within<T: PartialOrd + Display>(number: T, range: &RangeInclusive<T>) -> Result<T, String> {
    if range.contains(&number) {
        return Ok(number);
    }
    Err(format!("{number} is out of range; it must be from {} to {}", range.start(), range.end()))
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

//! The untyped configuration: what file, environment and flags said, each value with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File(Arc<str>, usize),
    Env(String),
    Flag(String),
}

/// One value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Raw,
    pub(super) origin: Origin,
}

/// A value before anyone has asked for its type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
    /// A kind of TOML value that no key takes (a date); holds what to call it.
    Other(&'static str),
    /// Text of an environment variable or a flag: it becomes whatever its key wants.
    Loose(String),
}

pub(super) type Table = BTreeMap<String, Node>;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, line) => write!(f, "{name}:{line}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// Parses a TOML document; `name` is what messages call it.
pub(super) fn parse_file(name: &str, text: &str) -> Result<Table, Problem> {
    let file = Source { name: name.into(), text };
    match DeTable::parse(text) {
        Ok(table) => Ok(table.get_ref().iter().map(|(key, value)| file.entry(key, value)).collect()),
        Err(error) => Err(Problem {
            place: Some(match error.span() {
                Some(span) => format!("{name}:{}", file.line(&span)),
                None => name.to_owned(),
            }),
            key: String::new(),
            message: format!("this is not TOML: {}", error.message()),
        }),
    }
}

/// Parses the text of a flag or variable that stands for a list, such as `[{ url = "mqtt://broker" }]`.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<Raw> {
    let value = DeValue::parse(text).ok()?;
    let file = Source { name: "".into(), text };
    let mut node = file.node(&value);
    node.adopt(origin);
    Some(node.value)
}

/// Puts a value at `path`, over whatever was there.
pub(super) fn overlay(root: &mut Table, path: &[&str], value: Raw, origin: Origin) -> Result<(), Problem> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut table = root;
    for parent in parents {
        let node = table
            .entry((*parent).to_owned())
            .or_insert_with(|| Node { value: Raw::Table(Table::new()), origin: origin.clone() });
        let Raw::Table(next) = &mut node.value else {
            return Err(Problem {
                place: Some(origin.to_string()),
                key: path.join("."),
                message: format!("`{parent}` is not a section; a list is given as a whole, in TOML"),
            });
        };
        table = next;
    }
    table.insert((*last).to_owned(), Node { value, origin });
    Ok(())
}

impl Node {
    fn adopt(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.value {
            Raw::List(nodes) => nodes.iter_mut().for_each(|node| node.adopt(origin)),
            Raw::Table(table) => table.values_mut().for_each(|node| node.adopt(origin)),
            _ => {}
        }
    }
}

impl Raw {
    /// What to call a value of this kind in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Loose(_) => "a string",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
            Self::Other(kind) => kind,
        }
    }
}

struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn entry(&self, key: &toml::Spanned<toml::de::DeString<'_>>, value: &toml::Spanned<DeValue<'_>>) -> (String, Node) {
        let mut node = self.node(value);
        // A key is what the reader looks for; the value of a section may begin elsewhere.
        node.origin = Origin::File(self.name.clone(), self.line(&key.span()));
        (key.get_ref().to_string(), node)
    }

    fn node(&self, value: &toml::Spanned<DeValue<'_>>) -> Node {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Raw::Int(number),
                Err(_) => Raw::Other("an integer beyond 64 bits"),
            },
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(number) => Raw::Float(number),
                Err(_) => Raw::Other("a number"),
            },
            DeValue::Boolean(value) => Raw::Bool(*value),
            DeValue::Datetime(_) => Raw::Other("a date"),
            DeValue::Array(items) => Raw::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Raw::Table(table.iter().map(|(key, value)| self.entry(key, value)).collect()),
        };
        Node { value: raw, origin: Origin::File(self.name.clone(), self.line(&value.span())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let table = parse_file("a.toml", "x = 1\n\n[s]\ny = [\n 2,\n 3 ]\n").unwrap();
        assert_eq!(table["x"].origin.to_string(), "a.toml:1");
        let Raw::Table(section) = &table["s"].value else { panic!("a section") };
        assert_eq!(section["y"].origin.to_string(), "a.toml:4");
        let Raw::List(items) = &section["y"].value else { panic!("a list") };
        assert_eq!(items[1].origin.to_string(), "a.toml:6");
    }

    #[test]
    fn broken_toml_is_reported_with_its_line() {
        let problem = parse_file("a.toml", "x = 1\ny = \n").unwrap_err();
        assert!(problem.to_string().starts_with("a.toml:2: this is not TOML"), "{problem}");
    }
}

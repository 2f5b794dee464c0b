//! The configuration file: TOML whose mistakes are named by line.

use std::path::Path;

use toml_edit::{Document, Item, Table, TableLike, Value};

use super::{Config, ConfigError, keys, retention};

/// Largest configuration that makes sense.
const MAX_FILE: u64 = 1 << 20;

/// Sets every key of the file at `path`.
pub(super) fn apply(config: &mut Config, path: &Path) -> Result<(), ConfigError> {
    let file = path.display().to_string();
    let text = read(path).map_err(|reason| ConfigError::Unreadable { file: file.clone(), reason })?;
    let document = Document::parse(text.as_str()).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        ConfigError::Syntax { place: format!("{file}:{line}"), reason: error.message().trim().to_owned() }
    })?;
    let root: &Table = document.as_table();
    Walk { text: &text, file: &file, config }.table(root, "")
}

struct Walk<'a> {
    text: &'a str,
    file: &'a str,
    config: &'a mut Config,
}

impl Walk<'_> {
    fn table(&mut self, table: &dyn TableLike, prefix: &str) -> Result<(), ConfigError> {
        for (name, item) in table.iter() {
            let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            let span = table.get_key_value(name).and_then(|(key, _)| key.span());
            let line = span.or_else(|| item.span()).map_or(1, |span| line_of(self.text, span.start));
            let place = format!("{}:{line}", self.file);
            let is_section = keys::KEYS.iter().any(|known| known.name.starts_with(&format!("{key}.")));
            match item {
                Item::Table(inner) if is_section => self.table(inner, &key)?,
                Item::Value(Value::InlineTable(inner)) if is_section => self.table(inner, &key)?,
                item if key == "retention.log" => {
                    self.config.retention.rules = retention::of_item(item).map_err(|fault| self.fault(fault, place))?;
                }
                _ if is_section => {
                    let reason = format!("this is a section: write [{key}] and its keys below");
                    return Err(ConfigError::Value { place, key, reason });
                }
                Item::Value(value) if keys::find(&key).is_some() => match scalar(value) {
                    Some(text) => self.config.set(&key, &text, || place.clone())?,
                    None => {
                        let reason = "takes one value, not a list or table".into();
                        return Err(ConfigError::Value { place, key, reason });
                    }
                },
                _ => {
                    let nearest = keys::nearest(&key).map(str::to_owned);
                    return Err(ConfigError::UnknownKey { place, key, nearest });
                }
            }
        }
        Ok(())
    }

    fn fault(&self, fault: retention::Fault, place: String) -> ConfigError {
        let at = fault.at.as_ref().map(|span| format!("{}:{}", self.file, line_of(self.text, span.start)));
        let (place, nearest) = (at.unwrap_or(place), fault.nearest());
        match fault.reason {
            Some(reason) => ConfigError::Value { place, key: fault.key, reason },
            None => ConfigError::UnknownKey { place, key: fault.key, nearest },
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("it has {size} bytes, more than any configuration"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(truth) => Some(truth.value().to_string()),
        _ => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

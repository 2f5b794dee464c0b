//! The columns of a table: our own, then those of the log, under names that every engine takes.
//!
//! Engines compare names without case, and Delta takes neither `,` nor some more. So a name has those replaced by `_`; and one
//! that is ours, or is another column's but for case or type, gets its type as a suffix, as in the agent's ring.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

/// Our own columns; the last two are in no file, but in the names of its folders.
const OWN: [&str; 7] = ["agent", "epoch", "offset", "time", "time_nanos", "date", "log"];

/// Where a column's name as the log wrote it, and its type there, are kept in the table's schema.
const NAME_KEY: &str = "pyralog.name";
const TYPE_KEY: &str = "pyralog.type";

/// The type of a log's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A short string that names the series.
    Tag,
    /// A 64-bit float.
    F64,
    /// A signed 64-bit integer.
    I64,
    /// An unsigned 64-bit integer; a decimal in the table, since most engines have no such type.
    U64,
    /// True or false.
    Bool,
    /// A string.
    Utf8,
    /// Raw bytes.
    Binary,
}

impl Kind {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Tag, "tag", "string"),
        (Self::F64, "f64", "double"),
        (Self::I64, "i64", "long"),
        (Self::U64, "u64", "decimal(20,0)"),
        (Self::Bool, "bool", "boolean"),
        (Self::Utf8, "utf8", "string"),
        (Self::Binary, "binary", "binary"),
    ];

    /// The type that an incoming Arrow column has.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Dictionary(..) => Self::Tag,
            DataType::Float64 => Self::F64,
            DataType::Int64 => Self::I64,
            DataType::UInt64 => Self::U64,
            DataType::Boolean => Self::Bool,
            DataType::Utf8 => Self::Utf8,
            DataType::Binary => Self::Binary,
            _ => return None,
        })
    }

    /// The type in a table's batches.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Tag => dictionary(),
            Self::F64 => DataType::Float64,
            Self::I64 => DataType::Int64,
            Self::U64 => DataType::Decimal128(20, 0),
            Self::Bool => DataType::Boolean,
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(("", ""), |(_, word, delta)| (*word, *delta))
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == word).map(|(kind, ..)| *kind)
    }
}

/// One column of a log in its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// The name in the table.
    pub(crate) name: String,
    /// The name as the log wrote it, with the suffixes that it needed.
    source: String,
    /// Its type.
    pub(crate) kind: Kind,
}

/// A log's columns in its table; they are only ever added to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Columns(Vec<Column>);

impl Columns {
    /// The log's columns.
    pub(crate) fn of_log(&self) -> &[Column] {
        &self.0
    }

    /// Where the columns of a segment belong; adds those that are not there yet.
    pub(crate) fn place(&mut self, segment: &[(&str, Kind)]) -> Vec<usize> {
        let mut places = vec![usize::MAX; segment.len()];
        // Plain names first: `temp__utf8` may be a name of its own in this segment, and what `temp` is called elsewhere.
        for (place, (name, kind)) in places.iter_mut().zip(segment) {
            if let Some(known) = self.0.iter().position(|column| column.source == *name && column.kind == *kind) {
                *place = known;
            }
        }
        for index in 0..segment.len() {
            if places[index] == usize::MAX {
                places[index] = self.find_or_add(segment[index], &places);
            }
        }
        places
    }

    fn find_or_add(&mut self, (name, kind): (&str, Kind), taken: &[usize]) -> usize {
        let mut source = name.to_owned();
        loop {
            let known = self.0.iter().position(|column| column.source == source && column.kind == kind);
            if let Some(known) = known.filter(|known| !taken.contains(known)) {
                return known;
            }
            let shown = shown(&source);
            let same = |other: &str| other.to_lowercase() == shown.to_lowercase();
            if known.is_none() && !OWN.iter().any(|own| same(own)) && !self.0.iter().any(|column| same(&column.name)) {
                self.0.push(Column { name: shown, source, kind });
                return self.0.len() - 1;
            }
            source = format!("{source}__{}", kind.names().0);
        }
    }

    /// The schema of the table's batches.
    pub(crate) fn arrow(&self) -> SchemaRef {
        let own = [
            Field::new("agent", dictionary(), false),
            Field::new("epoch", DataType::Int64, false),
            Field::new("offset", DataType::Int64, false),
            Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("time_nanos", DataType::Int32, false),
        ];
        let of_log = self.0.iter().map(|column| Field::new(&column.name, column.kind.arrow(), true));
        Arc::new(Schema::new(own.into_iter().chain(of_log).collect::<Vec<_>>()))
    }

    /// By what a file's rows are sorted.
    pub(crate) fn sort_keys(&self) -> Vec<String> {
        let tags = self.0.iter().filter(|column| column.kind == Kind::Tag).map(|column| column.name.as_str());
        let keys = std::iter::once("agent").chain(tags).chain(["time", "time_nanos", "epoch", "offset"]);
        keys.map(str::to_owned).collect()
    }

    /// The schema as Delta writes it.
    pub(crate) fn delta(&self) -> String {
        let own = [
            ("agent", "string"),
            ("epoch", "long"),
            ("offset", "long"),
            ("time", "timestamp"),
            ("time_nanos", "integer"),
        ];
        let own = own.into_iter().map(|(name, ty)| delta_field(name, ty, json!({})));
        let of_log = self.0.iter().map(|column| {
            let (word, ty) = column.kind.names();
            delta_field(&column.name, ty, json!({ NAME_KEY: column.source, TYPE_KEY: word }))
        });
        // A reader that takes columns from names of folders meets `log=…` there, and some want it to be known.
        let folders = [("log", "string"), ("date", "date")].map(|(name, ty)| delta_field(name, ty, json!({})));
        json!({ "type": "struct", "fields": own.chain(of_log).chain(folders).collect::<Vec<_>>() }).to_string()
    }

    /// Reads what [`Self::delta`] wrote; says what has been changed since.
    pub(crate) fn from_delta(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("its schema is no JSON: {error}"))?;
        let mut columns = Self::default();
        for field in schema["fields"].as_array().into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default();
            let meta = &field["metadata"];
            let (Some(source), Some(word)) = (meta[NAME_KEY].as_str(), meta[TYPE_KEY].as_str()) else { continue };
            let kind =
                Kind::of_word(word).ok_or_else(|| format!("its column `{name}` is of the unknown type {word:?}"))?;
            let (expected, found) = (kind.names().1, &field["type"]);
            if found.as_str() != Some(expected) {
                return Err(format!("its column `{name}` was changed to {found} and must be {expected}"));
            }
            columns.0.push(Column { name: name.into(), source: source.into(), kind });
        }
        let same: Value = serde_json::from_str(&columns.delta()).unwrap_or_default();
        let shape = |schema: &Value| -> Vec<(String, String)> {
            let fields = schema["fields"].as_array().into_iter().flatten();
            let mut all: Vec<_> = fields.map(|f| (f["name"].to_string(), f["type"].to_string())).collect();
            all.sort();
            all
        };
        match shape(&schema) == shape(&same) {
            true => Ok(columns),
            false => Err("its columns were changed by something else".into()),
        }
    }
}

/// The type of columns with few different strings.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

pub(crate) fn delta_field(name: &str, ty: &str, metadata: Value) -> Value {
    json!({ "name": name, "type": ty, "nullable": true, "metadata": metadata })
}

/// A name as tables take it.
fn shown(name: &str) -> String {
    let bad = |c: char| " ,;{}()\n\t=".contains(c) || c.is_control();
    name.chars().map(|c| if bad(c) { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(columns: &Columns) -> Vec<&str> {
        columns.of_log().iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn names_that_clash_get_their_type_as_a_suffix_and_keep_it() {
        let mut columns = Columns::default();
        let segment =
            [("temp", Kind::F64), ("Temp", Kind::F64), ("agent", Kind::Tag), ("a b", Kind::I64), ("a,b", Kind::I64)];
        let first = columns.place(&segment);
        assert_eq!(names(&columns), ["temp", "Temp__f64", "agent__tag", "a_b", "a_b__i64"]);
        assert_eq!(columns.place(&[("temp", Kind::Utf8), ("Temp", Kind::F64)]), [5, 1]);
        assert_eq!(names(&columns)[5], "temp__utf8");
        // The sibling that another agent's ring made is the same column, unless one segment has both.
        assert_eq!(columns.place(&[("temp__utf8", Kind::Utf8)]), [5]);
        assert_eq!(columns.place(&[("temp", Kind::Utf8), ("temp__utf8", Kind::Utf8)]), [6, 5]);
        assert_eq!(columns.place(&segment), first);
        assert_eq!(columns.place(&[("temp", Kind::Utf8), ("temp__utf8", Kind::Utf8)]), [6, 5]);
    }

    #[test]
    fn a_schema_survives_the_delta_log_and_a_changed_one_is_named() {
        let mut columns = Columns::default();
        columns.place(&[("temp (C)", Kind::F64), ("n", Kind::U64), ("station", Kind::Tag)]);
        let text = columns.delta();
        assert_eq!(Columns::from_delta(&text).unwrap(), columns);
        let changed = text.replace("decimal(20,0)", "long");
        assert!(Columns::from_delta(&changed).unwrap_err().contains("`n` was changed to \"long\""));
        let more = text.replace("\"time_nanos\"", "\"time_n\"");
        assert!(Columns::from_delta(&more).is_err());
    }
}

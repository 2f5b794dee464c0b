//! The schema of a log: its tags and fields in order, without the `time` that every record has.
//!
//! Layout of the bytes (what the fingerprint covers, and what travels once per log and fingerprint):
//!
//! ```text
//! version   u8       1
//! count     varint   number of columns, at most MAX_COLUMNS
//! column    count x  type u8, name length u8 (1..=255), name (UTF-8)
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use thiserror::Error;

/// Most columns that one log may have.
pub const MAX_COLUMNS: usize = 512;

/// Longest column name, in bytes of UTF-8.
pub const MAX_COLUMN_NAME: usize = 255;

/// Name of the column that holds the record's time: Unix nanoseconds, never null.
pub const TIME_COLUMN: &str = "time";

/// Names that records carry on their way out, and that a column therefore cannot have.
pub const RESERVED_NAMES: [&str; 3] = ["offset", TIME_COLUMN, "epoch"];

const VERSION: u8 = 1;

/// The type of a column. The codes are part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ColumnType {
    /// A short string that names the series; dictionary-encoded.
    Tag = 1,
    /// A 64-bit float, kept bit for bit.
    F64 = 2,
    /// A signed 64-bit integer.
    I64 = 3,
    /// An unsigned 64-bit integer.
    U64 = 4,
    /// True or false.
    Bool = 5,
    /// A string.
    Utf8 = 6,
    /// Raw bytes.
    Binary = 7,
}

impl ColumnType {
    /// Every type, in the order of the codes.
    pub const ALL: [Self; 7] = [Self::Tag, Self::F64, Self::I64, Self::U64, Self::Bool, Self::Utf8, Self::Binary];

    /// The stored code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The type of a stored code, `None` for a code of no type.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.code() == code)
    }

    /// What is appended (after `__`) to the name of a column whose plain name another type has taken.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::F64 => "f64",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::Bool => "bool",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
        }
    }

    /// The Arrow type of the column.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Tag => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::F64 => DataType::Float64,
            Self::I64 => DataType::Int64,
            Self::U64 => DataType::UInt64,
            Self::Bool => DataType::Boolean,
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
        }
    }

    /// The type that has this Arrow type, `None` if none has.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.arrow() == *data_type)
    }
}

/// One column: its name and type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// The name, 1 to [`MAX_COLUMN_NAME`] bytes.
    pub name: String,
    /// The type of all its values.
    pub ty: ColumnType,
}

impl Column {
    /// A column of that name and type.
    pub fn new(name: impl Into<String>, ty: ColumnType) -> Self {
        Self { name: name.into(), ty }
    }
}

/// Where the value of a field belongs in a schema: [`Schema::place`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the column at this index.
    Column(usize),
    /// In a column that is not there yet, under this name.
    New(String),
}

/// The columns of a log, in order. Cheap to clone.
///
/// Invariants: names are unique and not reserved. A schema from [`Schema::new`] or [`Schema::from_bytes`] also keeps
/// to [`MAX_COLUMNS`] and [`MAX_COLUMN_NAME`]; a [`Schema::union`] may exceed them and is for output only.
#[derive(Debug, Clone)]
pub struct Schema {
    columns: Arc<[Column]>,
    arrow: SchemaRef,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns
    }
}

impl Eq for Schema {}

impl Schema {
    /// A schema of these columns. Fails on a name that is empty, too long, reserved or there twice, and on too many columns.
    pub fn new(columns: Vec<Column>) -> Result<Self, SchemaError> {
        if columns.len() > MAX_COLUMNS {
            return Err(SchemaError::TooManyColumns { count: columns.len() });
        }
        let mut seen = HashSet::with_capacity(columns.len());
        for column in &columns {
            let name = &column.name;
            if name.is_empty() || name.len() > MAX_COLUMN_NAME {
                return Err(SchemaError::NameLength { bytes: name.len() });
            }
            if is_reserved(name) {
                return Err(SchemaError::Reserved { name: name.clone() });
            }
            if !seen.insert(name.as_str()) {
                return Err(SchemaError::Duplicate { name: name.clone() });
            }
        }
        Ok(Self::of_checked(columns))
    }

    /// The schema without columns, with which a log begins.
    pub fn empty() -> Self {
        Self::of_checked(Vec::new())
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The stored form; the layout stands at the head of this file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let names: usize = self.columns.iter().map(|c| c.name.len() + 2).sum();
        let mut out = Vec::with_capacity(names + 4);
        out.push(VERSION);
        let mut count = self.columns.len();
        while count >= 0x80 {
            out.push(count as u8 | 0x80);
            count >>= 7;
        }
        out.push(count as u8);
        for column in self.columns.iter() {
            // Only a union, which is never stored, can hold a longer name.
            let length = column.name.len().min(MAX_COLUMN_NAME);
            out.extend_from_slice(&[column.ty.code(), length as u8]);
            out.extend_from_slice(&column.name.as_bytes()[..length]);
        }
        out
    }

    /// Reads the stored form. Only the bytes that [`Schema::to_bytes`] writes are accepted, so that equal schemas have
    /// equal fingerprints.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SchemaError> {
        let (&version, rest) = bytes.split_first().ok_or(SchemaError::Truncated)?;
        if version != VERSION {
            return Err(SchemaError::Version { version });
        }
        let (count, mut rest) = take_count(rest)?;
        let mut columns = Vec::with_capacity(count.min(rest.len() / 3));
        for _ in 0..count {
            let (&[code, length], tail) = rest.split_first_chunk().ok_or(SchemaError::Truncated)?;
            let ty = ColumnType::from_code(code).ok_or(SchemaError::Type { code })?;
            let (name, tail) = tail.split_at_checked(length.into()).ok_or(SchemaError::Truncated)?;
            let name = str::from_utf8(name).map_err(|_| SchemaError::NotUtf8)?;
            columns.push(Column::new(name, ty));
            rest = tail;
        }
        if !rest.is_empty() {
            return Err(SchemaError::Trailing { bytes: rest.len() });
        }
        Self::new(columns)
    }

    /// Names the schema: the first 8 bytes of the BLAKE3 hash of [`Schema::to_bytes`].
    pub fn fingerprint(&self) -> [u8; 8] {
        let hash = blake3::hash(&self.to_bytes());
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&hash.as_bytes()[..8]);
        fingerprint
    }

    /// The Arrow schema of a batch: `time` first (nanoseconds, UTC, never null), then the columns, all nullable.
    pub fn arrow(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    /// The schema of Arrow batches in the shape of [`Schema::arrow`]. Metadata and nullability of columns do not matter.
    pub fn from_arrow(arrow: &arrow_schema::Schema) -> Result<Self, SchemaError> {
        let mut fields = arrow.fields().iter();
        let time = fields.next().ok_or(SchemaError::NoTime)?;
        if time.name() != TIME_COLUMN || *time.data_type() != time_type() {
            return Err(SchemaError::NoTime);
        }
        let column = |field: &Arc<Field>| match ColumnType::from_arrow(field.data_type()) {
            Some(ty) => Ok(Column::new(field.name(), ty)),
            None => Err(SchemaError::ArrowType { name: field.name().clone(), found: field.data_type().to_string() }),
        };
        Self::new(fields.map(column).collect::<Result<_, _>>()?)
    }

    /// Where a value of this name and type belongs. A name that is reserved, or that a column of another type has, leads to
    /// the sibling `<name>__<type>`; should that too be taken by another type, the suffix is appended once more.
    pub fn place(&self, name: &str, ty: ColumnType) -> Place {
        let mut name = std::borrow::Cow::Borrowed(name);
        loop {
            match self.columns.iter().position(|c| c.name == *name) {
                Some(index) if self.columns[index].ty == ty => return Place::Column(index),
                None if !is_reserved(&name) => return Place::New(name.into_owned()),
                _ => name = format!("{name}__{}", ty.suffix()).into(),
            }
        }
    }

    /// This schema with the columns of `other` that it lacks appended, each where [`Schema::place`] says. For output over
    /// segments of several schemas; the result may exceed the limits of a stored schema.
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for column in other.columns.iter() {
            if let Place::New(name) = union.place(&column.name, column.ty) {
                let mut columns = union.columns.to_vec();
                columns.push(Column { name, ty: column.ty });
                union.columns = columns.into();
            }
        }
        if union.columns.len() == self.columns.len() { union } else { Self::of_checked(union.columns.to_vec()) }
    }

    fn of_checked(columns: Vec<Column>) -> Self {
        let time = Field::new(TIME_COLUMN, time_type(), false);
        let fields = columns.iter().map(|c| Field::new(&c.name, c.ty.arrow(), true));
        let arrow = arrow_schema::Schema::new(std::iter::once(time).chain(fields).collect::<Vec<_>>());
        Self { columns: columns.into(), arrow: Arc::new(arrow) }
    }
}

/// The Arrow type of `time`.
fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name)
}

fn take_count(bytes: &[u8]) -> Result<(usize, &[u8]), SchemaError> {
    match bytes {
        [] => Err(SchemaError::Truncated),
        [low, rest @ ..] if *low < 0x80 => Ok((usize::from(*low), rest)),
        [_] => Err(SchemaError::Truncated),
        // Two bytes hold up to 16,383, more than MAX_COLUMNS; a zero high byte would be a second spelling of a small count.
        [low, high @ 1..0x80, rest @ ..] => Ok((usize::from(low & 0x7f) | usize::from(*high) << 7, rest)),
        [_, _, ..] => Err(SchemaError::Count),
    }
}

/// Why a schema was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The bytes end before the schema does.
    #[error("schema bytes end too early; send the whole schema")]
    Truncated,
    /// Bytes follow the schema.
    #[error("{bytes} bytes follow the schema; send nothing but the schema")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The layout is of a version that this build does not know.
    #[error("schema version {version} is unknown, this build reads version {VERSION}; update the reader")]
    Version {
        /// The version found.
        version: u8,
    },
    /// The column count is out of range or not in its shortest form.
    #[error("the column count of the schema is not a shortest-form number up to {MAX_COLUMNS}")]
    Count,
    /// A type code that this build does not know.
    #[error("column type code {code} is unknown; update the reader")]
    Type {
        /// The code found.
        code: u8,
    },
    /// A name is not UTF-8.
    #[error("a column name is not UTF-8")]
    NotUtf8,
    /// A name is empty or too long.
    #[error("a column name has {bytes} bytes; use 1 to {MAX_COLUMN_NAME}")]
    NameLength {
        /// Its length.
        bytes: usize,
    },
    /// A name is one of [`RESERVED_NAMES`].
    #[error("column name `{name}` is reserved; rename it, for example to `{name}__f64`")]
    Reserved {
        /// The name.
        name: String,
    },
    /// Two columns have one name.
    #[error("column `{name}` is there twice; names must be unique")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// More than [`MAX_COLUMNS`].
    #[error("{count} columns; a log may have {MAX_COLUMNS}")]
    TooManyColumns {
        /// How many there were.
        count: usize,
    },
    /// The Arrow schema does not begin with the time column.
    #[error("the first Arrow field must be `time`, a Timestamp(ns, UTC)")]
    NoTime,
    /// An Arrow field has a type that no column has.
    #[error("Arrow field `{name}` has type {found}, which no column has; cast it")]
    ArrowType {
        /// The field.
        name: String,
        /// Its type.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn climate() -> Schema {
        Schema::new(vec![
            Column::new("room", ColumnType::Tag),
            Column::new("temp", ColumnType::F64),
            Column::new("n", ColumnType::I64),
            Column::new("up", ColumnType::U64),
            Column::new("on", ColumnType::Bool),
            Column::new("note", ColumnType::Utf8),
            Column::new("raw", ColumnType::Binary),
        ])
        .unwrap()
    }

    #[test]
    fn the_stored_form_never_changes() {
        let bytes = climate().to_bytes();
        let golden = b"\x01\x07\x01\x04room\x02\x04temp\x03\x01n\x04\x02up\x05\x02on\x06\x04note\x07\x03raw";
        assert_eq!(bytes, golden);
        assert_eq!(Schema::from_bytes(golden).unwrap(), climate());
        assert_eq!(Schema::empty().to_bytes(), [1, 0]);
    }

    #[test]
    fn the_fingerprint_is_the_head_of_the_hash_of_the_stored_form() {
        assert_eq!(climate().fingerprint()[..], blake3::hash(&climate().to_bytes()).as_bytes()[..8]);
        assert_ne!(climate().fingerprint(), Schema::empty().fingerprint());
    }

    #[test]
    fn a_schema_cut_anywhere_is_refused() {
        let bytes = climate().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Schema::from_bytes(&bytes[..end]), Err(SchemaError::Truncated), "cut at {end}");
        }
        assert_eq!(Schema::from_bytes(&[&bytes[..], &[0]].concat()), Err(SchemaError::Trailing { bytes: 1 }));
    }

    #[test]
    fn the_widest_schema_round_trips_and_a_wider_one_is_refused() {
        let columns = |n: usize| (0..n).map(|i| Column::new(format!("c{i}"), ColumnType::F64)).collect::<Vec<_>>();
        let widest = Schema::new(columns(MAX_COLUMNS)).unwrap();
        assert_eq!(Schema::from_bytes(&widest.to_bytes()).unwrap(), widest);
        assert_eq!(Schema::new(columns(MAX_COLUMNS + 1)), Err(SchemaError::TooManyColumns { count: 513 }));
    }

    #[test]
    fn bad_names_types_and_counts_are_refused() {
        let with = |name: &str| Schema::new(vec![Column::new(name, ColumnType::F64)]);
        assert_eq!(with(""), Err(SchemaError::NameLength { bytes: 0 }));
        assert_eq!(with(&"x".repeat(256)), Err(SchemaError::NameLength { bytes: 256 }));
        for name in RESERVED_NAMES {
            assert_eq!(with(name), Err(SchemaError::Reserved { name: name.into() }));
        }
        assert_eq!(Schema::from_bytes(&[2, 0]), Err(SchemaError::Version { version: 2 }));
        assert_eq!(Schema::from_bytes(&[1, 0x80, 0]), Err(SchemaError::Count));
        assert_eq!(Schema::from_bytes(&[1, 0x80, 0x80, 1]), Err(SchemaError::Count));
        assert_eq!(Schema::from_bytes(b"\x01\x01\x08\x01a"), Err(SchemaError::Type { code: 8 }));
        assert_eq!(Schema::from_bytes(b"\x01\x01\x01\x01\xff"), Err(SchemaError::NotUtf8));
        let twice = Schema::from_bytes(b"\x01\x02\x01\x01a\x02\x01a");
        assert_eq!(twice, Err(SchemaError::Duplicate { name: "a".into() }));
    }

    #[test]
    fn the_arrow_schema_leads_back_to_the_schema() {
        let arrow = climate().arrow();
        assert_eq!(arrow.field(0).name(), TIME_COLUMN);
        assert!(!arrow.field(0).is_nullable());
        assert_eq!(Schema::from_arrow(&arrow).unwrap(), climate());
        assert_eq!(Schema::from_arrow(&arrow_schema::Schema::empty()), Err(SchemaError::NoTime));
    }

    #[test]
    fn a_value_of_another_type_goes_to_a_sibling_column() {
        let schema = climate();
        assert_eq!(schema.place("temp", ColumnType::F64), Place::Column(1));
        assert_eq!(schema.place("temp", ColumnType::Utf8), Place::New("temp__utf8".into()));
        assert_eq!(schema.place("time", ColumnType::F64), Place::New("time__f64".into()));
        let taken = Schema::new(vec![
            Column::new("a", ColumnType::F64),
            Column::new("a__utf8", ColumnType::I64),
            Column::new("a__utf8__utf8", ColumnType::Utf8),
        ]);
        assert_eq!(taken.unwrap().place("a", ColumnType::Utf8), Place::Column(2));
    }

    #[test]
    fn a_union_appends_what_is_new_and_keeps_types_apart() {
        let left = Schema::new(vec![Column::new("a", ColumnType::F64), Column::new("b", ColumnType::I64)]).unwrap();
        let right = Schema::new(vec![Column::new("b", ColumnType::F64), Column::new("c", ColumnType::Tag)]).unwrap();
        let union = left.union(&right);
        let names: Vec<_> = union.columns().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "b__f64", "c"]);
        assert_eq!(union.arrow().fields().len(), 5);
        assert_eq!(union.union(&right), union);
    }
}

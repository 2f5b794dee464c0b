//! What a record is to the oracle: a checksum of its time and of every value with its column's name and type.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch, StringArray};
use pyralog_agent::records::Value;
use pyralog_segment::{Column, ColumnType, Schema};

/// A record as the oracle keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The checksum of its time and its cells.
    pub sum: u64,
    /// Its time, Unix nanoseconds.
    pub time: i64,
}

/// The cells of a record by their columns' names. Of a name that comes twice, the later one holds.
#[derive(Debug, Clone, Default)]
pub struct Row {
    bytes: Vec<u8>,
}

impl Row {
    /// The record with these cells, which are sorted by their columns' names.
    pub fn keep<'a>(&mut self, time: i64, cells: impl Iterator<Item = (&'a str, Value<'a>)>) -> Kept {
        self.begin(time);
        cells.for_each(|(name, value)| self.cell(name, value));
        Kept { sum: self.end(), time }
    }

    fn begin(&mut self, time: i64) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&time.to_le_bytes());
    }

    fn cell(&mut self, name: &str, value: Value<'_>) {
        let (name_len, ty) = (name.len() as u8, value.column_type().code());
        self.bytes.extend_from_slice(&[name_len, ty]);
        self.bytes.extend_from_slice(name.as_bytes());
        match value {
            Value::F64(x) => self.bytes.extend_from_slice(&x.to_bits().to_le_bytes()),
            Value::I64(x) => self.bytes.extend_from_slice(&x.to_le_bytes()),
            Value::U64(x) => self.bytes.extend_from_slice(&x.to_le_bytes()),
            Value::Bool(x) => self.bytes.push(u8::from(x)),
            Value::Tag(text) | Value::Utf8(text) => self.text(text.as_bytes()),
            Value::Binary(bytes) => self.text(bytes),
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    fn end(&self) -> u64 {
        crate::trace::digest(&self.bytes)
    }
}

/// All rows of a batch; an error if it is not of `schema`.
pub fn keep(batch: &RecordBatch, schema: &Schema) -> Result<Vec<Kept>, String> {
    let table = Table::new(batch, schema)?;
    let mut row = Row::default();
    (0..batch.num_rows()).map(|at| table.keep(at, &mut row)).collect()
}

/// A batch, ready to be read row by row.
struct Table<'a> {
    times: &'a [i64],
    /// Sorted by name.
    columns: Vec<(&'a Column, &'a dyn Array)>,
}

impl<'a> Table<'a> {
    fn new(batch: &'a RecordBatch, schema: &'a Schema) -> Result<Self, String> {
        let times = batch.columns().first().and_then(|times| times.as_primitive_opt::<TimestampNanosecondType>());
        let times: &[i64] = times.ok_or("no times")?.values();
        if batch.num_columns() != schema.columns().len() + 1 {
            return Err(format!("{} columns, {} in the schema", batch.num_columns(), schema.columns().len()));
        }
        let mut columns: Vec<_> =
            schema.columns().iter().zip(batch.columns()[1..].iter().map(|array| &**array)).collect();
        columns.sort_by_key(|(column, _)| column.name.as_str());
        Ok(Self { times, columns })
    }

    fn keep(&self, at: usize, row: &mut Row) -> Result<Kept, String> {
        row.begin(self.times[at]);
        for (column, array) in &self.columns {
            if array.is_valid(at) {
                row.cell(&column.name, value(*array, column.ty, at)?);
            }
        }
        Ok(Kept { sum: row.end(), time: self.times[at] })
    }
}

fn value(array: &dyn Array, ty: ColumnType, at: usize) -> Result<Value<'_>, String> {
    let found = match ty {
        ColumnType::F64 => array.as_primitive_opt::<Float64Type>().map(|a| Value::F64(a.value(at))),
        ColumnType::I64 => array.as_primitive_opt::<Int64Type>().map(|a| Value::I64(a.value(at))),
        ColumnType::U64 => array.as_primitive_opt::<UInt64Type>().map(|a| Value::U64(a.value(at))),
        ColumnType::Bool => array.as_boolean_opt().map(|a| Value::Bool(a.value(at))),
        ColumnType::Utf8 => array.as_string_opt::<i32>().map(|a| Value::Utf8(a.value(at))),
        ColumnType::Binary => array.as_binary_opt::<i32>().map(|a| Value::Binary(a.value(at))),
        ColumnType::Tag => array.as_dictionary_opt::<Int32Type>().and_then(|a| {
            let tags: &StringArray = a.values().as_string_opt::<i32>()?;
            Some(Value::Tag(tags.value(a.key(at)?)))
        }),
    };
    found.ok_or_else(|| format!("a column is not of type {ty:?}"))
}

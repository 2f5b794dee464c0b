//! Behaviour of the whole ring.

mod accounting;
mod appending;
mod memory;
mod model;
mod reading;

use std::time::Duration;

use super::*;
use crate::records::{Records, Value};

/// A ring of `memory` bytes with small segments.
fn ring(memory: u64, change: impl FnOnce(&mut RingConfig)) -> Ring {
    let mut config = RingConfig { segment_rows: 64, ..RingConfig::default() };
    change(&mut config);
    Ring::new(config, Budget::new(memory))
}

fn at(second: u64) -> Now {
    Now { unix_ns: second as i64 * 1_000_000_000, mono: Duration::from_secs(second) }
}

/// One record.
fn record(log: &str, time: i64, cells: &[(&str, Value<'_>)]) -> Records {
    let mut records = Records::new();
    records.begin(log, Some(time));
    cells.iter().for_each(|(name, value)| records.push(name, *value));
    records.finish();
    records
}

/// Appends `rows` records with one float each, whose times and values count up.
fn fill(ring: &Ring, log: &str, rows: u64) {
    let head = ring.log(log).map_or(0, |log| log.head);
    for i in head..head + rows {
        let records = record(log, i as i64, &[("x", Value::F64(i as f64))]);
        assert_eq!(ring.append(&records, at(0)).unwrap().rows, 1);
    }
}

fn pack_all(ring: &Ring) {
    while ring.pack_next() {}
}

/// Offset, time, and name and rendering of each cell that is not null.
type ReadRow = (u64, i64, Vec<(String, String)>);

/// All records of a log as (offset, time, cells that are not null, rendered).
fn read_all(ring: &Ring, log: &str, range: ReadRange) -> Vec<ReadRow> {
    let mut reader = ring.read(log, range).unwrap();
    let mut rows = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        assert_eq!(chunk.batch.num_columns(), chunk.schema.columns().len() + 1);
        rows.extend(
            chunk.rows.clone().map(|row| (chunk.base + row as u64, time_of(&chunk, row), cells_of(&chunk, row))),
        );
    }
    rows
}

fn time_of(chunk: &Chunk, row: usize) -> i64 {
    use arrow_array::cast::AsArray;
    chunk.batch.column(0).as_primitive::<arrow_array::types::TimestampNanosecondType>().value(row)
}

/// The cells of a row that are not null; floats by their bits, so that nothing is lost in rendering.
fn cells_of(chunk: &Chunk, row: usize) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    for (column, array) in chunk.schema.columns().iter().zip(chunk.batch.columns().iter().skip(1)) {
        if let Some(text) = cell_of(array, row) {
            cells.push((column.name.clone(), text));
        }
    }
    cells
}

fn cell_of(array: &arrow_array::ArrayRef, row: usize) -> Option<String> {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt64Type};
    use pyralog_segment::ColumnType;

    if array.is_null(row) {
        return None;
    }
    Some(match ColumnType::from_arrow(array.data_type()).unwrap() {
        ColumnType::F64 => render(Value::F64(array.as_primitive::<Float64Type>().value(row))),
        ColumnType::I64 => render(Value::I64(array.as_primitive::<Int64Type>().value(row))),
        ColumnType::U64 => render(Value::U64(array.as_primitive::<UInt64Type>().value(row))),
        ColumnType::Bool => render(Value::Bool(array.as_boolean().value(row))),
        ColumnType::Utf8 => render(Value::Utf8(array.as_string::<i32>().value(row))),
        ColumnType::Binary => render(Value::Binary(array.as_binary::<i32>().value(row))),
        ColumnType::Tag => {
            let tags = array.as_dictionary::<Int32Type>();
            let value = tags.values().as_string::<i32>().value(tags.key(row).unwrap());
            render(Value::Tag(value))
        }
    })
}

/// A value as text, type and all.
fn render(value: Value<'_>) -> String {
    match value {
        Value::F64(x) => format!("f64 {:016x}", x.to_bits()),
        other => format!("{other:?}"),
    }
}

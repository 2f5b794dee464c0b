//! Records as CSV: a header line, then a line a record.
//!
//! An empty cell is null and `""` is the empty string, which is why quoting is done here and not by a library. `time` is an
//! integer of Unix nanoseconds, bytes are base64, NaN and infinities go by name.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::OutputError;
use super::row::{Cell, Cells, push_float};

pub(super) fn header(schema: &SchemaRef, out: &mut Vec<u8>) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_text(field.name(), out);
    }
    out.push(b'\n');
}

pub(super) fn batch(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), OutputError> {
    let columns = Cells::of(batch)?;
    for row in 0..batch.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push(column.get(row), out);
        }
        out.push(b'\n');
    }
    Ok(())
}

fn push(cell: Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => {}
        Cell::Signed(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        Cell::Unsigned(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        Cell::Float(v) => push_float(v, out),
        Cell::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        Cell::Text(text) => push_text(text, out),
        Cell::Bytes([]) => out.extend_from_slice(b"\"\""),
        Cell::Bytes(bytes) => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
    }
}

/// Quotes where a reader would otherwise see something else: separators, quotes, line ends, and the empty string.
fn push_text(text: &str, out: &mut Vec<u8>) {
    let quote = text.is_empty() || text.bytes().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'));
    if !quote {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for part in text.split_inclusive('"') {
        out.extend_from_slice(part.as_bytes());
        if part.ends_with('"') {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

//! Records as NDJSON: one object a line, every column present, null where absent.
//!
//! `time` is an integer of Unix nanoseconds. JSON has no NaN and no infinities: they are the strings `"NaN"`, `"Infinity"` and
//! `"-Infinity"`. Bytes are base64 in the standard alphabet.

use arrow_array::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::OutputError;
use super::row::{Cell, Cells, push_float};

pub(super) fn batch(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), OutputError> {
    let columns = Cells::of(batch)?;
    // Escaping a name once per batch leaves a copy per row.
    let mut names = Vec::with_capacity(columns.len());
    for (index, field) in batch.schema_ref().fields().iter().enumerate() {
        let mut name = vec![if index == 0 { b'{' } else { b',' }];
        push_text(field.name(), &mut name)?;
        name.push(b':');
        names.push(name);
    }
    for row in 0..batch.num_rows() {
        for (name, column) in names.iter().zip(&columns) {
            out.extend_from_slice(name);
            push(column.get(row), out)?;
        }
        out.extend_from_slice(b"}\n");
    }
    Ok(())
}

fn push(cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), OutputError> {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Signed(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        Cell::Unsigned(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        Cell::Float(v) if v.is_finite() => push_float(v, out),
        Cell::Float(v) => {
            out.push(b'"');
            push_float(v, out);
            out.push(b'"');
        }
        Cell::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        Cell::Text(text) => push_text(text, out)?,
        Cell::Bytes(bytes) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
    Ok(())
}

fn push_text(text: &str, out: &mut Vec<u8>) -> Result<(), OutputError> {
    serde_json::to_writer(out, text).map_err(|error| OutputError::Arrow(error.to_string()))
}

//! Records as a server returned them, and the comparison with what was sent: every cell, every bit.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;

use crate::Result;
use crate::dataset::{Cell, Dataset};

/// The records of an Arrow stream.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The epoch of each record; all zeros if the stream has none (an agent's).
    pub epochs: Vec<u32>,
    /// The offset of each record.
    pub offsets: Vec<u64>,
    /// The time of each record, Unix ns.
    pub times: Vec<i64>,
    /// The other columns by name.
    pub columns: BTreeMap<String, Vec<Option<Cell>>>,
}

impl Table {
    /// Reads an Arrow IPC stream.
    ///
    /// # Errors
    /// When it is none, or has a column of a type that no scenario sends.
    pub fn read(stream: &[u8]) -> Result<Self> {
        let mut table = Self::default();
        for batch in StreamReader::try_new(stream, None)? {
            table.append(&batch?)?;
        }
        Ok(table)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The records of one epoch.
    #[must_use]
    pub fn epoch(&self, epoch: u32) -> Self {
        fn keep<T: Clone>(values: &[T], epochs: &[u32], epoch: u32) -> Vec<T> {
            values.iter().zip(epochs).filter(|(_, e)| **e == epoch).map(|(value, _)| value.clone()).collect()
        }
        let columns = self.columns.iter().map(|(name, cells)| (name.clone(), keep(cells, &self.epochs, epoch)));
        Self {
            epochs: keep(&self.epochs, &self.epochs, epoch),
            offsets: keep(&self.offsets, &self.epochs, epoch),
            times: keep(&self.times, &self.epochs, epoch),
            columns: columns.collect(),
        }
    }

    /// Checks that each record is the row of `data` that its offset, less `first`, names; offsets rise and come once.
    /// Returns the number of cells compared, times not counted.
    ///
    /// # Errors
    /// The first difference.
    pub fn equals(&self, data: &Dataset, first: u64) -> Result<u64> {
        if let Some(at) = self.offsets.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(format!("offset {} is followed by {}", self.offsets[at], self.offsets[at + 1]).into());
        }
        let unknown = self.columns.keys().find(|name| data.columns.iter().all(|(known, _)| known != *name));
        if let Some(name) = unknown {
            return Err(format!("column {name} was never sent").into());
        }
        let mut cells = 0;
        for (index, offset) in self.offsets.iter().enumerate() {
            if offset.checked_sub(first).is_none_or(|at| at as usize >= data.rows.len()) {
                return Err(format!("offset {offset} was never sent").into());
            }
            self.row_equals(index, data, (offset - first) as usize)
                .map_err(|error| format!("offset {offset}{error}"))?;
            cells += data.columns.len() as u64;
        }
        Ok(cells)
    }

    /// Checks that record `index` is row `row` of `data`.
    ///
    /// # Errors
    /// The first difference.
    pub fn row_equals(&self, index: usize, data: &Dataset, row: usize) -> Result<()> {
        let row = data.rows.get(row).ok_or(": it was never sent")?;
        if self.times[index] != row.time {
            return Err(format!(": time {} instead of {}", self.times[index], row.time).into());
        }
        for ((name, _), sent) in data.columns.iter().zip(&row.cells) {
            let got = self.columns.get(name).and_then(|cells| cells[index].as_ref());
            if !same(sent.as_ref(), got) {
                return Err(format!(", column {name}: {got:?} instead of {sent:?}").into());
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let (before, rows) = (self.len(), batch.num_rows());
        self.epochs.resize(before + rows, 0);
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            match field.name().as_str() {
                "epoch" => {
                    let values = column.as_primitive_opt::<UInt32Type>().ok_or("epoch is not u32")?.values();
                    self.epochs[before..].copy_from_slice(values);
                }
                "offset" => {
                    self.offsets.extend(column.as_primitive_opt::<UInt64Type>().ok_or("offset is not u64")?.values());
                }
                "time" => {
                    let times = column.as_primitive_opt::<TimestampNanosecondType>().ok_or("time is not in ns")?;
                    self.times.extend(times.values());
                }
                name => {
                    let cells = self.columns.entry(name.to_owned()).or_default();
                    cells.resize(before, None);
                    append_cells(column.as_ref(), cells).map_err(|error| format!("column {name}: {error}"))?;
                }
            }
        }
        for cells in self.columns.values_mut() {
            cells.resize(before + rows, None);
        }
        if self.times.len() != self.len() || self.len() != before + rows {
            return Err("a batch lacks offset or time".into());
        }
        Ok(())
    }
}

/// Bits, not values: -0.0 is not 0.0, and NaN equals itself.
fn same(sent: Option<&Cell>, got: Option<&Cell>) -> bool {
    match (sent, got) {
        (Some(Cell::F64(sent)), Some(Cell::F64(got))) => sent.to_bits() == got.to_bits(),
        (sent, got) => sent == got,
    }
}

fn append_cells(column: &dyn Array, cells: &mut Vec<Option<Cell>>) -> Result<()> {
    match column.data_type() {
        DataType::Float64 => cells.extend(column.as_primitive::<Float64Type>().iter().map(|v| v.map(Cell::F64))),
        DataType::Boolean => cells.extend(column.as_boolean().iter().map(|v| v.map(Cell::Bool))),
        DataType::Utf8 => cells.extend(column.as_string::<i32>().iter().map(|v| v.map(|v| Cell::Text(v.to_owned())))),
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary_opt().ok_or("a dictionary that is none")?;
            let words = dictionary.values().as_string_opt::<i32>().ok_or("a dictionary of something but strings")?;
            let keys = dictionary.normalized_keys();
            let text = |row: usize| (!column.is_null(row)).then(|| Cell::Text(words.value(keys[row]).to_owned()));
            cells.extend((0..column.len()).map(text));
        }
        other => return Err(format!("unexpected type {other}").into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::weather;

    fn table_of(data: &Dataset) -> Table {
        let mut table = Table {
            epochs: vec![1; data.rows.len()],
            offsets: (0..data.rows.len() as u64).collect(),
            times: data.rows.iter().map(|row| row.time).collect(),
            ..Table::default()
        };
        for (at, (name, _)) in data.columns.iter().enumerate() {
            table.columns.insert(name.clone(), data.rows.iter().map(|row| row.cells[at].clone()).collect());
        }
        table
    }

    #[test]
    fn one_wrong_bit_is_found() {
        let data = weather(1, 100);
        let mut table = table_of(&data);
        assert_eq!(table.equals(&data, 0).unwrap(), 500);
        table.columns.get_mut("temp").unwrap()[7] = Some(Cell::F64(1.0));
        let error = table.equals(&data, 0).unwrap_err().to_string();
        assert!(error.starts_with("offset 7, column temp"), "{error}");
        assert!(!same(Some(&Cell::F64(0.0)), Some(&Cell::F64(-0.0))));
    }

    #[test]
    fn a_record_twice_and_a_record_never_sent_are_found() {
        let data = weather(1, 10);
        let mut table = table_of(&data);
        table.offsets[4] = 3;
        assert!(table.equals(&data, 0).is_err());
        let mut table = table_of(&data);
        table.offsets[9] = 10;
        assert!(table.equals(&data, 0).unwrap_err().to_string().contains("never sent"));
    }
}

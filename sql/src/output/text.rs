//! Results in aligned columns.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// Between columns.
const GAP: &str = "  ";

/// A table whose columns are as wide as the first rows need; what is wider further down sticks out.
pub(crate) struct TextTable {
    heads: Vec<String>,
    /// Whether a column holds numbers, which end in one line.
    right: Vec<bool>,
    /// Known once the first rows are.
    widths: Option<Vec<usize>>,
    rows: u64,
}

impl TextTable {
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        let heads = schema.fields().iter().map(|field| clean(field.name())).collect();
        let right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        Self { heads, right, widths: None, rows: 0 }
    }

    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let options = FormatOptions::default();
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let cell = |row: usize| -> Result<Vec<String>, ArrowError> {
            columns.iter().map(|column| Ok(clean(&column.value(row).try_to_string()?))).collect()
        };
        let rows = (0..batch.num_rows()).map(cell).collect::<Result<Vec<_>, _>>()?;
        let mut out = self.begin(&rows);
        for row in &rows {
            // Plans, for one, have cells of several lines.
            let lines = row.iter().map(|cell| cell.lines().count()).max().unwrap_or_default().max(1);
            for line in 0..lines {
                let cells: Vec<_> = row.iter().map(|cell| cell.lines().nth(line).unwrap_or_default()).collect();
                self.line(&cells, &mut out);
            }
        }
        self.rows += rows.len() as u64;
        Ok(out.into_bytes())
    }

    /// The end: how many rows there were.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = self.begin(&[]);
        let plural = if self.rows == 1 { "" } else { "s" };
        out.push_str(&format!("({} row{plural})\n", self.rows));
        out.into_bytes()
    }

    /// The head, unless it is written already.
    fn begin(&mut self, first: &[Vec<String>]) -> String {
        let mut out = String::new();
        if self.widths.is_none() {
            let widest =
                |index: usize| first.iter().filter_map(move |row| row.get(index)).map(|cell| width(cell)).max();
            let widths = self.heads.iter().enumerate().map(|(index, head)| widest(index).max(Some(width(head))));
            self.widths = Some(widths.map(Option::unwrap_or_default).collect());
            self.line(&self.heads, &mut out);
            let rules: Vec<_> = self.widths.iter().flatten().map(|width| "-".repeat(*width)).collect();
            self.line(&rules, &mut out);
        }
        out
    }

    fn line(&self, cells: &[impl AsRef<str>], out: &mut String) {
        let begin = out.len();
        for (index, cell) in cells.iter().map(AsRef::as_ref).enumerate() {
            let room = self.widths.as_ref().and_then(|widths| widths.get(index)).copied().unwrap_or_default();
            let padding = " ".repeat(room.saturating_sub(width(cell)));
            out.push_str(if index == 0 { "" } else { GAP });
            match self.right.get(index) {
                Some(true) => out.extend([padding.as_str(), cell]),
                _ => out.extend([cell, padding.as_str()]),
            }
        }
        out.truncate(begin + out[begin..].trim_end().len());
        out.push('\n');
    }
}

fn width(cell: &str) -> usize {
    cell.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

/// Text that cannot move the cursor of somebody's terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn columns_line_up_and_cells_of_several_lines_stay_in_theirs() {
        let fields = vec![Field::new("plan", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
        let schema = Arc::new(Schema::new(fields));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("Scan\n  t\x1b[2J"), None]));
        let batch = RecordBatch::try_new(schema.clone(), vec![text, Arc::new(Int64Array::from(vec![1, 20]))]).unwrap();
        let mut table = TextTable::new(&schema);
        let written = [table.batch(&batch).unwrap(), table.finish()].concat();
        let lines = ["plan      n", "-------  --", "Scan      1", "  t\u{fffd}[2J", "         20", "(2 rows)", ""];
        assert_eq!(String::from_utf8(written).unwrap(), lines.join("\n"));
    }
}

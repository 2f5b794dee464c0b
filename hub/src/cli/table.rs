//! Aligned tables, with colour on a terminal alone.

use std::io::{IsTerminal, Write};

/// A table for people: first column left, the rest as they were declared.
pub(super) struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Table {
    pub(super) fn new(heads: &[(&'static str, Align)]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A name may hold anything but control characters; those would move the cursor of somebody's terminal.
        let clean = |cell: String| cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Writes the table to stdout; a closed pipe is no error.
    pub(super) fn print(&self) {
        let out = std::io::stdout();
        let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let mut out = out.lock();
        let heads: Vec<_> = self.heads.iter().map(|(head, _)| (*head).to_owned()).collect();
        if writeln!(out, "{bold}{}{plain}", self.line(&heads)).is_err() {
            return;
        }
        for row in &self.rows {
            if writeln!(out, "{}", self.line(row)).is_err() {
                return;
            }
        }
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (index, (cell, (_, align))) in cells.iter().zip(&self.heads).enumerate() {
            let rows = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            let width = rows.chain(self.heads.get(index).map(|(head, _)| head.len())).max().unwrap_or_default();
            let gap = if index == 0 { "" } else { "  " };
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            line.push_str(gap);
            match align {
                Align::Left => line.extend([cell, padding.as_str()]),
                Align::Right => line.extend([padding.as_str(), cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Unix nanoseconds as UTC, to the second.
pub(super) fn moment(nanos: i64) -> String {
    let since = std::time::Duration::from_nanos(nanos.max(0).unsigned_abs());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("log", Align::Left), ("committed", Align::Right)]);
        table.row(["température".into(), grouped(1_234_567)]);
        table.row(["x\x1b[2J".into(), grouped(999)]);
        assert_eq!(table.line(&table.rows[0]), "température  1,234,567");
        assert_eq!(table.line(&table.rows[1]), "x\u{fffd}[2J              999");
        assert_eq!(grouped(0), "0");
        assert_eq!(moment(1_000_000_000), "1970-01-01T00:00:01Z");
    }
}

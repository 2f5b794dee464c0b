//! Sensor data to send and to expect back: the columns, the rows, and how they look as line protocol and JSON.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::Result;

/// A table of readings in the order in which they are sent.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Names and kinds of the columns; the time is not among them.
    pub columns: Vec<(String, Kind)>,
    /// The rows, each with one cell per column.
    pub rows: Vec<Row>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tag.
    Tag,
    /// A float field.
    F64,
    /// A boolean field.
    Bool,
    /// A string field.
    Text,
}

/// One record.
#[derive(Debug, Clone)]
pub struct Row {
    /// Unix nanoseconds.
    pub time: i64,
    /// Its values; `None` is a cell that is empty.
    pub cells: Vec<Option<Cell>>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A float.
    F64(f64),
    /// A truth.
    Bool(bool),
    /// A tag's or a field's string.
    Text(String),
}

impl Dataset {
    /// Reads a CSV file packed by gzip: `time`, then columns named `tag:NAME` or `TYPE:NAME`.
    ///
    /// # Errors
    /// When the file cannot be read, or is not of that form; with the line.
    pub fn load(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        Self::parse(GzDecoder::new(file)).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn parse(csv: impl Read) -> Result<Self> {
        let mut lines = BufReader::new(csv).lines();
        let header = lines.next().ok_or("the file is empty")??;
        let columns = header.split(',').skip(1).map(column).collect::<Result<Vec<_>>>()?;
        let mut rows = Vec::new();
        for (index, line) in lines.enumerate() {
            rows.push(row(&line?, &columns).map_err(|error| format!("line {}: {error}", index + 2))?);
        }
        Ok(Self { columns, rows })
    }

    /// Rows `range` as line protocol of `measurement`.
    pub fn line_protocol(&self, measurement: &str, range: std::ops::Range<usize>) -> String {
        let mut out = String::new();
        for row in self.rows.iter().take(range.end).skip(range.start) {
            self.line(measurement, row, &mut out);
        }
        out
    }

    fn line(&self, measurement: &str, row: &Row, out: &mut String) {
        out.push_str(measurement);
        let cells = || self.columns.iter().zip(&row.cells);
        for ((name, kind), cell) in cells() {
            if let (Kind::Tag, Some(Cell::Text(text))) = (kind, cell) {
                let _ = write!(out, ",{name}={}", text.replace(' ', "\\ ").replace(',', "\\,").replace('=', "\\="));
            }
        }
        let mut separator = ' ';
        for ((name, kind), cell) in cells() {
            let Some(cell) = cell else { continue };
            let _ = match cell {
                _ if *kind == Kind::Tag => continue,
                Cell::F64(value) => write!(out, "{separator}{name}={value:?}"),
                Cell::Bool(value) => write!(out, "{separator}{name}={value}"),
                Cell::Text(text) => {
                    write!(out, "{separator}{name}=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
                }
            };
            separator = ',';
        }
        let _ = writeln!(out, " {}", row.time);
    }

    /// One row as a JSON object, the time under `time`.
    pub fn json(&self, row: &Row, out: &mut String) {
        let _ = write!(out, "{{\"time\":{}", row.time);
        for ((name, _), cell) in self.columns.iter().zip(&row.cells) {
            let _ = match cell {
                None => continue,
                Some(Cell::F64(value)) => write!(out, ",\"{name}\":{value:?}"),
                Some(Cell::Bool(value)) => write!(out, ",\"{name}\":{value}"),
                Some(Cell::Text(text)) => write!(out, ",\"{name}\":{}", serde_json::Value::from(text.as_str())),
            };
        }
        out.push('}');
    }

    /// Names of the tags.
    pub fn tags(&self) -> Vec<&str> {
        self.columns.iter().filter(|(_, kind)| *kind == Kind::Tag).map(|(name, _)| name.as_str()).collect()
    }
}

fn column(text: &str) -> Result<(String, Kind)> {
    let (kind, name) = text.split_once(':').ok_or_else(|| format!("column {text} has no type"))?;
    let kind = match kind {
        "tag" => Kind::Tag,
        "f64" | "f32" => Kind::F64,
        "bool" => Kind::Bool,
        "str" => Kind::Text,
        other => return Err(format!("column {text}: type {other} is not known").into()),
    };
    Ok((name.to_owned(), kind))
}

fn row(line: &str, columns: &[(String, Kind)]) -> Result<Row> {
    let mut parts = line.split(',');
    let time = parts.next().unwrap_or_default().parse().map_err(|error| format!("time: {error}"))?;
    let mut cells = Vec::with_capacity(columns.len());
    for (name, kind) in columns {
        let text = parts.next().ok_or_else(|| format!("no cell for {name}"))?;
        cells.push(match kind {
            _ if text.is_empty() => None,
            Kind::F64 => Some(Cell::F64(text.parse().map_err(|error| format!("{name}: {error}"))?)),
            Kind::Bool => Some(Cell::Bool(matches!(text, "true" | "1"))),
            Kind::Tag | Kind::Text => Some(Cell::Text(text.to_owned())),
        });
    }
    match parts.next() {
        None => Ok(Row { time, cells }),
        Some(extra) => Err(format!("one cell too many: {extra}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "time,tag:station,f64:temp,bool:ok,str:note\n7,a b,-0.0,true,x\"y\n8,c,,,\n9,,1e300,false,\n";

    #[test]
    fn empty_cells_are_neither_in_line_protocol_nor_in_json() {
        let data = Dataset::parse(CSV.as_bytes()).unwrap();
        let lines = data.line_protocol("m", 0..3);
        assert_eq!(
            lines,
            "m,station=a\\ b temp=-0.0,ok=true,note=\"x\\\"y\" 7\nm,station=c 8\nm temp=1e300,ok=false 9\n"
        );
        let mut json = String::new();
        data.json(&data.rows[0], &mut json);
        data.json(&data.rows[1], &mut json);
        assert_eq!(json, r#"{"time":7,"station":"a b","temp":-0.0,"ok":true,"note":"x\"y"}{"time":8,"station":"c"}"#);
    }

    #[test]
    fn a_bad_file_is_told_with_its_line() {
        let error = Dataset::parse("time,f64:x\n1,2\n1,z\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 3: x"), "{error}");
        assert!(Dataset::parse("time,x\n".as_bytes()).is_err());
    }
}

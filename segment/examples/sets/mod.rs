//! Sets of sensor records for measurements: read from gzipped CSV, or synthetic.
//!
//! First line of a CSV: `time` (Unix ns), then `tag:NAME` and `TYPE:NAME` columns (`f64`, `f32`, `i64`, `u64`, `bool`, `str`); an
//! empty cell is null. An f32 is widened to the f64 that a log holds, while its line protocol keeps the text that the sensor sent.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use flate2::read::GzDecoder;
use pyralog_segment::{Column, ColumnType, Schema};

/// Records of one log, as a batch and as lines of line protocol.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) batch: RecordBatch,
    pub(crate) lines: Vec<String>,
}

impl Set {
    /// Field values that are not null among `count` rows from `start` on: a reading is one of them.
    pub(crate) fn readings(&self, start: usize, count: usize) -> usize {
        let slice = self.batch.slice(start, count);
        let fields = self.batch.schema_ref().fields().iter().zip(slice.columns()).skip(1);
        let fields = fields.filter(|(field, _)| ColumnType::from_arrow(field.data_type()) != Some(ColumnType::Tag));
        fields.map(|(_, column)| count - column.null_count()).sum()
    }
}

/// The sets of a directory, or the synthetic one.
pub(crate) fn load(directory: Option<&str>) -> Result<Vec<Set>, Box<dyn Error>> {
    let Some(directory) = directory else { return Ok(vec![parse("synthetic", &synthetic())?]) };
    let mut paths: Vec<_> =
        std::fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.to_string_lossy().ends_with(".csv.gz"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Set, Box<dyn Error>> {
    let mut text = String::new();
    GzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parse(name.trim_end_matches(".csv.gz"), &text)
}

fn parse(name: &str, csv: &str) -> Result<Set, Box<dyn Error>> {
    let mut rows = csv.lines();
    let header: Vec<(&str, &str)> =
        rows.next().ok_or("no header")?.split(',').skip(1).filter_map(|cell| cell.split_once(':')).collect();
    let mut times = Vec::new();
    let mut cells: Vec<Vec<Option<&str>>> = vec![Vec::new(); header.len()];
    let mut lines = Vec::new();
    for row in rows {
        let mut row = row.split(',');
        let time = row.next().ok_or("no time")?;
        times.push(time.parse::<i64>()?);
        let (mut tags, mut fields) = (name.to_owned(), String::new());
        for ((&(ty, column), cells), cell) in header.iter().zip(&mut cells).zip(row) {
            cells.push((!cell.is_empty()).then_some(cell));
            match ty {
                _ if cell.is_empty() => {}
                "tag" => write!(tags, ",{column}={cell}")?,
                "str" => write!(fields, ",{column}=\"{cell}\"")?,
                "i64" => write!(fields, ",{column}={cell}i")?,
                "u64" => write!(fields, ",{column}={cell}u")?,
                _ => write!(fields, ",{column}={cell}")?,
            }
        }
        lines.push(format!("{tags} {} {time}\n", fields.trim_start_matches(',')));
    }
    let mut columns = Vec::new();
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))];
    for ((ty, column), cells) in header.into_iter().zip(&cells) {
        let (ty, array) = array(ty, cells)?;
        columns.push(Column::new(column, ty));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Schema::new(columns)?.arrow(), arrays)?;
    Ok(Set { name: name.into(), batch, lines })
}

fn array(ty: &str, cells: &[Option<&str>]) -> Result<(ColumnType, ArrayRef), Box<dyn Error>> {
    let cells = cells.iter().copied();
    Ok(match ty {
        "tag" => (ColumnType::Tag, Arc::new(cells.collect::<DictionaryArray<Int32Type>>())),
        "f64" => {
            let values = cells.map(|cell| cell.map(str::parse).transpose()).collect::<Result<Float64Array, _>>()?;
            (ColumnType::F64, Arc::new(values))
        }
        "f32" => {
            let widen = |cell: &str| cell.parse::<f32>().map(f64::from);
            let values = cells.map(|cell| cell.map(widen).transpose()).collect::<Result<Float64Array, _>>()?;
            (ColumnType::F64, Arc::new(values))
        }
        "i64" => {
            let values = cells.map(|cell| cell.map(str::parse).transpose()).collect::<Result<Int64Array, _>>()?;
            (ColumnType::I64, Arc::new(values))
        }
        "u64" => {
            let values = cells.map(|cell| cell.map(str::parse).transpose()).collect::<Result<UInt64Array, _>>()?;
            (ColumnType::U64, Arc::new(values))
        }
        "bool" => {
            let values = cells.map(|cell| cell.map(str::parse).transpose()).collect::<Result<BooleanArray, _>>()?;
            (ColumnType::Bool, Arc::new(values))
        }
        "str" => (ColumnType::Utf8, Arc::new(cells.collect::<StringArray>())),
        _ => return Err(format!("unknown column type {ty}").into()),
    })
}

/// Four machines, sampled every second with some jitter: decimals, a raw counter, a rare state, a flag.
fn synthetic() -> String {
    let mut csv = String::from("time,tag:machine,f64:temp,f64:amps,f64:load,i64:count,str:state,bool:alarm\n");
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 40) as f64 / f64::from(1 << 24)
    };
    let mut counts = [0u64; 4];
    for row in 0..20_480u64 {
        let (machine, second) = ((row % 4) as usize, row / 4);
        let time = 1_700_000_000_000_000_000 + second * 1_000_000_000 + (random() * 2e6) as u64;
        let phase = second as f64 / 300.0 + machine as f64;
        let (temp, amps, load) = (60.0 + 8.0 * phase.sin() + random(), 12.0 + 3.0 * phase.cos() + random(), random());
        counts[machine] += (load * 10.0) as u64;
        let state = ["run", "idle", "stop"][(second / 97 + machine as u64) as usize % 3];
        let gap = random() < 0.01;
        let alarm = temp > 67.0;
        let temp = if gap { String::new() } else { format!("{temp:.1}") };
        let count = counts[machine];
        let _ = writeln!(csv, "{time},machine-{machine},{temp},{amps:.3},{load},{count},{state},{alarm}");
    }
    csv
}

//! Records on their way out: an Arrow stream, NDJSON or CSV, written batch by batch.

mod arrow_stream;
mod csv;
mod ndjson;
mod row;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use thiserror::Error;

use crate::schema::{Place, Schema};
use arrow_stream::ArrowStream;

/// A format in which records leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An Arrow IPC stream.
    ArrowStream,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::ArrowStream, Self::Ndjson, Self::Csv];

    /// The media type, for `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    /// The name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArrowStream => "arrow",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// The format that an `Accept` header asks for: that of the first media range known here (weights are not looked at).
    /// `*/*`, as well as an empty header, means NDJSON. `None` if no range is known.
    pub fn from_accept(accept: &str) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(Self::Ndjson);
        }
        accept.split(',').find_map(|range| {
            let media = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match media.as_str() {
                "application/vnd.apache.arrow.stream" => Some(Self::ArrowStream),
                "application/x-ndjson"
                | "application/ndjson"
                | "application/jsonl"
                | "application/json"
                | "application/*"
                | "*/*" => Some(Self::Ndjson),
                "text/csv" | "text/*" => Some(Self::Csv),
                _ => None,
            }
        })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(UnknownFormat)
    }
}

/// The name of a format that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown format; use `ndjson`, `csv` or `arrow`")]
pub struct UnknownFormat;

/// Writes records of one log, segment after segment, in one format.
///
/// Order of calls: [`header`](Self::header) once, [`batch`](Self::batch) any number of times, [`finish`](Self::finish) once.
/// Each appends to the buffer it is given and keeps no output back, so the caller sends and clears at its own pace. The output
/// columns are `epoch` (if asked for), `offset`, `time` and the columns of the union schema that the writer was made with; a
/// batch of a narrower schema has nulls in the rest.
#[derive(Debug)]
pub struct RecordsWriter {
    format: Format,
    schema: Schema,
    output: SchemaRef,
    with_epoch: bool,
    stream: ArrowStream,
}

impl RecordsWriter {
    /// A writer of `format` for batches whose schemas `schema` covers (see [`Schema::union`]).
    pub fn new(format: Format, schema: &Schema, with_epoch: bool) -> Self {
        let arrow = schema.arrow();
        let epoch = with_epoch.then(|| Arc::new(Field::new("epoch", DataType::UInt32, false)));
        let offset = Arc::new(Field::new("offset", DataType::UInt64, false));
        let fields = epoch.into_iter().chain([offset]).chain(arrow.fields().iter().cloned());
        let output = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
        Self { format, schema: schema.clone(), output, with_epoch, stream: ArrowStream::default() }
    }

    /// Appends what comes before the first record.
    pub fn header(&mut self, out: &mut Vec<u8>) -> Result<(), OutputError> {
        match self.format {
            Format::ArrowStream => self.stream.header(&self.output, out)?,
            Format::Ndjson => {}
            Format::Csv => csv::header(&self.output, out),
        }
        Ok(())
    }

    /// Appends rows `rows` of a segment: `batch` of `batch_schema`, whose first row (not the first of `rows`) has offset
    /// `base_offset`. Fails if the rows are out of range, or if the writer's schema does not cover the batch's.
    pub fn batch(
        &mut self,
        epoch: u32,
        base_offset: u64,
        batch: &RecordBatch,
        batch_schema: &Schema,
        rows: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), OutputError> {
        if rows.start > rows.end || rows.end > batch.num_rows() {
            return Err(OutputError::Rows { rows: batch.num_rows() });
        }
        if rows.is_empty() {
            return Ok(());
        }
        let batch = self.widen(epoch, base_offset, &batch.slice(rows.start, rows.len()), batch_schema, rows)?;
        match self.format {
            Format::ArrowStream => self.stream.batch(&batch, out)?,
            Format::Ndjson => ndjson::batch(&batch, out)?,
            Format::Csv => csv::batch(&batch, out)?,
        }
        Ok(())
    }

    /// Appends what comes after the last record.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), OutputError> {
        if self.format == Format::ArrowStream {
            self.stream.finish(out);
        }
        Ok(())
    }

    /// The rows as a batch of the output schema.
    fn widen(
        &self,
        epoch: u32,
        base_offset: u64,
        batch: &RecordBatch,
        batch_schema: &Schema,
        rows: Range<usize>,
    ) -> Result<RecordBatch, OutputError> {
        let mut sources = vec![None; self.schema.columns().len()];
        for (index, column) in batch_schema.columns().iter().enumerate() {
            match self.schema.place(&column.name, column.ty) {
                Place::Column(place) => sources[place] = Some(index),
                Place::New(name) => return Err(OutputError::NotCovered { name }),
            }
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(sources.len() + 3);
        if self.with_epoch {
            columns.push(Arc::new(UInt32Array::from_value(epoch, rows.len())));
        }
        let first = base_offset.saturating_add(rows.start as u64);
        let last = first.checked_add(rows.len() as u64).ok_or(OutputError::Offset)?;
        columns.push(Arc::new(UInt64Array::from_iter_values(first..last)));
        let missing = || OutputError::Arrow("the batch has fewer columns than its schema".into());
        columns.push(Arc::clone(batch.columns().first().ok_or_else(missing)?));
        for (column, source) in self.schema.columns().iter().zip(sources) {
            columns.push(match source {
                Some(index) => Arc::clone(batch.columns().get(index + 1).ok_or_else(missing)?),
                None => new_null_array(&column.ty.arrow(), rows.len()),
            });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

/// Why records could not be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The row range does not lie in the batch.
    #[error("the row range does not lie within the {rows} rows of the batch")]
    Rows {
        /// Rows of the batch.
        rows: usize,
    },
    /// Offsets would pass the end of u64.
    #[error("offsets exceed 64 bits")]
    Offset,
    /// The batch has a column that the writer's schema lacks.
    #[error("column `{name}` is not in the output schema; make the writer with the union of all schemas")]
    NotCovered {
        /// Its name.
        name: String,
    },
    /// The batch is not of its schema, or Arrow failed.
    #[error("the batch does not fit its schema: {0}")]
    Arrow(String),
}

impl From<ArrowError> for OutputError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error.to_string())
    }
}

//! Results as people and programs take them.

use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;

mod text;

use text::TextTable;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, for people.
    Table,
    /// A JSON object a line; times are RFC 3339.
    Ndjson,
    /// Comma-separated values with a header; null is empty.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// A name of no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format; there are table, ndjson, csv and arrow")]
pub struct UnknownFormat(String);

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ndjson, Self::Csv, Self::Arrow, Self::Table];

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "table" => Ok(Self::Table),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            other => Err(UnknownFormat(other.into())),
        }
    }
}

/// Writes batches of one schema, piece by piece.
pub(crate) enum Writer {
    Table(TextTable),
    Ndjson,
    /// Until the header is written, the schema that it needs.
    Csv(Option<SchemaRef>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Writer {
    pub(crate) fn new(format: Format, schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Table => Self::Table(TextTable::new(schema)),
            Format::Ndjson => Self::Ndjson,
            Format::Csv => Self::Csv(Some(Arc::clone(schema))),
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    /// Writes a batch.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Table(table) => table.batch(batch),
            Self::Ndjson => {
                let builder = WriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, LineDelimited>(Vec::new());
                writer.write(batch)?;
                writer.finish()?;
                Ok(writer.into_inner())
            }
            Self::Csv(header) => {
                let mut writer = csv::WriterBuilder::new().with_header(header.take().is_some()).build(Vec::new());
                writer.write(batch)?;
                Ok(writer.into_inner())
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// What is left when all batches are written.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, ArrowError> {
        match &mut self {
            Self::Table(table) => Ok(table.finish()),
            Self::Ndjson | Self::Csv(None) => Ok(Vec::new()),
            // The header must be there when no row is.
            Self::Csv(Some(schema)) => {
                let none = RecordBatch::new_empty(Arc::clone(schema));
                self.batch(&none)
            }
            Self::Arrow(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

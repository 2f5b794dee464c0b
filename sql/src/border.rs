//! Arrow IPC bytes to DataFusion's batches.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::common::Result;

use crate::catalog::{SourceError, Table};

/// The day of a row's time.
pub(crate) const DATE: &str = "date";

/// A table's columns in its files, without the date.
pub(crate) fn file_schema(table: &Table) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(Cursor::new(&table.schema), None)?.schema())
}

/// All columns of a table.
pub(crate) fn table_schema(table: &Table, in_files: &Schema) -> SchemaRef {
    let date = table.has_date.then(|| Arc::new(date_field()));
    Arc::new(Schema::new(in_files.fields().iter().cloned().chain(date).collect::<Vec<_>>()))
}

pub(crate) fn date_field() -> Field {
    Field::new(DATE, DataType::Date32, true)
}

/// The batches of an IPC stream, as rows of a table with `schema`.
pub(crate) fn batches(bytes: &Bytes, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    reader.map(|batch| as_table(&batch?, schema)).collect()
}

fn as_table(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        match batch.column_by_name(field.name()) {
            Some(column) => Ok(Arc::clone(column)),
            // Times are in UTC, and so are their days.
            None if field.name() == DATE => {
                let time = batch.column_by_name("time").ok_or_else(|| lacks("time"))?;
                Ok(cast(time, &DataType::Date32)?)
            }
            None => Err(lacks(field.name())),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn lacks(column: &str) -> datafusion::common::DataFusionError {
    external(SourceError::Ours(format!("a part came without its column {column}")))
}

/// A source's error on its way through DataFusion.
pub(crate) fn external(error: SourceError) -> datafusion::common::DataFusionError {
    datafusion::common::DataFusionError::External(Box::new(error))
}

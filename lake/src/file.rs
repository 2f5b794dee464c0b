//! Parquet files, as all engines like them, and what Delta says of each.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::json;

use crate::lake::LakeError;
use crate::rows::{bounds, text_bounds};

/// Rows of a row group: what readers skip at once by statistics.
const GROUP_ROWS: usize = 131_072;

/// Rows of a page: what readers skip at once by the page index.
const PAGE_ROWS: usize = 8_192;

/// Rows converted at once.
const BATCH_ROWS: usize = 16_384;

/// A file of these rows, which are sorted by `keys`.
pub(crate) fn encode(rows: &RecordBatch, keys: &[String]) -> Result<Bytes, LakeError> {
    let plain = rows.schema();
    let sorting = keys.iter().filter_map(|key| plain.index_of(key).ok());
    let sorting = sorting
        .map(|column| SortingColumn { column_idx: column as i32, descending: false, nulls_first: true })
        .collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(1_024)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting))
        .set_created_by(concat!("pyralog-hub ", env!("CARGO_PKG_VERSION")).into());
    for name in ["offset", "time"] {
        let path = ColumnPath::from(name);
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
        properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    // A reader should see strings, not the dictionaries that our batches have.
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), plain, options)?;
    let mut at = 0;
    while at < rows.num_rows() {
        let run = BATCH_ROWS.min(rows.num_rows() - at);
        writer.write(&rows.slice(at, run))?;
        at += run;
    }
    Ok(writer.into_inner()?.into())
}

/// The rows of a file, in batches of `schema`'s types for the columns that it has.
pub(crate) fn decode(bytes: Bytes, schema: &SchemaRef) -> Result<Vec<RecordBatch>, LakeError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?;
    let fields = builder.schema().fields().iter().map(|field| {
        let known = schema.field_with_name(field.name()).ok();
        // A dictionary is how our batches keep strings; all else must be as it is in the file.
        let ty = known.map(Field::data_type).filter(|ty| matches!(ty, DataType::Dictionary(..)));
        Field::new(field.name(), ty.unwrap_or(field.data_type()).clone(), field.is_nullable())
    });
    let hinted = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(hinted);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
    Ok(reader.with_batch_size(BATCH_ROWS).build()?.collect::<Result<_, _>>()?)
}

/// What Delta says of a file with these rows: enough to skip it by agent, epoch, offset and time.
pub(crate) fn stats(rows: &RecordBatch) -> String {
    let (mut least, mut most) = (serde_json::Map::new(), serde_json::Map::new());
    for name in ["agent", "log"] {
        if let Some((min, max)) = text_bounds(rows, name) {
            least.insert(name.into(), min.into());
            most.insert(name.into(), max.into());
        }
    }
    for name in ["epoch", "offset", "from_offset", "to_offset"] {
        if let Some((min, max)) = bounds(rows, name) {
            least.insert(name.into(), min.into());
            most.insert(name.into(), max.into());
        }
    }
    if let Some((min, max)) = bounds(rows, "time") {
        // Delta's statistics count milliseconds: outwards, so that nothing is skipped that is there.
        least.insert("time".into(), moment(min.div_euclid(1_000)).into());
        most.insert("time".into(), moment(-(-max).div_euclid(1_000)).into());
    }
    let schema = rows.schema();
    let nulls = schema.fields().iter().zip(rows.columns());
    let nulls = nulls.map(|(field, column)| (field.name().clone(), column.logical_null_count().into()));
    let nulls: serde_json::Map<_, _> = nulls.collect();
    json!({ "numRecords": rows.num_rows(), "minValues": least, "maxValues": most, "nullCount": nulls }).to_string()
}

fn moment(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

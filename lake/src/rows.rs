//! Records on their way into a table: decoded, under the table's columns, by date.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, UInt32Array, new_null_array};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use chrono::DateTime;

use crate::adopt::adopt;
use crate::columns::Columns;
use crate::lake::LakeError;

/// Records of one table that fit into memory.
#[derive(Debug, Default)]
pub struct Rows {
    columns: Columns,
    days: BTreeMap<String, Vec<RecordBatch>>,
    bytes: usize,
    count: u64,
}

impl Rows {
    pub(crate) fn new(columns: Columns) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Bytes that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The columns with which they began, and those that came.
    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(crate) fn dates(&self) -> BTreeMap<String, u64> {
        let rows = |batches: &Vec<RecordBatch>| batches.iter().map(|batch| batch.num_rows() as u64).sum();
        self.days.iter().map(|(date, batches)| (date.clone(), rows(batches))).collect()
    }

    /// Takes the records of a segment: `time` in nanoseconds, then the log's columns. The first has the offset `base`; those before
    /// `from` are left out.
    pub fn push(
        &mut self,
        agent: &str,
        epoch: u32,
        base: u64,
        from: u64,
        batch: &RecordBatch,
    ) -> Result<(), LakeError> {
        let rows = batch.num_rows();
        let skip = usize::try_from(from.saturating_sub(base)).unwrap_or(usize::MAX).min(rows);
        if skip == rows {
            return Ok(());
        }
        let table = adopt(&mut self.columns, agent, epoch, base + skip as u64, &batch.slice(skip, rows - skip))?;
        self.divide(&table)
    }

    /// Puts the runs of a batch that are of one day where that day's are.
    fn divide(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        const DAY: i64 = 86_400_000_000;
        let times = batch.column(3).as_primitive::<arrow_array::types::TimestampMicrosecondType>();
        let mut of_days: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, time) in times.values().iter().enumerate() {
            of_days.entry(time.div_euclid(DAY)).or_default().push(row as u32);
        }
        for (day, rows) in of_days {
            let date =
                DateTime::from_timestamp(day * 86_400, 0).ok_or_else(|| LakeError::ours(format!("day {day}")))?;
            let part = match rows.len() == batch.num_rows() {
                true => batch.clone(),
                false => take_record_batch(batch, &UInt32Array::from(rows))?,
            };
            self.bytes += part.get_array_memory_size();
            self.count += part.num_rows() as u64;
            self.days.entry(date.format("%Y-%m-%d").to_string()).or_default().push(part);
        }
        Ok(())
    }

    /// The rows of a date, sorted; they are gone afterwards.
    pub(crate) fn sorted(&mut self, date: &str) -> Result<RecordBatch, LakeError> {
        let batches = self.days.remove(date).unwrap_or_default();
        sorted(&self.columns, batches)
    }
}

/// All rows of some batches, sorted by agent, tags and time.
pub(crate) fn sorted(columns: &Columns, batches: Vec<RecordBatch>) -> Result<RecordBatch, LakeError> {
    let schema = columns.arrow();
    let wide: Vec<_> = batches.iter().map(|batch| widened(batch, &schema)).collect::<Result<_, _>>()?;
    drop(batches);
    let all = concat_batches(&schema, &wide)?;
    drop(wide);
    let keys: Vec<_> = columns
        .sort_keys()
        .iter()
        .filter_map(|name| all.column_by_name(name))
        .map(|values| SortColumn { values: Arc::clone(values), options: None })
        .collect();
    let order = lexsort_to_indices(&keys, None)?;
    Ok(take_record_batch(&all, &order)?)
}

/// A batch with the columns of `schema` that it lacks, null.
pub(crate) fn widened(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, LakeError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => arrow_cast::cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
}

/// Lowest and highest of a column of whole numbers.
pub(crate) fn bounds(batch: &RecordBatch, name: &str) -> Option<(i64, i64)> {
    let column = arrow_cast::cast(batch.column_by_name(name)?, &arrow_schema::DataType::Int64).ok()?;
    let values = column.as_primitive::<Int64Type>();
    Some((values.iter().flatten().min()?, values.iter().flatten().max()?))
}

/// Lowest and highest of a column of strings.
pub(crate) fn text_bounds(batch: &RecordBatch, name: &str) -> Option<(String, String)> {
    let column = arrow_cast::cast(batch.column_by_name(name)?, &arrow_schema::DataType::Utf8).ok()?;
    let values = column.as_string::<i32>();
    Some((values.iter().flatten().min()?.to_owned(), values.iter().flatten().max()?.to_owned()))
}

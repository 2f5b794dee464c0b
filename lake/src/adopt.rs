//! Segments under a table's columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampNanosecondType};
use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};

use crate::columns::{Columns, Kind};
use crate::lake::LakeError;

/// A segment's batch as one of the table, with `columns` widened by those that are new. Its first row has the offset `base`.
pub(crate) fn adopt(
    columns: &mut Columns,
    agent: &str,
    epoch: u32,
    base: u64,
    batch: &RecordBatch,
) -> Result<RecordBatch, LakeError> {
    let rows = batch.num_rows();
    let schema = batch.schema();
    let mut segment = Vec::new();
    for field in schema.fields().iter().skip(1) {
        let kind =
            Kind::of(field.data_type()).ok_or_else(|| LakeError::ours(format!("column type {}", field.data_type())))?;
        segment.push((field.name().as_str(), kind));
    }
    let places = columns.place(&segment);
    let times = batch.columns().first().and_then(|time| time.as_primitive_opt::<TimestampNanosecondType>());
    let times = times.ok_or_else(|| LakeError::ours("a segment without time"))?;
    let micros = times.values().iter().map(|time| time.div_euclid(1_000));
    let nanos = times.values().iter().map(|time| time.rem_euclid(1_000) as i32);
    let base = i64::try_from(base).map_err(LakeError::ours)?;
    let names: ArrayRef = Arc::new(StringArray::from(vec![agent]));
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(vec![0; rows]), names)?),
        Arc::new(Int64Array::from(vec![i64::from(epoch); rows])),
        Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| base + row))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")),
        Arc::new(Int32Array::from_iter_values(nanos)),
    ];
    let own = arrays.len();
    let of_log = columns.of_log();
    arrays.extend(of_log.iter().map(|column| new_null_array(&column.kind.arrow(), rows)));
    for ((place, (_, kind)), column) in places.into_iter().zip(segment).zip(batch.columns().iter().skip(1)) {
        let column = match kind {
            Kind::U64 => arrow_cast::cast(column, &kind.arrow())?,
            _ => Arc::clone(column),
        };
        if let Some(slot) = arrays.get_mut(own + place) {
            *slot = column;
        }
    }
    Ok(RecordBatch::try_new(columns.arrow(), arrays)?)
}

//! The table of receipts: what will never arrive, of all logs.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use chrono::DateTime;
use serde_json::json;

use crate::columns::delta_field;
use crate::lake::LakeError;
use crate::plan::Receipt;

const COLUMNS: [(&str, &str); 10] = [
    ("agent", "string"),
    ("log", "string"),
    ("epoch", "long"),
    ("from_offset", "long"),
    ("to_offset", "long"),
    ("records", "long"),
    ("reason", "string"),
    ("min_time", "timestamp"),
    ("max_time", "timestamp"),
    ("received_at", "timestamp"),
];

/// The schema of its batches.
pub(crate) fn schema() -> Schema {
    let ty = |ty| match ty {
        "string" => DataType::Utf8,
        "long" => DataType::Int64,
        _ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    };
    Schema::new(COLUMNS.map(|(name, delta)| Field::new(name, ty(delta), true)).to_vec())
}

/// The schema as Delta writes it.
pub(crate) fn delta() -> String {
    let fields = COLUMNS.into_iter().chain([("date", "date")]).map(|(name, ty)| delta_field(name, ty, json!({})));
    json!({ "type": "struct", "fields": fields.collect::<Vec<_>>() }).to_string()
}

/// Receipts as rows, and the date under which those of one plan stand: when the plan was made.
pub(crate) fn batch(log: &str, receipts: &[Receipt], at: i64) -> Result<(RecordBatch, String), LakeError> {
    let text = |of: &dyn Fn(&Receipt) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(receipts.iter().map(of)))
    };
    let long = |of: &dyn Fn(&Receipt) -> u64| -> ArrayRef {
        let value = |receipt| i64::try_from(of(receipt)).unwrap_or(i64::MAX);
        Arc::new(Int64Array::from_iter_values(receipts.iter().map(value)))
    };
    let time = |of: &dyn Fn(&Receipt) -> Option<i64>| -> ArrayRef {
        let times = receipts.iter().map(|receipt| of(receipt).map(|nanos| nanos.div_euclid(1_000)));
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let columns = vec![
        text(&|receipt| receipt.agent.clone()),
        text(&|_| log.to_owned()),
        long(&|receipt| receipt.epoch.into()),
        long(&|receipt| receipt.from),
        long(&|receipt| receipt.to),
        long(&|receipt| receipt.to.saturating_sub(receipt.from)),
        text(&|receipt| receipt.reason.clone()),
        time(&|receipt| receipt.times.map(|(min, _)| min)),
        time(&|receipt| receipt.times.map(|(_, max)| max)),
        time(&|receipt| Some(receipt.received_at)),
    ];
    let date = DateTime::from_timestamp_millis(at).unwrap_or_default().format("%Y-%m-%d").to_string();
    Ok((RecordBatch::try_new(Arc::new(schema()), columns)?, date))
}

//! The table of receipts: what will never arrive, of all logs.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use chrono::DateTime;
use serde_json::json;

use crate::columns::delta_field;
use crate::delta::{self, Action, Snapshot};
use crate::lake::{Lake, LakeError, Put};
use crate::plan::{Plan, Receipt, Work};
use crate::table::{MAX_RACES, added, encoded, new_metadata, number};

/// The folder of the table.
const FOLDER: &str = "receipts";

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

/// Puts a finished plan's receipts into the table, once: it keeps, for each log, the last plan whose receipts it has.
pub(crate) async fn store(lake: &Lake, log: &str, plan: &Plan) -> Result<(), LakeError> {
    let Work::Append { receipts, .. } = &plan.work else { return Ok(()) };
    if receipts.is_empty() {
        return Ok(());
    }
    let (batch, date) = batch(log, receipts, plan.at)?;
    let (app, path) = (format!("log:{log}"), plan.file(&date));
    let (bytes, stats) = encoded(batch, Vec::new()).await?;
    let mut state = delta::load(lake, FOLDER).await?;
    for _ in 0..MAX_RACES {
        if state.txn(&app).is_some_and(|last| last >= number(plan.number)) {
            return Ok(());
        }
        let full = format!("{FOLDER}/{path}");
        let size = match lake.create(&full, bytes.clone()).await? {
            Put::Created => None,
            Put::Exists => lake.size(&full).await?,
        };
        let size = size.unwrap_or(bytes.len() as u64);
        let mut actions = head(&state, plan);
        actions.extend([
            Action::info("WRITE", plan.at),
            added(path.clone(), &[("date", &date)], size, plan, stats.clone()),
            Action::txn(app.clone(), number(plan.number), plan.at),
        ]);
        if delta::commit(lake, FOLDER, &mut state, &actions).await? {
            return Ok(());
        }
    }
    let reason = "others commit to it all the time; run fewer archivers".into();
    Err(LakeError::Foreign { name: format!("the table {FOLDER}"), reason })
}

/// The lines that make the table.
fn head(state: &Snapshot, plan: &Plan) -> Vec<Action> {
    match state.version {
        Some(_) => Vec::new(),
        None => vec![Action::protocol(), Action::metadata(new_metadata("_receipts", delta(), &["date"], plan))],
    }
}

/// The schema of its batches.
fn schema() -> Schema {
    let ty = |ty| match ty {
        "string" => DataType::Utf8,
        "long" => DataType::Int64,
        _ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    };
    Schema::new(COLUMNS.map(|(name, delta)| Field::new(name, ty(delta), true)).to_vec())
}

/// The schema as Delta writes it.
fn delta() -> String {
    let fields = COLUMNS.into_iter().chain([("date", "date")]).map(|(name, ty)| delta_field(name, ty, json!({})));
    json!({ "type": "struct", "fields": fields.collect::<Vec<_>>() }).to_string()
}

/// Receipts as rows, and the date under which those of one plan stand: when the plan was made.
fn batch(log: &str, receipts: &[Receipt], at: i64) -> Result<(RecordBatch, String), LakeError> {
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

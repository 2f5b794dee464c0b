//! Several files of a date become one.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;

use crate::columns::Columns;
use crate::delta::Add;
use crate::file;
use crate::lake::{Lake, LakeError};
use crate::rows::sorted;

/// Most bytes of files that are made into one: they are in memory at once, unpacked.
const MAX_BYTES: u64 = 32 << 20;

/// Most rows of files that are made into one.
const MAX_ROWS: u64 = 4_000_000;

/// Most files that are made into one.
const MAX_FILES: usize = 1_000;

/// The first date before `today` with several files small enough to be one; with their names and rows.
pub(crate) fn choose<'a>(files: impl Iterator<Item = &'a Add>, today: &str) -> Option<(String, Vec<String>, u64)> {
    let mut dates: BTreeMap<&str, Vec<(u64, u64, &str)>> = BTreeMap::new();
    for add in files {
        let Some(Some(date)) = add.partition_values.get("date") else { continue };
        let stats: serde_json::Value =
            serde_json::from_str(add.stats.as_deref().unwrap_or_default()).unwrap_or_default();
        let Some(rows) = stats["numRecords"].as_u64() else { continue };
        if date.as_str() < today {
            dates.entry(date).or_default().push((add.size, rows, &add.path));
        }
    }
    for (date, mut files) in dates {
        files.sort_unstable();
        let (mut inputs, mut bytes, mut total) = (Vec::new(), 0, 0);
        for (size, rows, path) in files {
            (bytes, total) = (bytes + size, total + rows);
            if bytes > MAX_BYTES || total > MAX_ROWS || inputs.len() == MAX_FILES {
                total -= rows;
                break;
            }
            inputs.push(path.to_owned());
        }
        if inputs.len() > 1 {
            return Some((date.to_owned(), inputs, total));
        }
    }
    None
}

/// The rows of some files, sorted; `None` when one is gone.
pub(crate) async fn read(
    lake: &Lake,
    folder: &str,
    inputs: &[String],
    columns: &Columns,
) -> Result<Option<RecordBatch>, LakeError> {
    let schema = columns.arrow();
    let mut batches = Vec::new();
    for input in inputs {
        let name = format!("{folder}/{input}");
        let Some(bytes) = lake.read(&name).await? else { return Ok(None) };
        let read = file::decode(bytes, &schema);
        batches.extend(read.map_err(|error| LakeError::Foreign { name, reason: error.to_string() })?);
    }
    let columns = columns.clone();
    let all = tokio::task::spawn_blocking(move || sorted(&columns, batches)).await.map_err(LakeError::ours)??;
    Ok(Some(all))
}

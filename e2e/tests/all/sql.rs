//! SQL over a store and its lake, held against what was sent, while part of it is in the one and part in the other.

use std::path::Path;
use std::process::Command;

use pyralog_e2e::Result;
use pyralog_e2e::dataset::{Dataset, Kind};
use pyralog_e2e::hub::Hub;
use pyralog_e2e::process::binary;
use serde_json::{Value, json};

use crate::lake::{same, summary};

/// Compares what SQL says of a log with what was sent: rows, times, dates, and each column's count, sum (of text: how many different
/// ones), least and greatest.
pub(crate) fn agrees(hub: &Hub, lake: &Path, log: &str, data: &Dataset) -> Result<()> {
    let columns = data.columns.iter().enumerate().map(|(index, (name, kind))| {
        let value = match kind {
            Kind::Bool => format!("CAST(\"{name}\" AS DOUBLE)"),
            _ => format!("\"{name}\""),
        };
        let sum = match kind {
            Kind::Tag | Kind::Text => format!("count(DISTINCT {value})"),
            _ => format!("sum({value})"),
        };
        format!("count({value}) AS n{index}, {sum} AS s{index}, min({value}) AS l{index}, max({value}) AS m{index}")
    });
    let own = "count(*) AS rows, count(DISTINCT date) AS dates, count(DISTINCT concat(agent, '/', epoch, '/', \"offset\")) AS different, \
               arrow_cast(min(time), 'Int64') AS first, arrow_cast(max(time), 'Int64') AS last";
    let sql = format!("SELECT {own}, {} FROM \"{log}\"", columns.collect::<Vec<_>>().join(", "));
    let mut command = Command::new(binary("pyralog-hub")?);
    command.args(["sql", &sql, "--format", "ndjson", "--store", &hub.store_url(), "--lake"]).arg(lake);
    let out = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if !out.status.success() {
        return Err(format!("{sql}: {said}").into());
    }
    let read: Value = serde_json::from_str(said.lines().next().unwrap_or_default())?;
    let times = || data.rows.iter().map(|row| row.time.div_euclid(1_000));
    let days: std::collections::BTreeSet<_> = times().map(|time| time.div_euclid(86_400_000_000)).collect();
    let rows = data.rows.len();
    let sent = json!({
        "rows": rows, "different": rows, "first": times().min(), "last": times().max(), "dates": days.len()
    });
    for (key, value) in sent.as_object().into_iter().flatten() {
        assert_eq!(&read[key], value, "log {log}: {key}");
    }
    for (index, (name, _)) in data.columns.iter().enumerate() {
        let of = |what: &str| read[format!("{what}{index}")].clone();
        let float = |value: Value| value.as_f64().map_or(value, |number| json!(number));
        let found = [float(of("n")), float(of("s")), float(of("l")), float(of("m"))];
        let sent = summary(data, index);
        assert!(same(&found, &sent), "log {log}, column {name}: {found:?}, and not {sent:?}");
    }
    Ok(())
}

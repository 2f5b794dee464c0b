//! What readers get of a damaged store: part of the truth, in order, bit for bit, and word of what is missing.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use futures_util::future::join_all;
use http_body_util::BodyExt;

use super::kinds::{Damage, Seeded, damage, damages};
use super::store::{LOGS, fill, folder as store_folder, kind, objects};
use crate::device::{client, get};

/// A record: epoch, offset, time, and the bits of the values that it has.
type Record = (u32, u64, i64, BTreeMap<String, u64>);

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As if all were well.
    Clean,
    /// With a status, with a transfer that broke off, or with a trailer that names what is left out.
    Told(String),
}

fn url(hub: &str, (agent, log): (&str, &str), query: &str) -> String {
    let log = percent_encoding::utf8_percent_encode(log, percent_encoding::NON_ALPHANUMERIC);
    format!("{hub}/v1/agents/{agent}/logs/{log}{query}")
}

/// Reads records over HTTP as they come, and how that ended.
async fn read(client: &reqwest::Client, url: &str) -> (Vec<Record>, End) {
    let response = client.get(url).header("te", "trailers").send().await.unwrap();
    let status = response.status().as_u16();
    let mut body = http::Response::from(response).into_body();
    let (mut bytes, mut end) = (Vec::new(), End::Clean);
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(trailers)) => end = End::Told(format!("{:?}", trailers.into_trailers())),
            Err(error) => {
                end = End::Told(format!("{error:?}"));
                break;
            }
        }
    }
    if status != 200 {
        return (Vec::new(), End::Told(String::from_utf8(bytes).unwrap()));
    }
    let records = if url.contains("format=arrow") { of_arrow(&bytes) } else { of_ndjson(&bytes) };
    (records, end)
}

fn of_ndjson(bytes: &[u8]) -> Vec<Record> {
    let text = std::str::from_utf8(bytes).unwrap();
    // What follows the last end of a line is no record.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let record = |line: &str| {
        let mut record: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let mut number = |key: &str| record.remove(key).unwrap().as_i64().unwrap();
        let (epoch, offset, time) = (number("epoch") as u32, number("offset") as u64, number("time"));
        let values = record.into_iter().filter(|(_, value)| !value.is_null());
        (epoch, offset, time, values.map(|(name, value)| (name, value.as_f64().unwrap().to_bits())).collect())
    };
    whole.lines().map(record).collect()
}

fn of_arrow(bytes: &[u8]) -> Vec<Record> {
    let Ok(reader) = StreamReader::try_new(bytes, None) else { return Vec::new() };
    reader.map_while(Result::ok).flat_map(|batch| of_batch(&batch)).collect()
}

fn of_batch(batch: &RecordBatch) -> Vec<Record> {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let fields: Vec<_> = batch.schema().fields().iter().skip(3).map(|field| field.name().clone()).collect();
    let record = |row| {
        let of = |name: &String| {
            let values = column(name).as_primitive::<Float64Type>();
            values.is_valid(row).then(|| (name.clone(), values.value(row).to_bits()))
        };
        let epoch = column("epoch").as_primitive::<UInt32Type>().value(row);
        let offset = column("offset").as_primitive::<UInt64Type>().value(row);
        let time = column("time").as_primitive::<TimestampNanosecondType>().value(row);
        (epoch, offset, time, fields.iter().filter_map(of).collect())
    };
    (0..batch.num_rows()).map(record).collect()
}

/// Whether `served` is `truth` with some left out.
fn is_part(served: &[Record], truth: &[Record]) -> bool {
    let mut rest = truth.iter();
    served.iter().all(|record| rest.any(|true_one| true_one == record))
}

/// Whether damage of this object may show in this log.
fn concerns(name: &str, (agent, log): (&str, &str)) -> bool {
    let log = log.replace(' ', "%20").replace('/', "%2F");
    let of_log = name.starts_with(&format!("agents/{agent}/logs/{log}/"));
    of_log || (name.starts_with(&format!("agents/{agent}/")) && !name.contains("/logs/"))
}

/// A few of the damages, one of each kind.
fn one_of_each(store: &Path, names: &[String], name: &str, random: &mut Seeded) -> Vec<Damage> {
    let mut found = damages(store, names, name, 3, random);
    found.retain(|what| !matches!(what, Damage::Append(1) | Damage::Truncate(1)));
    found.dedup_by_key(|what| std::mem::discriminant(what));
    found
}

#[tokio::test]
async fn readers_get_part_of_the_truth_and_word_of_the_rest() {
    let folder = store_folder();
    let hub = fill(folder.path()).await;
    let (hub, client) = (hub.url(), &client());
    let mut truths = Vec::new();
    for log in LOGS {
        let (truth, end) = read(client, &url(&hub, log, "/records")).await;
        assert_eq!(end, End::Clean);
        let (of_arrow, end) = read(client, &url(&hub, log, "/records?format=arrow")).await;
        assert_eq!((&of_arrow, end), (&truth, End::Clean));
        truths.push(truth);
    }
    assert_eq!(truths.iter().map(Vec::len).collect::<Vec<_>>(), [18, 9, 0, 4, 4]);
    let names = objects(folder.path());
    let mut random = Seeded(0xfeed);
    for name in &names {
        for what in one_of_each(folder.path(), &names, name, &mut random) {
            let done = damage(folder.path(), name, &what);
            // The newest end of a chain that may still grow: what is gone leaves nothing that tells of it.
            let unseen = what == Damage::Delete && is_newest_end(&names, name);
            let logs = LOGS.into_iter().zip(&truths).map(|(log, truth)| {
                let case = format!("{name} {what:?}, {log:?}");
                let concerned = concerns(name, log) || matches!(&what, Damage::Swap(other) if concerns(other, log));
                readers_of((client, hub.as_str()), log, truth, concerned, unseen, case)
            });
            join_all(logs).await;
            let (status, fleet) = get(&format!("{hub}/v1/agents")).await;
            let both = fleet.contains("\"board-17\"") && fleet.contains("\"board-18\"");
            assert!(
                status == 200 && (both || what == Damage::Delete && kind(name) == "epochs"),
                "{name} {what:?} {fleet}"
            );
            done.undo();
        }
    }
}

/// Reads one log in every way.
async fn readers_of(
    (client, hub): (&reqwest::Client, &str),
    log: (&str, &str),
    truth: &[Record],
    concerned: bool,
    unseen: bool,
    case: String,
) {
    // One way is enough where nothing can have happened.
    let queries = ["", "?damaged=skip", "?format=arrow", "?from_offset=5"];
    let reads = queries.into_iter().take(if concerned { 4 } else { 1 }).map(async |query| {
        let (served, end) = read(client, &url(hub, log, &format!("/records{query}"))).await;
        assert!(is_part(&served, truth), "{case} {query}: {served:?}");
        let wanted = if query.contains("from") { 5 } else { 0 };
        let whole = served.iter().eq(truth.iter().filter(|record| record.1 >= wanted));
        assert!(whole || unseen || end != End::Clean, "{case} {query}: silent");
        assert!(concerned || (whole && end == End::Clean), "{case} {query}: {end:?}");
    });
    join_all(reads).await;
    sums_are_true(hub, log, truth, &case).await;
}

/// The account of a log is refused, or its sums are not more than is true.
async fn sums_are_true(hub: &str, log: (&str, &str), truth: &[Record], case: &str) {
    let (status, body) = get(&url(hub, log, "")).await;
    if status != 200 {
        assert!(body.contains("agents/") || body.contains("there is no"), "{case}: {status} {body}");
        return;
    }
    let account: serde_json::Value = serde_json::from_str(&body).unwrap();
    let committed: u64 = account["epochs"].as_array().unwrap().iter().map(|e| e["committed"].as_u64().unwrap()).sum();
    assert!(committed <= truth.len() as u64, "{case}: {body}");
}

/// Whether an object is the last entry of its chain, in the newest epoch of its agent.
fn is_newest_end(names: &[String], name: &str) -> bool {
    let newest = if name.starts_with("agents/board-17/") { "/0000000002/" } else { "/0000000001/" };
    let (chain, _) = name.rsplit_once('/').unwrap();
    let entries = |other: &&String| kind(other) == "entry" && other.rsplit_once('/').unwrap().0 == chain;
    kind(name) == "entry" && name.contains(newest) && names.iter().rfind(entries) == Some(&name.to_owned())
}

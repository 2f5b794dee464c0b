//! The read side against records that are known.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use pyralog_hub::run::Running;
use pyralog_segment::{Column, ColumnType, Schema};

use crate::device::{Device, client, get, get_json, hub};

/// Epoch 1: 10 + 5 records, 3 evicted, then 2 more; epoch 2: 4 records with one more column.
async fn filled(folder: &Path) -> (Running, Device) {
    let hub = hub(folder).await;
    let url = hub.url();
    let mut first = Device::new("board-17", "climate", 1);
    first.hello(&url).await;
    let pieces = [first.segment(10), first.segment(5), first.loss(3), first.segment(2)];
    first.send(&url, &pieces).await;
    let mut second = Device::new("board-17", "climate", 2);
    let columns = vec![Column::new("v", ColumnType::F64), Column::new("w", ColumnType::F64)];
    second.schema = Schema::new(columns).unwrap();
    second.hello(&url).await;
    let piece = second.segment(4);
    second.send(&url, &[piece]).await;
    (hub, second)
}

/// Epoch and offset of each record.
fn places(ndjson: &str) -> Vec<(u64, u64)> {
    let lines = ndjson.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|record| (record["epoch"].as_u64().unwrap(), record["offset"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn all_records_come_back_in_order_of_epochs_and_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = filled(folder.path()).await;
    let (status, body) = get(&format!("{}/records", device.at(&hub.url()))).await;
    assert_eq!(status, 200, "{body}");
    let expected: Vec<_> =
        (0..15).chain(18..20).map(|offset| (1, offset)).chain((0..4).map(|offset| (2, offset))).collect();
    assert_eq!(places(&body), expected);
    let lines: Vec<_> = body.lines().collect();
    assert_eq!(lines[15], r#"{"epoch":1,"offset":18,"time":18000,"v":18.5,"w":null}"#);
    assert_eq!(lines[17], r#"{"epoch":2,"offset":0,"time":0,"v":0.5,"w":0.5}"#);
}

#[tokio::test]
async fn a_selection_gives_exactly_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = filled(folder.path()).await;
    let in_epoch = |epoch, offsets: std::ops::Range<u64>| offsets.map(move |offset| (epoch, offset));
    let cases: [(&str, Vec<(u64, u64)>); 9] = [
        ("epoch=1&from_offset=12", in_epoch(1, 12..15).chain(in_epoch(1, 18..20)).collect()),
        ("epoch=1&from_offset=16", in_epoch(1, 18..20).collect()),
        ("epoch=1&from_offset=3&limit=4", in_epoch(1, 3..7).collect()),
        ("epoch=1&limit=12", in_epoch(1, 0..12).collect()),
        ("from=13000&to=19000", in_epoch(1, 13..15).chain(in_epoch(1, 18..19)).collect()),
        ("from=1970-01-01T00:00:00.000018Z&epoch=1", in_epoch(1, 18..20).collect()),
        ("epoch=2", in_epoch(2, 0..4).collect()),
        ("epoch=3", vec![]),
        ("limit=0", vec![]),
    ];
    for (query, expected) in cases {
        let (status, body) = get(&format!("{}/records?{query}", device.at(&hub.url()))).await;
        assert_eq!((status, places(&body)), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn every_format_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = filled(folder.path()).await;
    let url = format!("{}/records", device.at(&hub.url()));
    let (_, csv) = get(&format!("{url}?format=csv")).await;
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!((lines[0], lines.len()), ("epoch,offset,time,v,w", 22));

    let accept = "application/vnd.apache.arrow.stream";
    let response = client().get(&url).header("accept", accept).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], accept);
    let bytes = response.bytes().await.unwrap();
    let batches: Vec<_> = StreamReader::try_new(&*bytes, None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 21);
    let last = batches.last().unwrap();
    assert_eq!(last.column(0).as_primitive::<UInt32Type>().value(3), 2);
    assert_eq!(last.column(1).as_primitive::<UInt64Type>().value(3), 3);
    assert_eq!(last.column_by_name("w").unwrap().as_primitive::<Float64Type>().value(3), 3.5);
}

#[tokio::test]
async fn what_is_unknown_is_answered_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = filled(folder.path()).await;
    let url = hub.url();
    for (path, nearest) in [
        ("/v1/agents/board-18", "board-17"),
        ("/v1/agents/bord-17/logs/climate", "board-17"),
        ("/v1/agents/board-17/logs/climat", "climate"),
        ("/v1/agents/board-17/logs/climat/records", "climate"),
        ("/v1/agents/bord-17/logs/climate/records", "board-17"),
    ] {
        let (status, body) = get(&format!("{url}{path}")).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["nearest"].as_str()), (404, Some(nearest)), "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains("did you mean"), "{body}");
    }
    for (query, words) in [("form_offset=1", "from_offset"), ("from=noon", "RFC 3339"), ("format=xml", "ndjson")] {
        let (status, body) = get(&format!("{}/records?{query}", device.at(&url))).await;
        assert!(status == 400 && body.contains(words), "{query}: {status} {body}");
    }
}

#[tokio::test]
async fn the_fleet_and_an_agent_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _) = filled(folder.path()).await;
    let url = hub.url();
    let mut other = Device::new("board-18", "a log / with # odd % characters", 3);
    other.hello(&url).await;
    let piece = other.segment(3);
    other.send(&url, &[piece]).await;
    let fleet = get_json(&format!("{url}/v1/agents")).await;
    let agents: Vec<_> =
        fleet["agents"].as_array().unwrap().iter().map(|agent| agent["agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["board-17", "board-18"]);
    assert_eq!(get_json(&format!("{url}/v1/agents?after=board-17")).await["agents"].as_array().unwrap().len(), 1);
    let agent = get_json(&format!("{url}/v1/agents/board-18")).await;
    assert_eq!(agent["logs"]["a log / with # odd % characters"]["committed"], 3);
    let (_, records) = get(&format!("{}/records", other.at(&url))).await;
    assert_eq!(places(&records), [(1, 0), (1, 1), (1, 2)]);
    let (status, metrics) = get(&format!("{url}/metrics")).await;
    assert!(status == 200 && metrics.contains("pyralog_hub_committed_records_total 24"), "{metrics}");
    let (status, page) = get(&url).await;
    assert!(status == 200 && page.contains("<!doctype html>") && !page.contains("http://"), "{page}");
}

#[tokio::test]
async fn a_large_log_streams_whole() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let url = hub.url();
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&url).await;
    for _ in 0..4 {
        let pieces = [device.segment(100_000)];
        device.send(&url, &pieces).await;
    }
    let (status, csv) = get(&format!("{}/records?format=csv", device.at(&url))).await;
    assert_eq!((status, csv.lines().count()), (200, 400_001));
    assert_eq!(csv.lines().last(), Some("1,399999,399999000,399999.5"));
}

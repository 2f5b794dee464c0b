//! What comes out.

use reqwest::StatusCode;
use serde_json::json;

use crate::agent::{Agent, answer};
use pyralog_agent::ring::Clock;

async fn with_climate(records: usize) -> Agent {
    let agent = Agent::start(&[]).await;
    let lines: String = (0..records).map(|n| format!("climate,station=north temp={n} {n}000000000\n")).collect();
    assert_eq!(agent.write(&lines).await.0, StatusCode::NO_CONTENT);
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_as_ndjson_csv_or_arrow_by_accept_or_by_name() {
    let agent = with_climate(3).await;
    let csv = agent.text("/v1/logs/climate/records?format=csv").await;
    assert_eq!(csv.lines().next(), Some("offset,time,station,temp"));
    assert_eq!(csv.lines().count(), 4);
    let get = |accept: &str| agent.client.get(agent.at("/v1/logs/climate/records")).header("accept", accept).send();
    assert_eq!(get("text/csv").await.unwrap().text().await.unwrap(), csv);
    let arrow = get("application/vnd.apache.arrow.stream").await.unwrap();
    assert_eq!(arrow.headers()["content-type"], "application/vnd.apache.arrow.stream");
    let bytes = arrow.bytes().await.unwrap();
    let mut reader = arrow_ipc::reader::StreamReader::try_new(bytes.as_ref(), None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(batch.schema().field(0).name(), "offset");
    assert!(reader.next().is_none());
    let (status, body) = answer(get("image/png").await.unwrap()).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
    assert!(body["error"].as_str().unwrap().contains("text/csv"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_given_by_offset_time_and_limit() {
    let agent = with_climate(10).await;
    let offsets = async |query: &str| -> Vec<u64> {
        let text = agent.text(&format!("/v1/logs/climate/records?{query}")).await;
        let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_u64().unwrap();
        text.lines().map(parse).collect()
    };
    assert_eq!(offsets("from_offset=8").await, [8, 9]);
    assert_eq!(offsets("from=3000000000&to=5000000000").await, [3, 4]);
    assert_eq!(offsets("from=1970-01-01T00:00:07Z&limit=2").await, [7, 8]);
    assert_eq!(offsets("from=1970-01-01T02:00:09%2B02:00").await, [9]);
    assert_eq!(offsets("from=1970-01-01T02:00:09+02:00").await, [9]);
    assert!(offsets("from_offset=99").await.is_empty());
    for (query, remedy) in [
        ("from=yesterday", "RFC 3339"),
        ("limit=all", "whole number"),
        ("form=csv", "did you mean from?"),
        ("format=xml", "ndjson"),
    ] {
        let (status, body) = answer(agent.get(&format!("/v1/logs/climate/records?{query}")).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(body["error"].as_str().unwrap().contains(remedy), "{query}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_log_is_404_with_the_nearest_name() {
    let agent = Agent::start(&[]).await;
    let error = async |path: &str| {
        let (status, body) = answer(agent.get(path).await).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        body["error"].as_str().unwrap().to_owned()
    };
    assert!(error("/v1/logs/climate").await.contains("there is none yet"));
    agent.write("climate temp=1\n").await;
    assert!(error("/v1/logs/climat/records").await.contains("did you mean \"climate\"?"));
    assert!(error("/v1/logs/vibration").await.contains("there are climate"));
    assert!(error("/v1/log").await.contains("/v1/logs"));
    let (status, body) = answer(agent.client.delete(agent.at("/v1/logs/climate")).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(body["error"].as_str().unwrap().contains("DELETE"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_any_characters_can_be_written_and_read() {
    let agent = Agent::start(&[]).await;
    let path = "/v1/logs/caf%C3%A9%2F1%20x/records";
    assert_eq!(agent.post(path, "application/json", r#"{"t":1}"#).await.0, StatusCode::OK);
    assert_eq!(agent.text(path).await.lines().count(), 1);
    assert_eq!(agent.json("/v1/logs").await["logs"][0]["name"], "café/1 x");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_adds_up_and_says_what_is_needed() {
    let agent = with_climate(5).await;
    let status = agent.json("/v1/status").await;
    assert_eq!(status["agent_id"], agent.app.config().agent_id);
    assert_eq!(status["incarnation"].as_str().unwrap().len(), 32);
    assert_eq!(status["epoch"], json!(null));
    assert_eq!(status["sync"], json!({"state": "off", "last_error": null, "next_attempt_s": null}));
    assert_eq!(status["memory"]["cap"], 64 << 20);
    assert!(status["memory"]["resident"].as_u64().unwrap() > 0 && status["uptime_s"].as_f64().unwrap() > 0.0);
    let mut climate = status["logs"]["climate"].clone();
    assert!(climate["bytes"].take().as_u64().unwrap() > 0);
    let expected =
        json!({"accepted": 5, "committed": 0, "pending": 5, "receipted": {}, "head": 5, "tail": 0, "bytes": null});
    assert_eq!(climate, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_health_and_page_are_there() {
    let agent = with_climate(5).await;
    let metrics = agent.text("/metrics").await;
    for line in [
        "pyralog_records_accepted_total{log=\"climate\"} 5",
        "pyralog_records_pending{log=\"climate\"} 5",
        "pyralog_records_receipted{log=\"climate\",reason=\"evicted\"} 0",
        "pyralog_sync_state{state=\"off\"} 1",
        "pyralog_memory_cap_bytes 67108864",
        "pyralog_mqtt_connections 0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(agent.text("/healthz").await, "ok\n");
    assert_eq!(agent.text("/readyz").await, "ready\n");
    let page = agent.text("/").await;
    assert!(page.contains("v1/status") && !page.contains("https://"), "one file without foreign assets");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_streams_whole_through_a_small_ring() {
    let agent = Agent::start(&[("storage.max_memory", "4MiB")]).await;
    let mut sent = 0;
    for _ in 0..20 {
        let lines: String = (sent..sent + 2000).map(|n| format!("climate temp={n}.5 {n}\n")).collect();
        assert_eq!(agent.write(&lines).await.0, StatusCode::NO_CONTENT);
        sent += 2000;
    }
    let records = agent.records("climate").await;
    assert_eq!(records.len(), sent);
    for (n, record) in records.iter().enumerate() {
        assert_eq!((record["offset"].as_u64(), record["temp"].as_f64()), (Some(n as u64), Some(n as f64 + 0.5)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_small_cap_what_was_sent_of_one_segment_leaves_the_room_for_the_next() {
    let agent = Agent::start(&[("storage.max_memory", "3MiB")]).await;
    let mut written = 0;
    // A segment of the largest size takes most of what requests may have; those between end in a step of any size.
    for small in (500..=4_000).step_by(500) {
        for rows in [small, 8_192] {
            let line = |n| format!("vibration,axis=a x={n}.5,y={n}.25,z={n}.125 {n}\n");
            let lines: String = (written..written + rows).map(line).collect();
            assert_eq!(agent.write(&lines).await.0, StatusCode::NO_CONTENT);
            agent.app.ring().seal_all(Clock::start().now());
            written += rows;
        }
    }
    let body = agent.get("/v1/logs/vibration/records?format=arrow").await.bytes().await.expect("it broke off");
    let batches = arrow_ipc::reader::StreamReader::try_new(body.as_ref(), None).unwrap();
    assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), written);
}

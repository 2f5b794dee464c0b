//! What goes in.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow_ipc::writer::StreamWriter;
use flate2::{Compression, write::GzEncoder};
use reqwest::StatusCode;
use serde_json::json;

use crate::agent::{Agent, answer};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_stored_and_read_back() {
    let agent = Agent::start(&[]).await;
    let (status, _) =
        agent.write("climate,station=north temp=21.5,ok=true,n=-3i,u=7u,note=\"a b\" 1700000000000000000\n").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let expected = json!({"offset": 0, "time": 1_700_000_000_000_000_000_i64, "station": "north", "temp": 21.5, "ok": true,
        "n": -3, "u": 7, "note": "a b"});
    assert_eq!(agent.records("climate").await, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_influx_paths_take_gzip_and_a_precision() {
    let agent = Agent::start(&[]).await;
    for (path, precision, time) in
        [("/write?db=x&precision=s", 2, 2_000_000_000_i64), ("/api/v2/write?org=o&bucket=b&precision=ms", 3, 3_000_000)]
    {
        let body = gzip(format!("m f=1 {precision}\n").as_bytes());
        let request = agent.client.post(agent.at(path)).header("content-encoding", "gzip").body(body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT, "{path}");
        assert_eq!(agent.records("m").await.last().unwrap()["time"], time);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_by_line_and_column_and_the_good_ones_are_kept() {
    let agent = Agent::start(&[]).await;
    let lines = "climate temp=1 1\nclimate temp=oops 2\nclimate temp=3 3\n";
    let (status, body) = agent.post("/api/v2/write?bucket=b", "text/plain", lines).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!((&body["code"], &body["line"]), (&json!("invalid"), &json!(2)), "{body}");
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("line 2, column 14") && message.contains("2 good records were stored"), "{message}");
    assert_eq!(body["error"], body["message"]);
    let temps: Vec<_> = agent.records("climate").await.iter().map(|record| record["temp"].clone()).collect();
    assert_eq!(temps, [json!(1.0), json!(3.0)]);
    let kept = agent.records("_rejected").await;
    assert_eq!(kept[0]["topic"], "POST /api/v2/write", "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_ndjson_and_arrow_reach_the_same_log() {
    let agent = Agent::start(&[]).await;
    let path = "/v1/logs/climate/records?tags=station&time_key=ts&time_unit=s";
    let (status, body) = agent
        .post(path, "application/json", r#"[{"station":"n","temp":1.5,"ts":1},{"station":"n","temp":2,"ts":2}]"#)
        .await;
    assert_eq!((status, &body["stored"]), (StatusCode::OK, &json!(2)), "{body}");
    let (status, body) = agent.post(path, "application/x-ndjson", "{\"station\":\"s\",\"temp\":3,\"ts\":3}\n").await;
    assert_eq!((status, &body["stored"]), (StatusCode::OK, &json!(1)), "{body}");
    let time: ArrayRef =
        Arc::new(TimestampNanosecondArray::from(vec![4_000_000_000, 5_000_000_000]).with_timezone("UTC"));
    let temp: ArrayRef = Arc::new(Float64Array::from(vec![Some(4.0), None]));
    let batch = RecordBatch::try_from_iter([("time", time), ("temp", temp)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let stream = writer.into_inner().unwrap();
    let (status, body) = agent.post("/v1/logs/climate/records", "application/vnd.apache.arrow.stream", stream).await;
    assert_eq!((status, &body["stored"]), (StatusCode::OK, &json!(2)), "{body}");
    let records = agent.records("climate").await;
    let times: Vec<_> = records.iter().map(|record| record["time"].as_i64().unwrap() / 1_000_000_000).collect();
    assert_eq!(times, [1, 2, 3, 4, 5]);
    assert_eq!((&records[0]["station"], &records[4]["temp"]), (&json!("n"), &json!(null)));
    let column = &agent.json("/v1/logs/climate").await["schema"]["columns"][0];
    assert_eq!(column, &json!({"name": "station", "type": "tag"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_fault_is_named_and_what_came_before_is_kept() {
    let agent = Agent::start(&[]).await;
    let (status, body) = agent.post("/v1/logs/a/records", "application/json", "{\"x\":1}x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("line 1, column"), "{body}");
    let (status, body) = agent.post("/v1/logs/a/records", "text/html", "<p>").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(body["error"].as_str().unwrap().contains("application/x-ndjson"), "{body}");
    let (status, body) = agent.post("/v1/logs/a/records?tag=x", "application/json", "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("did you mean tags?"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_with_the_key_however_it_is_sent() {
    let agent = Agent::start(&[("http.max_body", "64KiB")]).await;
    let lines = "climate temp=1\n".repeat(10_000);
    let stream = futures_util::stream::iter(
        lines.as_bytes().to_vec().chunks(999).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>(),
    );
    let chunked = agent.client.post(agent.at("/write")).body(reqwest::Body::wrap_stream(stream));
    let packed = agent.client.post(agent.at("/write")).header("content-encoding", "gzip").body(gzip(lines.as_bytes()));
    let announced = agent.client.post(agent.at("/write")).body(lines.clone());
    for request in [announced, chunked, packed] {
        // A client that is still sending may see the connection close before it sees the answer.
        let Ok(response) = request.send().await else { continue };
        let (status, body) = answer(response).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        let message = body["error"].as_str().unwrap();
        assert!(message.contains("64KiB") && message.contains("http.max_body"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_unknown_packings_are_named() {
    let agent = Agent::start(&[]).await;
    let packed = gzip(b"climate temp=1\n");
    let request = |coding: &str, body: Vec<u8>| {
        agent.client.post(agent.at("/write")).header("content-encoding", coding).body(body).send()
    };
    let (status, body) = answer(request("gzip", packed[..packed.len() / 2].to_vec()).await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("cut off"), "{body}");
    let (status, body) = answer(request("br", packed).await.unwrap()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(body["error"].as_str().unwrap().contains("send gzip"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ring_that_may_not_evict_says_when_to_come_back() {
    let agent = Agent::start(&[("storage.max_memory", "2MiB"), ("storage.eviction_policy", "reject")]).await;
    for round in 0..200_u64 {
        let lines: String = (0..500_u64)
            .map(|n| format!("noise v=\"{}\" {n}\n", blake3::hash(&(round * 1000 + n).to_le_bytes()).to_hex()))
            .collect();
        let response = agent.client.post(agent.at("/write")).body(lines).send().await.unwrap();
        if response.status() != StatusCode::NO_CONTENT {
            let retry = response.headers().contains_key("retry-after");
            let (status, body) = answer(response).await;
            assert_eq!((status, retry), (StatusCode::SERVICE_UNAVAILABLE, true), "{body}");
            let status = agent.json("/v1/status").await;
            assert_eq!(status["logs"]["noise"]["receipted"], json!({}), "nothing was dropped");
            return;
        }
    }
    panic!("the ring never filled");
}

#[tokio::test(flavor = "multi_thread")]
async fn influx_clients_find_what_they_look_for() {
    let agent = Agent::start(&[]).await;
    assert_eq!(agent.get("/ping").await.status(), StatusCode::NO_CONTENT);
    let head = agent.client.head(agent.at("/ping")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::NO_CONTENT);
    assert!(head.headers().contains_key("x-influxdb-version"));
    assert_eq!(agent.json("/health").await["status"], "pass");
    let form = "application/x-www-form-urlencoded";
    assert_eq!(agent.post("/query", form, "q=CREATE+DATABASE+telegraf").await.0, StatusCode::OK);
    assert_eq!(agent.post("/query", form, "q=SELECT+1").await.0, StatusCode::BAD_REQUEST);
    let (status, body) = agent.post("/write?precision=fortnights", "text/plain", "m f=1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("unknown precision"), "{body}");
}

//! Programs that people have already, unchanged.

use std::process::Command;

use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::dataset::{Cell, Dataset};
use pyralog_e2e::hub::Hub;
use pyralog_e2e::scenario::{HTTP_LOG, send_http};
use pyralog_e2e::{Result, generate, python, wait};

async fn agent(name: &str) -> Result<(tempfile::TempDir, Agent)> {
    let folder = tempfile::tempdir()?;
    let agent = Options::new(name).start(folder.path()).await?;
    Ok((folder, agent))
}

/// Waits until a log has so many records: QoS 0 is not acknowledged.
async fn accepted(agent: &Agent, log: &str, count: u64) -> Result<()> {
    wait::until("the records", wait::LONG, async || {
        let account = agent.log(log).await?;
        if account.accepted == count { Ok(Some(())) } else { Err(format!("{account:?}").into()) }
    })
    .await
}

fn floats(cells: &[Option<Cell>]) -> Vec<Option<f64>> {
    let float = |cell: &Option<Cell>| match cell {
        Some(Cell::F64(value)) => Some(*value),
        _ => None,
    };
    cells.iter().map(float).collect()
}

#[tokio::test]
async fn mosquitto_pub_publishes_at_every_qos_in_both_versions() -> Result<()> {
    let (_folder, agent) = agent("mosquitto").await?;
    let mut expected = 0;
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let mut command = Command::new("mosquitto_pub");
            command.args(["-h", "127.0.0.1", "-p", &agent.mqtt.port().to_string(), "-V", version, "-q", qos]);
            command.args(["-t", "plant/oven", "-m", r#"{"temp": 21.5}"#]);
            python::output("mosquitto_pub", command).await?;
            expected += 1;
        }
    }
    accepted(&agent, "mqtt", expected).await?;
    let table = agent.records("mqtt", "").await?;
    assert_eq!(table.columns["topic"], vec![Some(Cell::Text("plant/oven".to_owned())); 6]);
    assert_eq!(floats(&table.columns["temp"]), vec![Some(21.5); 6]);
    Ok(())
}

#[tokio::test]
async fn paho_publishes_at_every_qos_in_both_versions() -> Result<()> {
    let (_folder, agent) = agent("paho").await?;
    let port = agent.mqtt.port().to_string();
    for version in ["3", "5"] {
        let sent = python::run(include_str!("../../python/paho_publish.py"), &[&port, version, "100"]).await?;
        assert_eq!(sent.trim(), "300");
    }
    accepted(&agent, "mqtt", 600).await?;
    let table = agent.records("mqtt", "").await?;
    for topic in ["paho/3/readings", "paho/5/readings"] {
        for qos in [0.0, 1.0, 2.0] {
            let of = |at: &usize| {
                table.columns["topic"][*at] == Some(Cell::Text(topic.to_owned()))
                    && table.columns["qos"][*at] == Some(Cell::F64(qos))
            };
            let numbers: Vec<_> = (0..table.len()).filter(of).map(|at| table.columns["number"][at].clone()).collect();
            let expected: Vec<_> = (0..100).map(|number| Some(Cell::F64(f64::from(number)))).collect();
            assert_eq!(numbers, expected, "{topic} at QoS {qos}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn influxdb_client_writes_points_packed_by_gzip() -> Result<()> {
    let (_folder, agent) = agent("influx").await?;
    python::run(include_str!("../../python/influx_write.py"), &[&agent.url, "500"]).await?;
    let ndjson =
        agent.request(reqwest::Method::GET, "/v1/logs/influx/records").header("accept", "application/x-ndjson");
    let text = String::from_utf8(pyralog_e2e::http::bytes(ndjson).await?)?;
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    assert_eq!(rows.len(), 501);
    assert_eq!(rows[7]["time"], 1_700_000_007_000_000_000_i64);
    assert_eq!(
        (rows[7]["temp"].as_f64(), rows[7]["count"].as_i64(), rows[7]["ok"].as_bool()),
        (Some(20.7), Some(7), Some(true))
    );
    assert_eq!(rows[7]["room"], "kitchen");
    assert_eq!((rows[500]["temp"].as_f64(), rows[500]["room"].is_null()), (Some(-1.5), true));
    Ok(())
}

#[tokio::test]
async fn curl_writes_line_protocol_and_reads_it_back_as_csv() -> Result<()> {
    let (_folder, agent) = agent("curl").await?;
    let curl = |args: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]).args(args);
        python::output("curl", command)
    };
    let write = format!("{}/write?precision=s", agent.url);
    curl(&[
        "--data-binary",
        "climate,room=hall temp=21.5,fan=2i 1700000000\nclimate,room=attic temp=30 1700000001",
        &write,
    ])
    .await?;
    let read = format!("{}/v1/logs/climate/records", agent.url);
    let csv = curl(&["--header", "Accept: text/csv", &read]).await?;
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 3, "{csv}");
    assert_eq!(lines[0], "offset,time,room,temp,fan");
    assert!(lines[1].starts_with("0,") && lines[1].ends_with(",hall,21.5,2"), "{csv}");
    assert!(
        lines[2].starts_with("1,") && lines[2].ends_with(",attic,30.0,") || lines[2].ends_with(",attic,30,"),
        "{csv}"
    );
    Ok(())
}

#[tokio::test]
async fn pyarrow_opens_a_records_stream_of_agent_and_hub_as_a_table() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path()).await?;
    // Small segments: the stream has many batches, whose dictionaries differ.
    let options = Options::new("arrow").upstream(hub.address).set("storage.segment_rows", "100");
    let agent = options.start(folder.path()).await?;
    let data = generate::weather(5, 1_000);
    send_http(&agent, &data, 0..1_000).await?;
    agent.drained(HTTP_LOG, wait::LONG).await?;
    let script = include_str!("../../python/open_stream.py");
    let of_agent = python::run(script, &[&format!("{}/v1/logs/{HTTP_LOG}/records", agent.url)]).await?;
    let of_hub = python::run(script, &[&format!("{}/v1/agents/arrow/logs/{HTTP_LOG}/records", hub.url())]).await?;
    for (said, first) in [(of_agent, "offset"), (of_hub, "epoch")] {
        let said: serde_json::Value = serde_json::from_str(&said)?;
        assert_eq!((&said["rows"], &said["offsets_rise"]), (&1_000.into(), &true.into()), "{said}");
        assert_eq!(said["columns"][0], first, "{said}");
        assert_eq!(said["stations"], serde_json::json!(["büro", "north", "south side"]), "{said}");
        assert_eq!(said["nulls"]["wind"], nulls(&data, 2), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn nan_and_infinities_arrive_by_arrow_and_are_kept() -> Result<()> {
    let (_folder, agent) = agent("nan").await?;
    python::run(include_str!("../../python/send_arrow.py"), &[&format!("{}/v1/logs/odd/records", agent.url)]).await?;
    let table = agent.records("odd", "").await?;
    let got: Vec<_> = floats(&table.columns["temp"]).into_iter().map(|value| value.map(f64::to_bits)).collect();
    let sent = [Some(1.5), Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), None, Some(-0.0)];
    assert_eq!(got, sent.map(|value| value.map(f64::to_bits)));
    Ok(())
}

fn nulls(data: &Dataset, column: usize) -> usize {
    data.rows.iter().filter(|row| row.cells[column].is_none()).count()
}

//! Bad input by MQTT: the connection may end, the agent and its other clients go on.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::{Result, http, mqtt, python, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x1e\x00\x01x";

async fn agent() -> Result<(tempfile::TempDir, Agent)> {
    let folder = tempfile::tempdir()?;
    let agent = Options::new("bad-mqtt").set("storage.max_memory", "8MiB").start(folder.path()).await?;
    Ok((folder, agent))
}

/// Sends bytes and reads until the server closes; what it answered.
async fn raw(to: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    // The server may close before it has taken everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    loop {
        match tokio::time::timeout(Duration::from_secs(30), stream.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) => return Ok(answer),
            Ok(Ok(read)) if answer.len() < 65_536 => answer.extend_from_slice(&chunk[..read]),
            Ok(Ok(_)) => return Err("the server sends without end".into()),
            Err(_) => return Err(format!("the server neither answers nor closes after {bytes:x?}").into()),
        }
    }
}

async fn still_works(agent: &Agent) -> Result<()> {
    mqtt::publish(agent.mqtt, "good", "good", vec!["{\"x\": 1}".to_owned()]).await?;
    assert!(agent.log("mqtt").await?.accepted > 0);
    Ok(())
}

#[tokio::test]
async fn malformed_packets_end_their_connection_and_no_other() -> Result<()> {
    let (_folder, agent) = agent().await?;
    let after_connect = |rest: &[u8]| [CONNECT, rest].concat();
    let cases = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x30\x05\x00\x01ahi".to_vec(),
        b"\x10\x0d\x00\x04MQTT\x63\x02\x00\x1e\x00\x01x".to_vec(),
        // A length of five bytes, a reserved type, QoS 3, a topic longer than its packet.
        after_connect(b"\x30\xff\xff\xff\xff\x01"),
        after_connect(b"\xf0\x00"),
        after_connect(b"\x36\x05\x00\x01a\x00\x01"),
        after_connect(b"\x30\x03\x00\x50a"),
        // A topic that is empty, one that is no UTF-8, one with a wildcard.
        after_connect(b"\x30\x04\x00\x00hi"),
        after_connect(b"\x30\x05\x00\x02\xff\xfeh"),
        after_connect(b"\x30\x05\x00\x01#hi"),
        // 256 MiB announced.
        after_connect(b"\x30\xff\xff\xff\x7f"),
    ];
    for bytes in &cases {
        raw(agent.mqtt, bytes).await?;
    }
    still_works(&agent).await?;
    assert!(agent.process.peak_memory()? < 24 << 20);
    Ok(())
}

#[tokio::test]
async fn payloads_that_no_format_takes_are_kept_raw_with_topic_and_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let route = "[[mqtt.route]]\ntopic = \"json\"\nlog = \"j\"\nformat = \"json\"\n";
    let agent = Options::new("raw").toml(route).start(folder.path()).await?;
    mqtt::publish(agent.mqtt, "bad", "json", vec!["{\"broken\": ".to_owned(), "{\"temp\": 1}".to_owned()]).await?;
    assert_eq!(agent.log("j").await?.accepted, 1);
    assert_eq!(agent.log("_rejected").await?.accepted, 1);
    let request =
        agent.request(reqwest::Method::GET, "/v1/logs/_rejected/records").header("accept", "application/x-ndjson");
    let row: serde_json::Value = serde_json::from_slice(&http::bytes(request).await?)?;
    assert_eq!(row["topic"], "json");
    assert_eq!(row["payload"], "eyJicm9rZW4iOiA=");
    assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
    Ok(())
}

#[tokio::test]
async fn a_subscription_is_refused_and_does_not_hang() -> Result<()> {
    let (_folder, agent) = agent().await?;
    for version in ["mqttv311", "mqttv5"] {
        let mut command = Command::new("timeout");
        command.args(["20", "mosquitto_sub", "-h", "127.0.0.1", "-p", &agent.mqtt.port().to_string()]);
        command.args(["-V", version, "-t", "plant/#", "-E", "-W", "10"]);
        let said = match python::output("mosquitto_sub", command).await {
            Ok(said) => said,
            Err(error) => error.to_string(),
        };
        assert!(!said.contains("124"), "mosquitto_sub waited in vain: {said}");
    }
    still_works(&agent).await
}

#[tokio::test]
async fn publishers_who_come_and_go_by_the_hundred_leave_nothing_behind() -> Result<()> {
    let (_folder, agent) = agent().await?;
    for round in 0..300 {
        let mut stream = TcpStream::connect(agent.mqtt).await?;
        stream.write_all(CONNECT).await?;
        if round % 2 == 0 {
            // Gone in the middle of a packet; or before it, when the one before is served after it and takes over its name.
            let _ = stream.write_all(b"\x30\x20\x00\x05").await;
        }
    }
    wait::until("a place for a good client", wait::LONG, async || still_works(&agent).await.map(Some)).await?;
    assert!(agent.process.peak_memory()? < 24 << 20);
    Ok(())
}

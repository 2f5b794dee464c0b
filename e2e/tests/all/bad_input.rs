//! Bad input by HTTP: a clear answer, no panic, bounded memory; what was good is kept, what was not is counted or kept raw.

use std::io::Write;
use std::process::Command;

use pyralog_e2e::agent::{Agent, Options};
use pyralog_e2e::process::resident_limit;
use pyralog_e2e::{Result, http, python, wait};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Path, headers and body of a request.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8]);

async fn agent(memory: &str) -> Result<(tempfile::TempDir, Agent)> {
    let folder = tempfile::tempdir()?;
    let agent = Options::new("bad-input").set("storage.max_memory", memory).start(folder.path()).await?;
    Ok((folder, agent))
}

async fn post(
    agent: &Agent,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Result<(StatusCode, Value)> {
    let mut request = agent.request(Method::POST, path).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, body) = http::answer(request).await?;
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    Ok((status, json))
}

fn words(answer: &Value) -> String {
    answer["error"].as_str().or(answer["message"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn bad_lines_are_refused_by_line_and_column_and_good_ones_beside_them_are_kept() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    let body = "climate temp=1 1\nclimate temp=oops 2\nclimate temp=3 3\nclimate\n";
    let (status, answer) = post(&agent, "/api/v2/write", &[], body).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let words = words(&answer);
    assert!(words.contains("line 2") || answer["line"] == 2, "{answer}");
    assert!(words.contains("column"), "{answer}");
    assert_eq!(agent.records("climate", "").await?.times, [1, 3]);
    Ok(())
}

#[tokio::test]
async fn a_truncated_gzip_body_is_refused_in_words() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for line in 0..10_000 {
        writeln!(packer, "climate temp={line} {line}")?;
    }
    let whole = packer.finish()?;
    let half = whole[..whole.len() / 2].to_vec();
    let (status, answer) = post(&agent, "/api/v2/write", &[("content-encoding", "gzip")], half).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(words(&answer).contains("gzip"), "{answer}");
    let (status, answer) = post(&agent, "/api/v2/write", &[("content-encoding", "gzip")], whole).await?;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_the_answer_names_the_key() -> Result<()> {
    let (folder, agent) = agent("16MiB").await?;
    let file = folder.path().join("body");
    std::fs::write(&file, "x".repeat(9 << 20))?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30", "--write-out", " %{http_code}", "--data-binary"]);
    curl.arg(format!("@{}", file.display())).arg(format!("{}/api/v2/write", agent.url));
    let said = python::output("curl", curl).await?;
    assert!(said.ends_with(" 413") && said.contains("max_body"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_unpacks_to_more_than_the_limit_is_refused_before_it_takes_the_memory() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for _ in 0..64 {
        packer.write_all(&vec![b'x'; 4 << 20])?;
    }
    let (status, answer) = post(&agent, "/api/v2/write", &[("content-encoding", "gzip")], packer.finish()?).await?;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
    assert!(words(&answer).contains("max_body"), "{answer}");
    assert!(agent.process.peak_memory()? < 40 << 20);
    Ok(())
}

#[tokio::test]
async fn an_unknown_log_is_not_found_and_the_nearest_name_is_offered() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    agent.write("climate temp=1 1\nvibration x=1 1\n".to_owned()).await?;
    for path in ["/v1/logs/climat", "/v1/logs/climat/records"] {
        let (status, body) = http::answer(agent.request(Method::GET, path)).await?;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let body = String::from_utf8(body)?;
        assert!(body.contains("climate"), "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn times_at_the_ends_of_the_calendar_are_kept() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    let times = [-9_223_372_036_854_775_806_i64, -1, 0, 9_223_372_036_854_775_806];
    agent.write(times.iter().map(|time| format!("odd x=1 {time}\n")).collect()).await?;
    assert_eq!(agent.records("odd", "").await?.times, times);
    Ok(())
}

#[tokio::test]
async fn ten_thousand_fields_make_512_columns_and_the_rest_is_kept_raw() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    for field in 0..10_000 / 100 {
        let lines: String = (0..100).map(|number| format!("wide f{}=1 {number}\n", field * 100 + number)).collect();
        let (status, answer) = post(&agent, "/api/v2/write", &[], lines).await?;
        assert!(status.is_success() || status.is_client_error(), "{status} {answer}");
    }
    let wide = agent.records("wide", "").await?;
    assert!((500..=512).contains(&wide.columns.len()), "{} columns", wide.columns.len());
    let rejected = agent.log("_rejected").await?.accepted;
    assert!(rejected > 0, "nothing in _rejected");
    assert!(wide.len() as u64 + rejected >= 10_000, "{} stored, {rejected} rejected", wide.len());
    let peak = agent.process.peak_memory()?;
    assert!(peak < resident_limit(16 << 20), "{peak} bytes resident");
    Ok(())
}

#[tokio::test]
async fn json_that_is_none_and_text_that_is_no_utf8_are_refused_in_words() -> Result<()> {
    let (_folder, agent) = agent("16MiB").await?;
    let json = [("content-type", "application/json")];
    let ndjson = [("content-type", "application/x-ndjson")];
    let arrow = [("content-type", "application/vnd.apache.arrow.stream")];
    let cases: [Case; 6] = [
        ("/v1/logs/a/records", &json, b"{\"temp\": "),
        ("/v1/logs/a/records", &ndjson, b"{\"temp\": 1}\n{]\n"),
        ("/v1/logs/a/records", &json, b"\xff\xfe{}"),
        ("/v1/logs/a/records", &arrow, b"ARROW1 but not really"),
        ("/api/v2/write", &[], b"a b=\"\xff\" 1\n"),
        ("/api/v2/write?precision=weeks", &[], b"a b=1 1\n"),
    ];
    for (path, headers, body) in cases {
        let (status, answer) = post(&agent, path, headers, body.to_vec()).await?;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body:?}: {answer}");
        assert!(words(&answer).len() > 10, "{path} {body:?}: {answer}");
    }
    wait::until("the agent to be alive", wait::LONG, async || agent.status().await.map(Some)).await?;
    Ok(())
}

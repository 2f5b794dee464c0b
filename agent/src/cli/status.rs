//! `pyralog-agent status`: the account of a running agent, for people.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use pyralog_service::tls::client::innermost;
use serde_json::Value;

use super::StatusArgs;
use super::client::Client;

pub(super) async fn run(args: StatusArgs) -> Result<(), String> {
    let response = Client::new(args.agent)?.get("/v1/status", &[]).await?;
    let body = response.text().await.map_err(|error| format!("the answer broke off: {}", innermost(&error)))?;
    let text = if args.json {
        format!("{}\n", body.trim_end())
    } else {
        let status =
            serde_json::from_str(&body).map_err(|_| "the answer is no status; is this an agent?".to_owned())?;
        table(&status)
    };
    // A closed pipe is the reader's choice.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn table(status: &Value) -> String {
    let mut out = String::new();
    let memory = &status["memory"];
    let (used, cap) = (number(&memory["used"]), number(&memory["cap"]));
    let epoch = status["epoch"].as_u64().map_or("no epoch yet".to_owned(), |epoch| format!("epoch {epoch}"));
    let id = status["agent_id"].as_str().unwrap_or("?");
    let _ = writeln!(out, "agent    {id}, {epoch}, up {}", seconds(&status["uptime_s"]));
    let _ = writeln!(
        out,
        "memory   {} {} of {} used, {} resident",
        bar(used as f64 / (cap.max(1)) as f64),
        bytes(used),
        bytes(cap),
        bytes(number(&memory["resident"]))
    );
    let runway =
        if status["runway_s"].is_null() { "no loss in sight".to_owned() } else { seconds(&status["runway_s"]) };
    let _ = writeln!(out, "runway   {runway}");
    let sync = &status["sync"];
    let _ = write!(out, "sync     {}", sync["state"].as_str().unwrap_or("?"));
    if !sync["next_attempt_s"].is_null() {
        let _ = write!(out, ", next attempt in {}", seconds(&sync["next_attempt_s"]));
    }
    if let Some(error) = sync["last_error"].as_str() {
        let _ = write!(out, "\n         last error: {error}");
    }
    out.push('\n');
    hubs(&sync["hubs"], &mut out);
    clock(&status["clock"], &mut out);
    sidecar(&status["sidecar"], &mut out);
    out.push('\n');
    let mut rows = vec![["LOG", "ACCEPTED", "COMMITTED", "PENDING", "RECEIPTED", "BYTES"].map(str::to_owned)];
    for (name, log) in status["logs"].as_object().into_iter().flatten() {
        let count = |key: &str| number(&log[key]).to_string();
        rows.push([
            name.clone(),
            count("accepted"),
            count("committed"),
            count("pending"),
            receipts(&log["receipted"]),
            bytes(number(&log["bytes"])),
        ]);
    }
    if rows.len() == 1 {
        out.push_str("no log yet: nothing has been sent here\n");
    } else {
        columns(&rows, &mut out);
    }
    out
}

/// The hubs, if there are several; a star is at the one in use.
fn hubs(hubs: &Value, out: &mut String) {
    let Some(hubs) = hubs.as_array().filter(|hubs| hubs.len() > 1) else { return };
    for hub in hubs {
        let mark = if hub["in_use"] == true { '*' } else { ' ' };
        let _ = write!(out, "       {mark} {}", hub["url"].as_str().unwrap_or("?"));
        if let Some(error) = hub["last_error"].as_str() {
            let _ = write!(out, ": {error}");
        }
        out.push('\n');
    }
}

/// A line if the device's clock is wrong, or seems to be.
fn clock(clock: &Value, out: &mut String) {
    const DOUBTFUL_S: f64 = 60.0;
    let offset = clock["hub_offset_s"].as_f64().filter(|offset| offset.abs() > DOUBTFUL_S);
    if clock["state"] == "unset" {
        out.push_str("clock    never set: records that bring no time get times before 2025 (log _clock)\n");
    } else if let Some(offset) = offset {
        let way = if offset > 0.0 { "behind" } else { "ahead of" };
        let by = seconds(&Value::from(offset.abs()));
        let _ = writeln!(out, "clock    {by} {way} the hub's");
    }
}

/// A line for each device, and for each serial line that has none.
fn sidecar(sidecar: &Value, out: &mut String) {
    for (name, device) in sidecar["devices"].as_object().into_iter().flatten() {
        let state = if number(&device["links"]) > 0 { "connected" } else { "away" };
        let (records, dropped) = (number(&device["records"]), number(&device["dropped"]));
        let _ = writeln!(out, "sidecar  {name}: {state}, {records} records, {dropped} dropped by the device");
    }
    for (place, listen) in sidecar["listen"].as_object().into_iter().flatten() {
        if let Some(error) = listen["last_error"].as_str() {
            let _ = writeln!(out, "sidecar  {place}: {error}");
        }
    }
}

fn columns(rows: &[[String; 6]], out: &mut String) {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        for (index, (width, cell)) in widths.iter().zip(row).enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            let _ = if index == 0 { write!(out, "{cell:<width$}") } else { write!(out, "{gap}{cell:>width$}") };
        }
        out.push('\n');
    }
}

/// `5 (4 evicted, 1 lost)`, or `0`.
fn receipts(receipted: &Value) -> String {
    let reasons: Vec<(&String, u64)> = receipted
        .as_object()
        .into_iter()
        .flatten()
        .map(|(reason, count)| (reason, number(count)))
        .filter(|(_, n)| *n > 0)
        .collect();
    let total: u64 = reasons.iter().map(|(_, count)| count).sum();
    if reasons.is_empty() {
        return "0".to_owned();
    }
    let listed: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    format!("{total} ({})", listed.join(", "))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn bar(share: f64) -> String {
    const WIDTH: usize = 20;
    let full = ((share.clamp(0.0, 1.0) * WIDTH as f64).round() as usize).min(WIDTH);
    format!("[{}{}]", "#".repeat(full), ".".repeat(WIDTH - full))
}

fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

fn seconds(value: &Value) -> String {
    match value.as_f64().and_then(|s| Duration::try_from_secs_f64(s.round()).ok()) {
        Some(duration) => humantime::format_duration(duration).to_string(),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_the_whole_account() {
        let status = serde_json::json!({
            "agent_id": "board-17", "incarnation": "00", "epoch": 3, "uptime_s": 7200.4, "runway_s": 11520.0,
            "memory": {"used": 33554432u64, "cap": 67108864u64, "resident": 41943040u64},
            "sync": {"state": "backoff", "last_error": "connection refused", "next_attempt_s": 12.0, "hubs": [
                {"url": "http://a:7390", "in_use": false, "last_error": "connection refused"},
                {"url": "http://b:7390", "in_use": true, "last_error": null}]},
            "logs": {"climate": {"accepted": 10, "committed": 6, "pending": 3, "receipted": {"evicted": 1, "lost": 0}, "bytes": 2048}}
        });
        let text = table(&status);
        for part in [
            "board-17, epoch 3, up 2h",
            "[##########..........] 32.0 MiB of 64.0 MiB",
            "runway   3h 12m",
            "backoff, next attempt in 12s",
            "last error: connection refused",
            "  http://a:7390: connection refused\n",
            "* http://b:7390\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let row: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["climate", "10", "6", "3", "1", "(1", "evicted)", "2.0", "KiB"]);
    }

    #[test]
    fn devices_and_lines_without_one_are_shown() {
        let status = serde_json::json!({"sidecar": {
            "devices": {"press-4": {"links": 1, "records": 12, "dropped": 3}},
            "listen": {"serial:/dev/ttyUSB0?baud=9600": {"state": "waiting", "last_error": "there is no such device"}}
        }});
        let text = table(&status);
        assert!(text.contains("sidecar  press-4: connected, 12 records, 3 dropped by the device\n"), "{text}");
        assert!(text.contains("sidecar  serial:/dev/ttyUSB0?baud=9600: there is no such device\n"), "{text}");
    }

    #[test]
    fn an_answer_with_nothing_in_it_is_no_panic() {
        assert!(table(&serde_json::json!({})).contains("no log yet"));
    }
}

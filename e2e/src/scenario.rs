//! What a user does, from end to end, with whatever data.
//!
//! Each scenario starts its own agent and hub in a folder of its own, checks all that it promises, and returns figures.

pub mod cluster;
pub mod crash;
pub mod fence;
pub mod hubs;
pub mod overflow;
pub mod round_trip;

use std::fmt;

use crate::agent::Agent;
use crate::dataset::Dataset;
use crate::{Result, mqtt};

/// The log that takes line protocol over HTTP.
pub const HTTP_LOG: &str = "air";
/// The log that takes JSON over MQTT.
pub const MQTT_LOG: &str = "air_json";

/// Where JSON is published.
const TOPIC: &str = "station/air";
/// Lines in one HTTP request.
const LINES: usize = 1_000;

/// What a scenario found, beyond that all was right.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<(&'static str, String)>);

impl Figures {
    /// Adds one.
    pub fn add(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((name, value.to_string()));
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {value}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The route by which [`send_mqtt`] reaches [`MQTT_LOG`].
pub fn route(data: &Dataset) -> String {
    let tags: Vec<String> = data.tags().iter().map(|tag| format!("{tag:?}")).collect();
    let tags = tags.join(", ");
    format!("[[mqtt.route]]\ntopic = \"{TOPIC}\"\nlog = \"{MQTT_LOG}\"\nformat = \"json\"\ntags = [{tags}]\n")
}

/// Sends rows as line protocol over HTTP, `LINES` a request.
///
/// # Errors
/// When the agent refuses any.
pub async fn send_http(agent: &Agent, data: &Dataset, rows: std::ops::Range<usize>) -> Result<()> {
    let mut at = rows.start;
    while at < rows.end {
        let end = (at + LINES).min(rows.end);
        agent.write(data.line_protocol(HTTP_LOG, at..end)).await?;
        at = end;
    }
    Ok(())
}

/// Publishes rows as JSON over MQTT at QoS 1, one message a row.
///
/// # Errors
/// When any is not acknowledged.
pub async fn send_mqtt(agent: &Agent, data: &Dataset, rows: std::ops::Range<usize>) -> Result<()> {
    let payload = |row| {
        let mut json = String::new();
        data.json(row, &mut json);
        json
    };
    let payloads = data.rows.iter().take(rows.end).skip(rows.start).map(payload).collect();
    mqtt::publish(agent.mqtt, "sensor", TOPIC, payloads).await
}

/// Fails with `message` unless `truth`.
fn ensure(truth: bool, message: impl FnOnce() -> String) -> Result<()> {
    if truth { Ok(()) } else { Err(message().into()) }
}

//! `/metrics`: read at each scrape from where the numbers live, so that there is no second account to disagree with.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::http::HttpCounters;
use crate::ring::{LogSummary, LossReason};
use crate::status::{StatusSource, resident_bytes};

/// Media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bytes of text that one log takes at most, for the budget.
pub const BYTES_PER_LOG: u64 = 2048;

/// One number of another part of the agent, such as the MQTT endpoint.
pub struct Extra {
    /// Name without prefix and suffix, such as `mqtt_messages`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// Reads it.
    pub read: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Writes the metrics of an agent.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics of these parts.
    pub fn new(source: Arc<StatusSource>, http: Arc<HttpCounters>, extra: Vec<Extra>) -> Self {
        let mut registry = Registry::with_prefix("pyralog");
        registry.register_collector(Box::new(Parts { source, http, extra }));
        Self { registry }
    }

    /// The metrics now, as OpenMetrics text.
    ///
    /// # Errors
    /// None in practice: a `String` takes whatever is written.
    pub fn text(&self) -> Result<String, Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

struct Parts {
    source: Arc<StatusSource>,
    http: Arc<HttpCounters>,
    extra: Vec<Extra>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

impl Collector for Parts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.logs(&mut encoder)?;
        self.ring(&mut encoder)?;
        self.sync(&mut encoder)?;
        self.clock(&mut encoder)?;
        self.http(&mut encoder)?;
        for Extra { name, help, counter, read } in &self.extra {
            if *counter {
                count(&mut encoder, name, help, read())?
            } else {
                gauge(&mut encoder, name, help, read() as f64)?
            }
        }
        Ok(())
    }
}

/// Name, help and value of a metric that each log has.
type PerLog = (&'static str, &'static str, fn(&LogSummary) -> u64);

const LOG_COUNTERS: [PerLog; 1] = [("records_accepted", "Records taken in", |log| log.account.accepted)];

const LOG_GAUGES: [PerLog; 6] = [
    ("records_committed", "Records durable at the hub", |log| log.account.committed),
    ("records_pending", "Records in the ring that the hub does not have", |log| log.account.pending),
    ("records_in_ring", "Records that can be read here", |log| log.rows),
    ("log_head", "Next offset of the log", |log| log.head),
    ("log_tail", "Lowest offset in the ring", |log| log.tail),
    ("log_memory_bytes", "Bytes of the budget that the log takes", |log| log.bytes),
];

impl Parts {
    fn logs(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let logs = self.source.ring.logs();
        for (name, help, read) in LOG_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for log in &logs {
                ConstCounter::new(read(log)).encode(family.encode_family(&[("log", &*log.name)])?)?;
            }
        }
        for (name, help, read) in LOG_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for log in &logs {
                ConstGauge::new(read(log) as f64).encode(family.encode_family(&[("log", &*log.name)])?)?;
            }
        }
        let help = "Records lost, for which the hub has or gets receipts";
        let mut family = encoder.encode_descriptor("records_receipted", help, None, MetricType::Gauge)?;
        for log in &logs {
            for (reason, lost) in LossReason::ALL.iter().zip(log.account.receipted) {
                let labels = [("log", &*log.name), ("reason", reason.name())];
                ConstGauge::new(lost as f64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn ring(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let ring = self.source.ring.status();
        bytes(encoder, "memory_used", "Budget in use", ring.used)?;
        bytes(encoder, "memory_cap", "The budget (storage.max_memory)", ring.cap)?;
        bytes(encoder, "memory_resident", "Resident memory of the process", resident_bytes())?;
        bytes(encoder, "memory_guests", "Budget held by requests, results and batches in flight", ring.guest_bytes)?;
        bytes(encoder, "pending_packed", "Packed bytes that the hub does not have", ring.pending_bytes)?;
        count(encoder, "segments_sealed", "Segments sealed", ring.sealed_segments)?;
        count(encoder, "segments_packed", "Segments packed", ring.packed_segments)?;
        count(encoder, "segments_evicted", "Segments evicted", ring.evicted_segments)?;
        count(encoder, "segments_raw_bytes", "Bytes of packed segments before packing", ring.raw_bytes_packed)?;
        count(encoder, "segments_packed_bytes", "Bytes of packed segments", ring.packed_bytes)?;
        count(encoder, "rejected", "Payloads, records and cells that no log could take", ring.rejected)?;
        if let Some(runway) = self.source.ring.runway(self.source.clock.now()) {
            let help = "Time until the oldest pending record is evicted at the present rate";
            let family = encoder.encode_descriptor("runway", help, Some(&Unit::Seconds), MetricType::Gauge)?;
            ConstGauge::new(runway.as_secs_f64()).encode(family)?;
        }
        Ok(())
    }

    fn sync(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let report = self.source.sync.report();
        let mut family = encoder.encode_descriptor("sync_state", "1 for the present state", None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(&[("state", report.state.word())])?)?;
        gauge(encoder, "sync_epoch", "Epoch given by the hub; 0 before", f64::from(report.epoch.unwrap_or(0)))?;
        count(encoder, "sync_requests", "Requests to the hub", report.requests)?;
        count(encoder, "sync_sent_bytes", "Bytes of request bodies to the hub", report.bytes_sent)?;
        count(encoder, "sync_failures", "Exchanges that failed or were refused", report.failures)
    }

    fn clock(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let clock = self.source.clock_view();
        let is_unset = u8::from(clock.state == "unset");
        gauge(encoder, "clock_unset", "1 while the device's clock was never set", f64::from(is_unset))?;
        count(encoder, "clock_steps", "Jumps of the device's clock by a second or more", clock.steps)?;
        let Some(offset) = clock.hub_offset_s else { return Ok(()) };
        let help = "How far the hub's clock is ahead of the device's";
        let family = encoder.encode_descriptor("clock_hub_offset", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(offset).encode(family)
    }

    fn http(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let http = &self.http;
        gauge(encoder, "http_connections", "Open HTTP connections", http.connections() as f64)?;
        count(encoder, "http_turned_away", "HTTP connections closed at once", http.turned_away_total())?;
        count(encoder, "http_unauthorized", "Requests without a good token", http.unauthorized_total())?;
        let help = "Requests not looked at, since too many wrong tokens came from their host";
        count(encoder, "http_shut_out", help, http.shut_out_total())?;
        count(encoder, "http_body_bytes", "Bytes of request bodies", http.body_bytes_total())?;
        count(encoder, "http_refused", "Lines, records and values that were not stored", http.refused_total())?;
        let mut family = encoder.encode_descriptor("http_answers", "Answers by class", None, MetricType::Counter)?;
        for (class, answers) in http.answers_total() {
            ConstCounter::new(answers).encode(family.encode_family(&[("class", class)])?)?;
        }
        Ok(())
    }
}

fn count(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let family: MetricEncoder<'_> = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(family)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> Result<(), Error> {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn bytes(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
    ConstGauge::new(value as f64).encode(family)
}

//! The cases: what clients do, and what stands upstream meanwhile.

use std::path::Path;

use crate::Result;
use crate::agent::Options;

use super::load::bombs::Packing;
use super::load::queries::Pace;
use super::load::{arrow, bombs, connections, flood, handshakes, loris, mqtt, queries, shapes};
use super::target::Target;

/// What stands upstream of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// Nothing is configured.
    None,
    /// Configured, and never there.
    Dead,
    /// A hub that comes when half of the time is over.
    Late,
    /// As [`Self::Late`], behind a link of 256 KiB/s.
    Slow,
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is called on the command line and in file names.
    pub name: &'static str,
    /// What happens, for the table.
    pub about: &'static str,
    /// What stands upstream.
    pub upstream: Upstream,
    /// How long it runs, in seconds.
    pub seconds: u64,
    /// Settings of the agent beyond its cap.
    pub settings: Settings,
    /// What its clients do.
    pub load: Load,
}

/// Settings that a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// None.
    Plain,
    /// TLS for MQTT.
    MqttTls,
    /// TLS for HTTP.
    HttpTls,
    /// No more than so many file descriptors.
    Descriptors(u32),
}

/// What the clients of a case do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table of cases says it in words")]
pub enum Load {
    Idle,
    MqttFlood { qos: u8 },
    HttpLines,
    HttpJson,
    HttpGzip,
    HttpNoise,
    Fill,
    MqttIdle { count: usize },
    MqttMute { count: usize },
    HalfHandshakes { count: usize },
    HttpsHalf { count: usize },
    HttpsMute { count: usize },
    SlowHeads,
    SlowBodies,
    AnnouncedBodies,
    GzipBombs,
    ZstdBombs,
    EndlessLines,
    Tags,
    Logs,
    Columns,
    Queries(Pace),
    Forged,
    AnnouncedPackets,
    HalfQos2,
    Sessions,
}

const fn case(name: &'static str, about: &'static str, load: Load) -> Case {
    Case { name, about, upstream: Upstream::None, seconds: 5, settings: Settings::Plain, load }
}

/// Every case, in the order of the table.
pub const CASES: &[Case] = &[
    Case { seconds: 3, ..case("idle", "nobody but the neighbour", Load::Idle) },
    case("mqtt-qos0", "4 connections publish JSON at QoS 0 as fast as it goes", Load::MqttFlood { qos: 0 }),
    case("mqtt-qos1", "4 connections publish JSON at QoS 1, pipelined", Load::MqttFlood { qos: 1 }),
    case("http-lines", "4 connections post line protocol, 1,000 lines a body", Load::HttpLines),
    case("http-json", "4 connections post JSON arrays of 500 objects", Load::HttpJson),
    case("http-gzip", "4 connections post gzipped line protocol, 1,000 lines a body", Load::HttpGzip),
    Case {
        seconds: 12,
        ..case("http-noise", "4 connections post line protocol of long texts that hardly pack", Load::HttpNoise)
    },
    Case {
        upstream: Upstream::Dead,
        seconds: 6,
        ..case("outage", "MQTT and HTTP at full speed, the hub is dead", Load::Fill)
    },
    Case {
        upstream: Upstream::Late,
        seconds: 8,
        ..case("drain", "the same, and the hub comes back at half time", Load::Fill)
    },
    Case {
        upstream: Upstream::Slow,
        seconds: 8,
        ..case("drain-slow", "the same, the hub behind a link of 256 KiB/s", Load::Fill)
    },
    Case {
        seconds: 8,
        ..case("mqtt-idle", "10,000 MQTT clients connect and say nothing", Load::MqttIdle { count: 10_000 })
    },
    case("mqtt-mute", "2,000 connections to the MQTT endpoint never say a word", Load::MqttMute { count: 2_000 }),
    case("slow-heads", "1,000 HTTP clients send the head of a request a byte at a time", Load::SlowHeads),
    case("slow-bodies", "1,000 HTTP clients send a body a byte at a time", Load::SlowBodies),
    case("large-bodies", "1,000 HTTP clients begin the largest body and go on a byte at a time", Load::AnnouncedBodies),
    case("gzip-bombs", "32 connections post 24 MiB in gzip on every path", Load::GzipBombs),
    case("zstd-bombs", "32 connections post 24 MiB in zstd on every path", Load::ZstdBombs),
    case("endless-lines", "32 connections post lines and JSON without an end", Load::EndlessLines),
    case("tags", "10,000 series, and a tag that never repeats", Load::Tags),
    case("logs", "1,000 logs by turns", Load::Logs),
    case("columns", "records of 512 columns in three logs", Load::Columns),
    case("queries-fast", "96 readers at once of all that is in the ring", Load::Queries(Pace::Fast)),
    case("queries-slow", "96 readers at once of all that is in the ring, 8 KiB at a time", Load::Queries(Pace::Slow)),
    case("queries-stuck", "96 readers that begin an answer and stop", Load::Queries(Pace::Never)),
    case("arrow-forged", "Arrow streams with forged lengths, counts and offsets", Load::Forged),
    case(
        "mqtt-large",
        "500 MQTT clients announce packets of 256 MiB, or send all but the end of the largest",
        Load::AnnouncedPackets,
    ),
    case("mqtt-qos2", "500 MQTT clients leave 1,000 QoS 2 messages each unreleased", Load::HalfQos2),
    case("mqtt-sessions", "persistent sessions under ever new long names, messages half done in each", Load::Sessions),
    Case {
        settings: Settings::MqttTls,
        seconds: 8,
        ..case(
            "tls-half",
            "10,000 MQTT clients begin a TLS handshake and stop (the neighbour by HTTP alone)",
            Load::HalfHandshakes { count: 10_000 },
        )
    },
    Case {
        settings: Settings::HttpTls,
        seconds: 8,
        ..case(
            "https-half",
            "10,000 HTTP clients send half of what begins a TLS handshake, or all of it, and stop",
            Load::HttpsHalf { count: 10_000 },
        )
    },
    Case {
        settings: Settings::HttpTls,
        ..case(
            "https-mute",
            "2,000 HTTP clients finish the TLS handshake and send nothing",
            Load::HttpsMute { count: 2_000 },
        )
    },
    Case {
        settings: Settings::Descriptors(256),
        ..case(
            "descriptors",
            "an agent of 256 file descriptors and 1,000 idle MQTT clients",
            Load::MqttIdle { count: 1_000 },
        )
    },
];

/// The case of this name.
pub fn named(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

impl Case {
    /// An agent for it, its files in `folder`.
    ///
    /// # Errors
    /// When there is no certificate to be had.
    pub fn options(&self, cap: u64, folder: &Path) -> Result<Options> {
        let options = Options::new("memory").set("storage.max_memory", &cap.to_string());
        Ok(match self.settings {
            Settings::Plain => options,
            Settings::Descriptors(most) => options.descriptors(most),
            Settings::MqttTls | Settings::HttpTls => {
                let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
                let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
                std::fs::write(&cert, made.cert.pem())?;
                std::fs::write(&key, made.signing_key.serialize_pem())?;
                let text = |path: &Path| path.display().to_string();
                if self.settings == Settings::HttpTls {
                    return Ok(options.https(&cert, &key));
                }
                options.set("mqtt.tls_cert", &text(&cert)).set("mqtt.tls_key", &text(&key))
            }
        })
    }
}

impl Load {
    /// Lets the clients loose until the target's time is over.
    ///
    /// # Errors
    /// When they cannot do their part, which is a fault of the harness.
    pub async fn run(self, target: &Target) -> Result<()> {
        match self {
            Self::Idle => target.over().await,
            Self::MqttFlood { qos } => flood::mqtt(target, qos).await?,
            Self::HttpLines => flood::http(target, flood::Body::Lines).await?,
            Self::HttpJson => flood::http(target, flood::Body::Json).await?,
            Self::HttpGzip => flood::http(target, flood::Body::Gzip).await?,
            Self::HttpNoise => flood::http(target, flood::Body::Noise).await?,
            Self::Fill => flood::fill(target).await?,
            Self::MqttIdle { count } => connections::mqtt_idle(target, count).await?,
            Self::MqttMute { count } => connections::mqtt_mute(target, count).await?,
            Self::HalfHandshakes { count } => handshakes::mqtt_half(target, count).await?,
            Self::HttpsHalf { count } => handshakes::https_half(target, count).await?,
            Self::HttpsMute { count } => handshakes::https_mute(target, count).await?,
            Self::SlowHeads => loris::heads(target).await?,
            Self::SlowBodies => loris::bodies(target).await?,
            Self::AnnouncedBodies => loris::announced(target).await?,
            Self::GzipBombs => bombs::bombs(target, Packing::Gzip).await?,
            Self::ZstdBombs => bombs::bombs(target, Packing::Zstd).await?,
            Self::EndlessLines => bombs::endless_lines(target).await?,
            Self::Tags => shapes::tags(target).await?,
            Self::Logs => shapes::logs(target).await?,
            Self::Columns => shapes::columns(target).await?,
            Self::Queries(pace) => queries::read(target, pace).await?,
            Self::Forged => arrow::forged(target).await?,
            Self::AnnouncedPackets => mqtt::announced(target).await?,
            Self::HalfQos2 => mqtt::half_qos2(target).await?,
            Self::Sessions => mqtt::sessions(target).await?,
        }
        Ok(())
    }
}

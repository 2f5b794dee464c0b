//! The cases: what clients do, and what stands upstream meanwhile.

use crate::Result;
use crate::agent::Options;

use super::load;
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
    /// TLS on both listeners.
    Tls,
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
    Fill,
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
];

/// The case of this name.
pub fn named(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

impl Case {
    /// An agent for it.
    pub fn options(&self, cap: u64) -> Options {
        let options = Options::new("memory").set("storage.max_memory", &cap.to_string());
        match self.settings {
            Settings::Plain => options,
            Settings::Descriptors(most) => options.descriptors(most),
            Settings::Tls => options,
        }
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
            Self::MqttFlood { qos } => load::flood::mqtt(target, qos).await?,
            Self::HttpLines => load::flood::http(target, load::flood::Body::Lines).await?,
            Self::HttpJson => load::flood::http(target, load::flood::Body::Json).await?,
            Self::HttpGzip => load::flood::http(target, load::flood::Body::Gzip).await?,
            Self::Fill => load::flood::fill(target).await?,
        }
        Ok(())
    }
}

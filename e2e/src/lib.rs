//! End-to-end tests of the real binaries: the harness and the scenarios.
//!
//! A test starts `pyralog-agent` and `pyralog-hub` as a user would, on free ports and in a folder of its own, and looks at
//! them only from outside: by MQTT and HTTP, at `/proc`, at what they print. The scenarios take any data set: the tests run them on a
//! small generated one, `prove` on real data.

pub mod account;
pub mod agent;
pub mod chaos;
pub mod dataset;
pub mod generate;
pub mod http;
pub mod hub;
pub mod memory;
pub mod mqtt;
pub mod nats;
pub mod packets;
pub mod process;
pub mod proxy;
pub mod python;
pub mod rate;
pub mod scenario;
pub mod table;
pub mod wait;

/// What went wrong, in words for the person who reads the test's output.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

//! What the fuzzers do with bytes: one function for each target. Each asserts properties, not merely the absence of panics.
//!
//! `cargo xtask fuzz` runs them under libFuzzer; `cargo test -p pyralog-fuzz` replays the stored inputs on stable.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fuzzer says by a panic what went wrong")]

mod arrow_ingest;
mod bytes_in;
mod config;
mod frames;
mod http_in;
mod json;
mod line_protocol;
mod mqtt;
#[path = "../../../sync-protocol/tests/peers/mod.rs"]
mod peers;
mod ring;
mod segment_decode;
mod sidecar;

pub use arrow_ingest::arrow_ingest;
pub use config::config;
pub use frames::frames;
pub use http_in::http;
pub use json::json;
pub use line_protocol::line_protocol;
pub use mqtt::mqtt;
pub use segment_decode::segment_decode;
pub use sidecar::sidecar;

/// A target: its name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("mqtt", mqtt),
    ("line_protocol", line_protocol),
    ("json", json),
    ("arrow_ingest", arrow_ingest),
    ("frames", frames),
    ("segment_decode", segment_decode),
    ("config", config),
    ("http", http),
    ("sidecar", sidecar),
];

//! A flight recorder for sensors: readings come in by MQTT and HTTP, the newest stay in RAM as a ring of Arrow segments
//! under a fixed memory cap, and compressed batches go upstream with resumable offsets.

pub mod app;
pub mod cli;
pub mod config;
mod crowd;
mod descriptors;
pub mod device_clock;
pub mod http;
pub mod ingest;
pub mod metrics;
pub mod records;
pub mod ring;
pub mod status;
pub mod sync;
mod ticks;
pub mod tls;

//! Arrow IPC streams as bodies.

use bytes::Bytes;
use pyralog_agent::ingest::decode::arrow_stream::StreamOptions;
use pyralog_agent::ingest::upload::write_arrow;

use crate::bytes_in::Input;
use crate::ring::{check_accepted, ring, settle};

/// The first byte chooses the options; the rest is the stream.
pub fn arrow_ingest(data: &[u8]) {
    let mut input = Input(data);
    let mut options = StreamOptions::default();
    if input.byte() % 2 == 1 {
        options.time_key = Some("at".to_owned());
        options.tags = vec!["station".to_owned()];
    }
    let (ring, clock) = ring();
    let done = write_arrow(&ring, clock, "log", options, Bytes::copy_from_slice(input.0));
    let report = done.as_ref().unwrap_or_else(|error| &error.report);
    check_accepted(&ring, report.accepted, &[]);
    settle(&ring);
}

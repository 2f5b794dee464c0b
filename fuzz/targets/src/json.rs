//! JSON and NDJSON: what is written is what is decoded, and how a body is cut does not matter.

use pyralog_agent::ingest::body::Coding;
use pyralog_agent::ingest::decode::json::{self as decoder, JsonOptions};
use pyralog_agent::ingest::decode::{Scratch, Target};
use pyralog_agent::ingest::upload::{LineBody, WriteError, WriteReport, write_json};
use pyralog_agent::records::Records;

use crate::bytes_in::Input;
use crate::ring::{check_accepted, ring, settle};

/// The first byte chooses JSON or NDJSON and the size of the pieces; the rest is the body.
pub fn json(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let options = JsonOptions { tags: vec!["station".to_owned()], ..JsonOptions::default() };
    match choice % 2 {
        0 => whole(input.0, &options),
        _ => {
            let at_once = lines(input.0, &options, usize::MAX);
            let in_pieces = lines(input.0, &options, usize::from(choice / 2) + 1);
            assert_eq!(at_once, in_pieces, "how a body is cut changes what becomes of it");
            let report = at_once.as_ref().unwrap_or_else(|error| &error.report);
            let filled =
                input.0.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count() as u64;
            assert!(report.accepted + report.rejected <= filled, "{report:?} of {filled} lines");
            if at_once.is_ok() {
                assert_eq!(report.accepted + report.rejected, filled, "each line is accepted or rejected");
            }
        }
    }
}

fn whole(body: &[u8], options: &JsonOptions) {
    let (mut records, mut scratch) = (Records::new(), Scratch::default());
    let target = Target { log: Some("log"), tags: &[] };
    let decoded = decoder::decode(body, options, target, &mut records, &mut scratch);
    let (ring, clock) = ring();
    let written = write_json(&ring, clock, "log", options, body);
    let report = written.as_ref().unwrap_or_else(|error| &error.report);
    check_accepted(&ring, report.accepted, body);
    if decoded.is_ok() && written.is_ok() {
        assert_eq!(report.accepted + report.rejected, records.len() as u64, "message and body disagree");
    }
    // A document that is no JSON to the library is none to us.
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        assert!(decoded.is_err() && written.is_err(), "taken, though it is no JSON");
    }
    settle(&ring);
}

fn lines(body: &[u8], options: &JsonOptions, piece: usize) -> Result<WriteReport, WriteError> {
    let (ring, clock) = ring();
    let mut lines = LineBody::ndjson(&ring, clock, "log", options.clone(), Coding::Identity, 1 << 20, "fuzz").unwrap();
    let mut fed = Ok(());
    for piece in body.chunks(piece.min(body.len().max(1))) {
        fed = lines.feed(piece);
        if fed.is_err() {
            break;
        }
    }
    let done = match fed {
        Ok(()) => lines.finish(),
        Err(error) => {
            drop(lines);
            Err(error)
        }
    };
    let report = done.as_ref().unwrap_or_else(|error| &error.report);
    check_accepted(&ring, report.accepted, body);
    settle(&ring);
    done
}

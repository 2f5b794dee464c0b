//! Line protocol: a body in pieces, the same body at once, and a message.

use pyralog_agent::ingest::body::Coding;
use pyralog_agent::ingest::decode::time::Precision;
use pyralog_agent::ingest::decode::{Scratch, Target, line_protocol as decoder};
use pyralog_agent::ingest::upload::{LineBody, WriteError, WriteReport};
use pyralog_agent::records::Records;

use crate::bytes_in::Input;
use crate::ring::{check_accepted, ring, settle};

/// The first byte chooses precision and size of the pieces; the rest is the body.
pub fn line_protocol(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let precision = ["ns", "us", "ms", "s"][usize::from(choice % 4)].parse().unwrap();
    let body = input.0;
    let whole = write(body, precision, usize::MAX);
    let pieces = write(body, precision, usize::from(choice / 4) + 1);
    assert_eq!(whole, pieces, "how a body is cut changes what becomes of it");
    let report = match &whole {
        Ok(report) => report,
        Err(WriteError { report, .. }) => report,
    };
    // A line end within quotes belongs to its value, so there may be fewer lines, and never more.
    let lines = body.split(|byte| *byte == b'\n').count() as u64;
    assert!(report.accepted + report.rejected <= lines, "{report:?} of {lines} lines");

    let (mut records, mut scratch) = (Records::new(), Scratch::default());
    if decoder::decode(body, precision, Target::default(), &mut records, &mut scratch).is_ok() {
        assert_eq!(report.accepted + report.rejected, records.len() as u64, "message and body disagree");
    }
}

fn write(body: &[u8], precision: Precision, piece: usize) -> Result<WriteReport, WriteError> {
    let (ring, clock) = ring();
    let limit = 1 << 20;
    let mut lines = LineBody::line_protocol(&ring, clock, precision, Coding::Identity, limit, "fuzz").unwrap();
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

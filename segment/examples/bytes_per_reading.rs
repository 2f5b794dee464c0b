//! Prints what a reading costs, in bytes, by rows per segment and by encoding.
//!
//! `cargo run --release -p pyralog-segment --example bytes_per_reading -- [DIRECTORY]`
//!
//! The directory holds `*.csv.gz` files as described in `sets/mod.rs`; without one, a synthetic set is measured. All that travels
//! with a segment counts: a frame header and hash of the protocol are put at 48 bytes for `packed` and `arrow-zstd`. A reading is
//! one field value that is not null, with its share of the time and the tags.

mod sets;

use std::error::Error;
use std::io::Write;

use arrow_array::RecordBatch;
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message};
use flate2::Compression;
use flate2::write::GzEncoder;
use pyralog_segment::{DecodeLimits, Encoding, Schema, decode, encode};
use sets::Set;

/// Bytes of frame header and hash around a segment.
const FRAME: usize = 48;

/// Most segments measured per size, spread over the set.
const MAX_SEGMENTS: usize = 200;

/// What packed aims at, relative to line protocol + gzip, by rows.
const AIMS: [(usize, Option<f64>); 4] = [(10, Some(0.9)), (100, Some(0.65)), (1000, None), (8192, Some(0.5))];

#[derive(Default)]
struct Totals {
    readings: usize,
    packed: usize,
    arrow_zstd: usize,
    lines: usize,
    ipc: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "bytes per reading; ratio = packed / (line protocol + gzip); {FRAME} bytes of frame per segment counted"
    )?;
    writeln!(
        out,
        "{:<14} {:>5} {:>9} {:>10} {:>8} {:>6} {:>7} {:>5}",
        "set", "rows", "packed", "arrow-zstd", "lp+gzip", "ipc", "ratio", "aim"
    )?;
    for set in sets::load(directory.as_deref())? {
        for (rows, aim) in AIMS {
            if set.batch.num_rows() < rows {
                continue;
            }
            let totals = measure(&set, rows)?;
            let per_reading = |bytes: usize| bytes as f64 / totals.readings as f64;
            writeln!(
                out,
                "{:<14} {:>5} {:>9.3} {:>10.3} {:>8.3} {:>6.2} {:>7.3} {:>5}",
                set.name,
                rows,
                per_reading(totals.packed),
                per_reading(totals.arrow_zstd),
                per_reading(totals.lines),
                per_reading(totals.ipc),
                totals.packed as f64 / totals.lines as f64,
                aim.map_or("-".into(), |aim| aim.to_string()),
            )?;
        }
    }
    Ok(())
}

fn measure(set: &Set, rows: usize) -> Result<Totals, Box<dyn Error>> {
    let schema = Schema::from_arrow(set.batch.schema_ref())?;
    let segments = set.batch.num_rows() / rows;
    let stride = segments.div_ceil(MAX_SEGMENTS);
    let mut totals = Totals::default();
    for segment in (0..segments).step_by(stride) {
        let start = segment * rows;
        let batch = set.batch.slice(start, rows);
        totals.readings += set.readings(start, rows);
        for encoding in [Encoding::Packed, Encoding::ArrowZstd] {
            let mut bytes = Vec::new();
            encode(&batch, encoding, &mut bytes)?;
            if decode(&bytes, &schema, rows, encoding, &DecodeLimits::default())? != batch {
                return Err(format!("{encoding} did not give {} back", set.name).into());
            }
            match encoding {
                Encoding::Packed => totals.packed += bytes.len() + FRAME,
                Encoding::ArrowZstd => totals.arrow_zstd += bytes.len() + FRAME,
            }
        }
        totals.lines += gzip(&set.lines[start..start + rows])?;
        totals.ipc += plain_ipc(&batch)?;
    }
    Ok(totals)
}

fn gzip(lines: &[String]) -> Result<usize, Box<dyn Error>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for line in lines {
        encoder.write_all(line.as_bytes())?;
    }
    Ok(encoder.finish()?.len())
}

/// Dictionaries and record batch, without the schema message.
fn plain_ipc(batch: &RecordBatch) -> Result<usize, Box<dyn Error>> {
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    let mut tracker = DictionaryTracker::new(false);
    let generator = IpcDataGenerator {};
    generator.schema_to_bytes_with_dictionary_tracker(batch.schema_ref(), &mut tracker, &options);
    let (dictionaries, records) = generator.encode(batch, &mut tracker, &options, &mut IpcWriteContext::default())?;
    let mut bytes = Vec::new();
    for message in dictionaries.into_iter().chain([records]) {
        write_message(&mut bytes, message, &options)?;
    }
    Ok(bytes.len())
}

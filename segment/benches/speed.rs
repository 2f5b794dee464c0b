//! How fast segments are packed and unpacked, on one core: `cargo bench -p pyralog-segment`.
//!
//! `PYRALOG_DATA` may name a directory of `*.csv.gz` sets; without it the synthetic set is measured. Elements are readings (field
//! values); `lines-gzip/pack` compresses the same rows as line protocol, to compare with.

#[path = "../examples/sets/mod.rs"]
mod sets;

use std::hint::black_box;
use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;
use pyralog_segment::{DecodeLimits, Encoding, Schema, decode, encode};

const ROWS: usize = 8192;

fn speed(criterion: &mut Criterion) {
    let directory = std::env::var("PYRALOG_DATA").ok();
    for set in sets::load(directory.as_deref()).unwrap_or_default() {
        let batch = set.batch.slice(0, ROWS);
        let Ok(schema) = Schema::from_arrow(batch.schema_ref()) else { continue };
        let mut group = criterion.benchmark_group(&set.name);
        group.throughput(Throughput::Elements(set.readings(0, ROWS) as u64));
        for encoding in [Encoding::Packed, Encoding::ArrowZstd] {
            let mut bytes = Vec::new();
            group.bench_function(format!("{encoding}/pack (aim 10 M/s)"), |bencher| {
                bencher.iter(|| {
                    bytes.clear();
                    encode(black_box(&batch), encoding, &mut bytes)
                });
            });
            group.bench_function(format!("{encoding}/unpack (aim 90 M/s)"), |bencher| {
                bencher.iter(|| decode(black_box(&bytes), &schema, ROWS, encoding, &DecodeLimits::default()));
            });
        }
        let lines = set.lines[..ROWS].concat();
        group.bench_function("lines-gzip/pack", |bencher| {
            bencher.iter(|| {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(black_box(lines.as_bytes())).and_then(|()| encoder.finish())
            });
        });
    }
}

criterion_group!(benches, speed);
criterion_main!(benches);

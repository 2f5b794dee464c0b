//! What the ring does a second, in process: single records, batches, reads, scans, and appends while it packs.
//!
//! `cargo bench -p pyralog-agent --bench ring`. The yardstick beside each figure is a plain copy of the same 16 bytes a
//! record into a `Vec` that is thrown away when it is full: what the memory alone allows.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that fails may stop, and it prints its figures"
)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampNanosecondType};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pyralog_agent::records::{Records, Value};
use pyralog_agent::ring::{Budget, ColumnBatch, ColumnSlice, Now, ReadRange, Ring, RingConfig};
use pyralog_segment::ColumnType;

const NOW: Now = Now { unix_ns: 0, mono: Duration::ZERO };

fn new_ring(memory: u64) -> Ring {
    Ring::new(RingConfig::default(), Budget::new(memory))
}

fn appends(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1_000));
    let times: Vec<i64> = (0..1_000).collect();
    let values: Vec<f64> = times.iter().map(|t| *t as f64 / 10.0).collect();

    group.bench_function("yardstick: Vec", |b| {
        let (mut t, mut v) = (Vec::with_capacity(8192), Vec::with_capacity(8192));
        b.iter(|| {
            if t.len() + 1_000 > 8192 {
                black_box((&t, &v));
                (t, v) = (Vec::with_capacity(8192), Vec::with_capacity(8192));
            }
            t.extend_from_slice(black_box(&times));
            v.extend_from_slice(black_box(&values));
        });
    });
    group.bench_function("one record at a time, writer (aim 100 M/s)", |b| {
        let ring = new_ring(8 << 20);
        let mut writer = ring.writer("bench", &[("x", ColumnType::F64)]).unwrap();
        b.iter(|| {
            for (time, value) in times.iter().zip(&values) {
                writer.push(black_box(*time), &[Value::F64(*value)], NOW).unwrap();
            }
        });
    });
    group.bench_function("one record at a time, decoded", |b| {
        let ring = new_ring(8 << 20);
        let mut records = Records::new();
        b.iter(|| {
            for (time, value) in times.iter().zip(&values) {
                records.clear();
                records.begin("bench", Some(*time));
                records.push("x", Value::F64(*value));
                records.finish();
                ring.append(black_box(&records), NOW).unwrap();
            }
        });
    });
    group.bench_function("1,000 records by columns (aim 1 G/s)", |b| {
        let ring = new_ring(8 << 20);
        let columns = [("x", ColumnSlice::F64(&values))];
        b.iter(|| {
            ring.append_columns("bench", black_box(&ColumnBatch { times: &times, columns: &columns }), NOW).unwrap()
        });
    });
    group.finish();

    let mut group = c.benchmark_group("append wide");
    group.throughput(Throughput::Elements(13));
    group.bench_function("one record of 13 cells, decoded", |b| {
        let ring = new_ring(8 << 20);
        let names: Vec<String> = (0..12).map(|i| format!("reading_{i}")).collect();
        let mut records = Records::new();
        b.iter(|| {
            records.clear();
            records.begin("bench", Some(1));
            records.push("station", Value::Tag("north"));
            names.iter().for_each(|name| records.push(name, Value::F64(1.5)));
            records.finish();
            ring.append(black_box(&records), NOW).unwrap();
        });
    });
    group.finish();
}

fn filled(rows: i64, pack: bool) -> Ring {
    let ring = new_ring(256 << 20);
    let times: Vec<i64> = (0..rows).map(|i| i * 1_000_000).collect();
    let values: Vec<f64> = (0..rows).map(|i| ((i as f64 / 500.0).sin() * 100.0).round() / 10.0).collect();
    let columns = [("x", ColumnSlice::F64(&values))];
    ring.append_columns("bench", &ColumnBatch { times: &times, columns: &columns }, NOW).unwrap();
    while pack && ring.pack_next() {}
    ring
}

fn scan(ring: &Ring, range: ReadRange) -> (usize, i64, f64) {
    let mut reader = ring.read("bench", range).unwrap();
    let mut sums = (0, 0_i64, 0.0);
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let times = &chunk.batch.column(0).as_primitive::<TimestampNanosecondType>().values()[chunk.rows.clone()];
        let values = &chunk.batch.column(1).as_primitive::<Float64Type>().values()[chunk.rows.clone()];
        sums.0 += chunk.rows.len();
        sums.1 = times.iter().fold(sums.1, |sum, time| sum.wrapping_add(*time));
        // Four sums side by side: floats added one after the other would measure the adder's latency.
        let mut lanes = [0.0; 8];
        for eight in values.chunks_exact(8) {
            lanes.iter_mut().zip(eight).for_each(|(lane, value)| *lane += value);
        }
        sums.2 += lanes.iter().sum::<f64>();
    }
    sums
}

fn reads(c: &mut Criterion) {
    const ROWS: u64 = 1 << 20;
    for (name, pack) in [("sealed", false), ("packed", true)] {
        let ring = filled(ROWS as i64, pack);
        let mut group = c.benchmark_group(format!("read {name}"));
        group.throughput(Throughput::Elements(ROWS));
        group.sample_size(20);
        group.bench_function("scan of 1 Mi records (aim 2.4 G/s)", |b| b.iter(|| scan(&ring, ReadRange::default())));
        group.throughput(Throughput::Elements(1_000));
        let mut from = 0;
        group.bench_function("1,000 records by offset (aim 100 M/s)", |b| {
            b.iter(|| {
                from = (from + 7_919 * 101) % (ROWS - 1_000);
                scan(&ring, ReadRange { from_offset: Some(from), limit: Some(1_000), ..ReadRange::default() })
            });
        });
        group.finish();
    }
}

/// Not a mean but a tail, so measured by hand: each append on its own while another thread packs all the time.
fn latency(_: &mut Criterion) {
    let ring = new_ring(64 << 20);
    let stop = AtomicBool::new(false);
    let mut nanos = Vec::with_capacity(2_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if !ring.pack_next() {
                    std::thread::yield_now();
                }
            }
        });
        let mut records = Records::new();
        for i in 0..2_000_000_i64 {
            records.clear();
            records.begin("bench", Some(i * 1_000));
            for name in ["a", "b", "c", "d"] {
                records.push(name, Value::F64((i % 1_000) as f64 / 8.0));
            }
            records.finish();
            let start = Instant::now();
            ring.append(&records, NOW).unwrap();
            nanos.push(start.elapsed().as_nanos() as u64);
        }
        stop.store(true, Ordering::Relaxed);
    });
    nanos.sort_unstable();
    let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize];
    println!(
        "append of 4 readings while packing: median {} ns, p99 {} ns, p99.9 {} ns, worst {} us; {} segments packed",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0) / 1_000,
        ring.status().packed_segments
    );
}

criterion_group!(benches, appends, reads, latency);
criterion_main!(benches);

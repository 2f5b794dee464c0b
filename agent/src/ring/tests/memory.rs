//! The memory promise, by the counter; the process itself is measured elsewhere.

use pyralog_segment::Encoding;

use super::*;

#[test]
fn at_full_speed_the_counter_stays_under_the_cap() {
    let ring = ring(4 << 20, |config| config.segment_rows = 8192);
    let names: Vec<String> = (0..13).map(|i| format!("reading-{i}")).collect();
    for i in 0..60_000 {
        for log in ["fast", "faster"] {
            let mut records = Records::new();
            records.begin(log, Some(i));
            // Digits without a pattern, so that packing cannot keep up with them.
            for (k, name) in (1..).zip(&names) {
                let noise = (i * 13 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) as f64;
                records.push(name, Value::F64(noise * 1e-3));
            }
            records.finish();
            assert_eq!(ring.append(&records, at(0)).unwrap().rows, 1);
        }
        assert!(ring.budget().used() <= ring.budget().cap());
        if i % 3_000 == 0 {
            ring.pack_next();
        }
    }
    ring.check_invariants();
    let status = ring.status();
    assert!(status.unpacked_segments as u64 <= status.sealed_segments - status.evicted_segments);
    assert!(ring.log("fast").unwrap().account.receipted[0] > 0);
}

#[test]
fn a_thousand_logs_in_little_memory_are_sealed_early_and_keep_working() {
    let ring = ring(8 << 20, |config| config.segment_rows = 8192);
    let text = "x".repeat(200);
    for round in 0..30 {
        for log in 0..1_000 {
            let cells = [("a", Value::F64(1.0)), ("b", Value::I64(round)), ("c", Value::Utf8(&text))];
            let done = ring.append(&record(&format!("log-{log}"), round, &cells), at(0)).unwrap();
            assert_eq!((done.rows + done.rejected, done.rejected_cells), (1, 0));
        }
        assert!(ring.budget().used() <= ring.budget().cap());
        ring.check_invariants();
        pack_all(&ring);
    }
    let status = ring.status();
    assert!(status.sealed_segments > 0, "open segments gave way before they were full");
    assert!(status.open_bytes <= 2 << 20);
}

#[test]
fn under_reject_nothing_uncommitted_is_dropped_and_refusals_end_when_the_hub_has_taken_some() {
    let ring = ring(1 << 20, |config| config.eviction_policy = EvictionPolicy::Reject);
    let mut accepted = 0;
    let refused = loop {
        match ring.append(&record("a", accepted, &[("x", Value::F64(accepted as f64))]), at(0)) {
            Ok(done) => accepted += done.rows as i64,
            Err(error) => break error,
        }
        assert!(accepted < 1_000_000);
    };
    assert_eq!(refused, AppendError::Full { done: Appended::default() });
    assert_eq!(ring.log("a").unwrap().account.pending, accepted as u64);
    let half = accepted as u64 / 128 * 64;
    ring.apply_cursor("a", half, [0; 4]).unwrap();
    fill(&ring, "a", 64);
    ring.check_invariants();
    assert_eq!(ring.log("a").unwrap().account.receipted, [0; 4]);
}

#[test]
fn a_ring_that_is_full_under_reject_has_room_for_the_batch_that_will_empty_it() {
    for watermark in [0.9, 1.0] {
        for rows in [1, 64] {
            let ring = ring(2 << 20, |config| {
                config.eviction_policy = EvictionPolicy::Reject;
                config.eviction_watermark = watermark;
                config.segment_rows = rows;
            });
            let full = (0..20_000).find(|n| {
                // Bytes without a pattern, so that packing gains nothing.
                let noise = |k: u64| ((n * 900 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8;
                let bytes: Vec<u8> = (0..900).map(noise).collect();
                let cells = [("n", Value::U64(*n)), ("t", Value::Binary(&bytes))];
                let full = ring.append(&record("a", *n as i64, &cells), at(0)).is_err();
                pack_all(&ring);
                full
            });
            assert!(full.is_some());
            let batch = ring.budget().cap() / 8;
            assert!(ring.reserve(batch).is_ok(), "{} bytes used, {batch} wanted", ring.budget().used());
        }
    }
}

#[test]
fn a_ring_that_packing_made_larger_under_reject_is_emptied_all_the_same() {
    let ring = ring(1 << 20, |config| {
        config.eviction_policy = EvictionPolicy::Reject;
        config.encoding = Encoding::ArrowZstd;
        config.segment_rows = 1;
    });
    let names: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    let cells: Vec<_> = names.iter().map(|name| (name.as_str(), Value::F64(0.5))).collect();
    let full = (0..20_000).find(|n| ring.append(&record("a", *n, &cells), at(0)).is_err());
    assert!(full.is_some());
    pack_all(&ring);
    assert!(ring.budget().used() <= ring.budget().cap());
    let batch = ring.budget().cap() / 8;
    assert!(ring.reserve_for(Use::Batch, batch).is_ok());
    // And if all is taken by others who will not give it back, a batch gets through: nothing else frees what it ships.
    let _others = ring.budget().reserve(ring.budget().available()).unwrap();
    assert!(ring.reserve_for(Use::Large, batch).is_err());
    assert_eq!(ring.reserve_for(Use::Batch, batch).map(|held| held.bytes()), Ok(batch));
}

#[test]
fn packing_never_takes_more_than_sealing_was_charged_for() {
    let noise = |seed: usize, len: usize| -> String {
        (0..len).map(|k| char::from(33 + ((seed * 131 + k) as u64 * 2_654_435_761 % 90) as u8)).collect()
    };
    for encoding in [Encoding::Packed, Encoding::ArrowZstd] {
        for (rows, width, len) in [(1, 1, 1), (1, 8, 40), (3, 3, 7), (9, 2, 300), (64, 4, 0)] {
            let ring = ring(32 << 20, |config| (config.encoding, config.segment_rows) = (encoding, 8192));
            let texts: Vec<_> = (0..rows * width).map(|n| noise(n, len)).collect();
            for row in 0..rows {
                let names: Vec<_> = (0..width * 6).map(|n| format!("column {n}")).collect();
                let cells = names.iter().enumerate().map(|(n, name)| {
                    let text = texts[row * width + n / 6].as_str();
                    let value = match n % 6 {
                        0 => Value::Tag(text),
                        1 => Value::Utf8(text),
                        2 => Value::Binary(text.as_bytes()),
                        3 => Value::F64((row + n) as f64 * 0.7),
                        4 => Value::I64((row as i64) << n),
                        _ => Value::Bool(row % 2 == 0),
                    };
                    (name.as_str(), value)
                });
                ring.append(&record("a", row as i64, &cells.collect::<Vec<_>>()), at(0)).unwrap();
            }
            ring.seal_all(at(0));
            let before = ring.status().segment_bytes;
            pack_all(&ring);
            let after = ring.status().segment_bytes;
            assert!(after <= before, "{encoding:?}, {rows} x {width} x {len}: {before} became {after}");
        }
    }
}

#[test]
fn guests_cannot_push_out_all_records() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 60_000);
    let before = ring.log("a").unwrap().rows;
    let mut held = Vec::new();
    while let Ok(guest) = ring.reserve(10_000) {
        held.push(guest);
        assert!(held.len() < 100);
    }
    assert!(ring.reserve(u64::MAX).is_err());
    assert!(ring.log("a").unwrap().rows > before / 4);
    fill(&ring, "a", 1_000);
    ring.check_invariants();
    drop(held);
}

#[test]
fn the_budget_is_given_back_when_the_ring_and_its_readers_are_gone() {
    let budget = Budget::new(4 << 20);
    let ring = Ring::new(RingConfig { segment_rows: 64, ..RingConfig::default() }, budget.clone());
    fill(&ring, "a", 300);
    ring.pack_next();
    ring.pack_next();
    let segment = ring.segment_at("a", 64).unwrap();
    let mut reader = ring.read("a", ReadRange::default()).unwrap();
    let chunk = reader.next_chunk().unwrap().unwrap();
    drop((ring, reader));
    assert!(budget.used() > 0, "bytes in flight stay charged");
    drop((segment, chunk));
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_packer_and_the_sender_are_woken() {
    let ring = ring(1 << 20, |_| {});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    ring.events().set_pending_threshold(1);
    fill(&ring, "a", 64);
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), ring.events().sealed()).await.unwrap();
        assert!(ring.pack_next());
        tokio::time::timeout(Duration::from_secs(10), ring.events().pending()).await.unwrap();
    });
}

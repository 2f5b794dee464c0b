//! Reads while the ring moves on.

use super::*;

#[test]
fn a_range_of_offsets_and_a_limit_are_kept_to() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 200);
    pack_all(&ring);
    let range = ReadRange { from_offset: Some(60), limit: Some(80), ..ReadRange::default() };
    let offsets: Vec<_> = read_all(&ring, "a", range).iter().map(|row| row.0).collect();
    assert_eq!(offsets, (60..140).collect::<Vec<_>>());
    assert!(read_all(&ring, "a", ReadRange { from_offset: Some(200), ..ReadRange::default() }).is_empty());
    assert!(read_all(&ring, "a", ReadRange { from_offset: Some(u64::MAX), ..ReadRange::default() }).is_empty());
    assert!(read_all(&ring, "a", ReadRange { limit: Some(0), ..ReadRange::default() }).is_empty());
    assert!(ring.read("b", ReadRange::default()).is_none());
}

#[test]
fn a_range_of_times_finds_records_that_came_out_of_order() {
    let ring = ring(1 << 20, |_| {});
    for i in 0..300 {
        let time = i * 7919 % 300;
        ring.append(&record("a", time, &[("i", Value::I64(i))]), at(0)).unwrap();
    }
    pack_all(&ring);
    let range = ReadRange { from_time: Some(100), to_time: Some(110), ..ReadRange::default() };
    let mut times: Vec<_> = read_all(&ring, "a", range).iter().map(|row| row.1).collect();
    times.sort_unstable();
    assert_eq!(times, (100..110).collect::<Vec<_>>());
}

#[test]
fn eviction_goes_on_under_a_slow_reader_which_sees_a_gap() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 1_000);
    let mut reader = ring.read("a", ReadRange::default()).unwrap();
    let first = reader.next_chunk().unwrap().unwrap();
    assert_eq!((first.base, first.rows.clone()), (0, 0..64));
    let all = ring.budget().cap() / 8 * 3;
    while ring.log("a").unwrap().tail < 500 {
        assert!(ring.shared.state.lock().evict_one());
    }
    let tail = ring.log("a").unwrap().tail;
    let next = reader.next_chunk().unwrap().unwrap();
    assert_eq!(next.base, tail);
    assert_eq!(time_of(&first, 63), 63, "what a reader holds stays valid");
    let mut rows = next.rows.len();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        rows += chunk.rows.len();
    }
    assert_eq!(rows as u64, 1_000 - tail);
    drop((first, next, reader));
    assert!(ring.reserve(all).is_ok(), "and nothing stays charged");
    ring.check_invariants();
}

#[test]
fn a_reader_ends_at_the_head_it_started_with() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 10);
    let mut reader = ring.read("a", ReadRange::default()).unwrap();
    fill(&ring, "a", 100);
    let chunk = reader.next_chunk().unwrap().unwrap();
    assert_eq!(chunk.rows, 0..10);
    assert!(reader.next_chunk().unwrap().is_none());
    assert_eq!(reader.next_offset(), 10, "from where a new reader would go on");
}

#[test]
fn a_read_without_memory_fails_and_can_be_retried() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 640);
    pack_all(&ring);
    let hog = ring.reserve(ring.budget().cap() / 8 * 3).unwrap();
    let mut reader = ring.read("a", ReadRange::default()).unwrap();
    assert!(matches!(reader.next_chunk(), Err(ReadError::Memory(_))));
    drop(hog);
    assert_eq!(reader.next_chunk().unwrap().unwrap().rows, 0..64);
}

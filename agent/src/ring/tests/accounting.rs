//! The account: accepted = committed + pending + receipted.

use super::*;
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::SegmentMeta;
use pyralog_sync_protocol::{ChainHash, Fingerprint};

fn account(ring: &Ring, log: &str) -> Account {
    ring.check_invariants();
    ring.log(log).unwrap().account
}

fn evict(ring: &Ring, segments: usize) {
    for _ in 0..segments {
        assert!(ring.shared.state.lock().evict_one());
    }
}

#[test]
fn an_evicted_segment_is_a_loss_with_its_times_and_hash() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 4 + 10);
    ring.pack_next();
    ring.pack_next();
    let second = ring.segment_at("a", 64).unwrap();
    evict(&ring, 3);
    assert_eq!(account(&ring, "a"), Account { accepted: 266, committed: 0, pending: 74, receipted: [192, 0, 0, 0] });
    let loss = ring.loss("a", 0).unwrap();
    assert_eq!((loss.from, loss.to, loss.reason, loss.min_time, loss.max_time), (0, 192, LossReason::Evicted, 0, 191));
    assert_eq!(loss.hash, second.hash, "the third was never packed, so the chain stands after the second");
    assert_eq!(ring.loss("a", 100).unwrap().from, 100);
    assert_eq!(ring.loss("a", 192), None);
}

#[test]
fn the_chain_runs_on_over_a_gap() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 5);
    ring.pack_next();
    evict(&ring, 2);
    let loss = ring.loss("a", 0).unwrap();
    pack_all(&ring);
    let mut hash = loss.hash;
    for base in [128, 192, 256] {
        let segment = ring.segment_at("a", base).unwrap();
        let meta = SegmentMeta {
            base: segment.base,
            rows: segment.rows,
            min_time: segment.min_time,
            max_time: segment.max_time,
            encoding: segment.encoding as u8,
            schema: Fingerprint(segment.fingerprint),
        };
        hash = link(ChainHash(hash), &meta, &segment.body).0;
        assert_eq!(segment.hash, hash);
    }
}

#[test]
fn committed_segments_stay_for_reads_and_leave_first() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "old", 64 * 2);
    fill(&ring, "new", 64 * 2);
    pack_all(&ring);
    ring.apply_cursor("new", 128, [0; 4]).unwrap();
    assert_eq!(account(&ring, "new"), Account { accepted: 128, committed: 128, ..Account::default() });
    assert_eq!(read_all(&ring, "new", ReadRange::default()).len(), 128);
    evict(&ring, 2);
    assert_eq!(ring.log("new").unwrap().rows, 0);
    assert_eq!(ring.log("old").unwrap().rows, 128);
    assert_eq!(account(&ring, "new").receipted, [0; 4]);
    evict(&ring, 1);
    assert_eq!(account(&ring, "old").receipted, [64, 0, 0, 0]);
}

#[test]
fn a_late_answer_changes_nothing_and_an_impossible_one_is_refused() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 3);
    ring.apply_cursor("a", 128, [0; 4]).unwrap();
    ring.apply_cursor("a", 64, [64, 0, 0, 0]).unwrap();
    assert_eq!(account(&ring, "a").committed, 128);
    assert!(matches!(ring.apply_cursor("a", 193, [0; 4]), Err(CursorError::Impossible { .. })));
    assert!(matches!(ring.apply_cursor("a", 192, [193, 0, 0, 0]), Err(CursorError::Impossible { .. })));
    assert!(matches!(ring.apply_cursor("a", 192, [u64::MAX; 4]), Err(CursorError::Impossible { .. })));
    assert!(matches!(ring.apply_cursor("b", 0, [0; 4]), Err(CursorError::UnknownLog)));
    assert_eq!(account(&ring, "a").committed, 128);
}

#[test]
fn a_loss_is_final_only_when_the_hub_says_so() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 4);
    pack_all(&ring);
    evict(&ring, 2);
    assert_eq!(account(&ring, "a").receipted[0], 128);
    // The answer that the first segment was durable comes only now.
    ring.apply_cursor("a", 64, [0; 4]).unwrap();
    assert_eq!(account(&ring, "a"), Account { accepted: 256, committed: 64, pending: 128, receipted: [64, 0, 0, 0] });
    assert_eq!(ring.loss("a", 64).unwrap().to, 128);
    ring.apply_cursor("a", 192, [64, 0, 0, 0]).unwrap();
    assert_eq!(account(&ring, "a"), Account { accepted: 256, committed: 128, pending: 64, receipted: [64, 0, 0, 0] });
}

#[test]
fn a_segment_that_the_hub_cannot_take_becomes_a_loss_in_the_middle() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 4);
    pack_all(&ring);
    let bad = ring.segment_at("a", 64).unwrap();
    assert!(!ring.mark_corrupt("a", 63));
    assert!(ring.mark_corrupt("a", 64));
    assert!(!ring.mark_corrupt("a", 64));
    assert_eq!(account(&ring, "a"), Account { accepted: 256, committed: 0, pending: 192, receipted: [0, 0, 0, 64] });
    let loss = ring.loss("a", 64).unwrap();
    assert_eq!((loss.to, loss.reason, loss.hash), (128, LossReason::Corrupt, bad.hash));
    assert_eq!(ring.loss("a", 0), None);
    assert_eq!(
        ring.status().pending_bytes,
        [0, 128, 192].map(|o| ring.segment_at("a", o).unwrap().body.len() as u64).iter().sum::<u64>()
    );
    evict(&ring, 2);
    assert_eq!(account(&ring, "a").receipted, [128, 0, 0, 64]);
    assert_eq!(ring.loss("a", 0).unwrap().to, 64);
    assert_eq!(ring.loss("a", 64).unwrap().reason, LossReason::Corrupt);
    assert_eq!(ring.loss("a", 128).unwrap().to, 192);
}

#[test]
fn a_hub_with_an_empty_store_gets_what_the_ring_still_has_and_a_receipt_for_the_rest() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 4);
    pack_all(&ring);
    let second = ring.segment_at("a", 64).unwrap();
    ring.apply_cursor("a", 256, [0; 4]).unwrap();
    evict(&ring, 2);
    assert_eq!(ring.reset_cursor("a", 0, [0; 4]), Ok(256));
    assert_eq!(ring.reset_cursor("a", 0, [0; 4]), Ok(0));
    assert_eq!(account(&ring, "a"), Account { accepted: 256, committed: 0, pending: 128, receipted: [128, 0, 0, 0] });
    let loss = ring.loss("a", 0).unwrap();
    assert_eq!((loss.from, loss.to, loss.hash), (0, 128, second.hash));
    assert_eq!((loss.min_time, loss.max_time), (0, 127));
}

#[test]
fn the_receipt_for_a_hub_with_an_empty_store_leads_the_chain_over_what_was_dropped_from_the_middle() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 64 * 3);
    pack_all(&ring);
    let bad = ring.segment_at("a", 64).unwrap();
    assert!(ring.mark_corrupt("a", 64));
    evict(&ring, 1);
    // The hub has it all, and then nothing.
    ring.apply_cursor("a", 192, [64, 0, 0, 64]).unwrap();
    ring.reset_cursor("a", 0, [0; 4]).unwrap();
    let loss = ring.loss("a", 0).unwrap();
    assert_eq!((loss.to, loss.hash), (128, bad.hash));
}

#[test]
fn runway_is_the_room_left_over_the_rate_of_arrival() {
    let ring = ring(1 << 20, |config| config.segment_rows = 8192);
    assert_eq!(ring.runway(at(0)), None);
    for second in 0..20 {
        fill(&ring, "a", 10);
        ring.seal_due(at(second));
    }
    let runway = ring.runway(at(20)).unwrap().as_secs_f64();
    // 160 raw bytes a second, not packed yet, into 90 % of 1 MiB.
    assert!((5_000.0..6_500.0).contains(&runway), "{runway}");
    ring.seal_all(at(20));
    ring.apply_cursor("a", 200, [0; 4]).unwrap();
    assert_eq!(ring.runway(at(20)), None, "nothing is pending");
}

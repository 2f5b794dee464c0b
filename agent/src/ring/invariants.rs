//! The ring's promises to itself, asserted in tests and debug builds.

use std::collections::BTreeSet;

use super::log::Log;
use super::loss::Losses;
use super::ring::Ring;
use super::segment::Body;
use super::state::State;

impl Ring {
    /// Panics if the ring broke one of its invariants. Slow: for model tests and simulations.
    pub fn check_invariants(&self) {
        let state = self.shared.state.lock();
        state.check();
        let guests = self.shared.guests.used();
        // Readers and the packer may hold more: segments that were evicted under them, scratch.
        let known = state.evictable + state.open_bytes + state.fixed_bytes + guests;
        assert!(known <= state.budget.used(), "{known} bytes are known of, {} are charged", state.budget.used());
    }
}

impl State {
    fn check(&self) {
        let (mut committed, mut uncommitted) = (BTreeSet::new(), BTreeSet::new());
        let (mut evictable, mut open_bytes, mut fixed, mut pending) = (0, 0, 0, 0);
        for (at, log) in self.logs.iter().enumerate() {
            log.check();
            fixed += log.fixed.bytes();
            if let Some(open) = &log.open {
                assert!(open.heap_bytes() as u64 <= open.held.bytes(), "open builders are charged");
                assert_eq!(open.columns.len(), log.schema.columns().len());
                assert!(open.rows < self.limits.rows, "a full segment is sealed at once");
                open_bytes += open.held.bytes();
            }
            for segment in &log.segments {
                evictable += u64::from(segment.charge);
                let queue = if log.has_committed(segment) { &mut committed } else { &mut uncommitted };
                queue.insert((segment.seq, at as u32));
                match &segment.body {
                    Body::Packed { bytes, .. } if !log.has_committed(segment) => pending += bytes.len() as u64,
                    Body::Packed { .. } => {}
                    Body::Sealed(_) => {
                        let key = (segment.seq, at as u32);
                        assert!(self.packing == Some(key) || self.unpacked.contains(&key), "it waits for the packer");
                    }
                }
            }
        }
        assert_eq!((&committed, &uncommitted), (&self.committed, &self.uncommitted));
        assert_eq!(evictable, self.evictable);
        assert_eq!(open_bytes, self.open_bytes);
        assert_eq!(fixed, self.fixed_bytes);
        assert_eq!(pending, self.pending_packed);
    }
}

impl Log {
    fn check(&self) {
        let account = self.account();
        let receipted: u64 = account.receipted.iter().sum();
        assert_eq!(account.accepted, account.committed + account.pending + receipted, "{account:?}");
        assert!(self.losses.len() <= Losses::CAP);

        // Everything from the cursor to the head is in exactly one place.
        let mut next = self.cursor.next_offset;
        while next < self.head {
            let segment = self.segments.get(self.position(next)).filter(|segment| segment.base <= next);
            let open = self.open.as_ref().filter(|open| open.base <= next);
            let loss = self.loss(next);
            assert_eq!(usize::from(segment.is_some()) + usize::from(open.is_some()) + usize::from(loss.is_some()), 1);
            next = match (segment, loss) {
                (Some(segment), _) => segment.end(),
                (_, Some(loss)) => loss.to,
                _ => self.head,
            };
        }
        for pair in self.segments.iter().zip(self.segments.iter().skip(1)) {
            assert!(pair.0.end() <= pair.1.base && pair.0.seq < pair.1.seq);
            let packed = |body: &Body| matches!(body, Body::Packed { .. });
            assert!(packed(&pair.0.body) || !packed(&pair.1.body), "packing goes in order");
        }
        for pair in self.losses.iter().zip(self.losses.iter().skip(1)) {
            assert!(pair.0.to <= pair.1.from);
        }
        if let Some(open) = &self.open {
            assert_eq!(open.end(), self.head);
            assert!(self.segments.back().is_none_or(|segment| segment.end() <= open.base));
        }
    }
}

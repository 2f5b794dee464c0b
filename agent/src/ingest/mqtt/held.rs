//! Bytes that a connection has to keep, and the reservation that pays for them.

use super::{
    budget::{ConnectionBudget, Reserved},
    limits,
};

/// Bytes kept for one connection: the beginning of a packet, or answers that the peer does not read.
///
/// Invariant: a capacity over [`limits::FREE_BUFFER`] is paid for by `charge`; below, the connection's own charge covers it.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    charge: Option<Reserved>,
}

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that fit without more memory.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity().max(limits::FREE_BUFFER)
    }

    /// Makes room for `total` bytes in all; `false`, and nothing changed, if there is no memory for them.
    pub(super) fn make_room(&mut self, total: usize, budget: &dyn ConnectionBudget) -> bool {
        if total <= self.bytes.capacity() {
            return true;
        }
        if total > limits::FREE_BUFFER {
            // Reserved while the old one is still held: for a moment both buffers exist.
            let Some(charge) = budget.reserve(total as u64) else { return false };
            self.charge = Some(charge);
        }
        self.bytes.reserve_exact(total.max(limits::FREE_BUFFER / 2) - self.bytes.len());
        true
    }

    /// Appends `bytes`; `false`, and nothing kept of them, if there is no memory.
    pub(super) fn keep(&mut self, bytes: &[u8], budget: &dyn ConnectionBudget) -> bool {
        let room = self.make_room(self.bytes.len() + bytes.len(), budget);
        if room {
            self.bytes.extend_from_slice(bytes);
        }
        room
    }

    /// Drops the first `count` bytes. An empty buffer gives memory beyond the free allowance back.
    pub(super) fn discard(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() && self.bytes.capacity() > limits::FREE_BUFFER {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::mqtt::budget::Unlimited;

    struct Nothing;

    impl ConnectionBudget for Nothing {
        fn reserve(&self, _: u64) -> Option<Reserved> {
            None
        }
    }

    #[test]
    fn a_little_is_free_and_more_is_paid_for() {
        let mut held = Held::default();
        assert!(held.keep(&[1; limits::FREE_BUFFER], &Nothing));
        assert!(!held.keep(&[2], &Nothing));
        assert_eq!(held.len(), limits::FREE_BUFFER);
        assert!(held.keep(&[2], &Unlimited));
        held.discard(limits::FREE_BUFFER);
        assert_eq!(held.bytes(), [2]);
        held.discard(1);
        assert!(held.charge.is_none());
        assert_eq!(held.bytes.capacity(), 0);
    }
}

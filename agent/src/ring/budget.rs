//! The one memory budget: everything that data can make grow is charged here before it is allocated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// A count of bytes with a cap; reservations take from it and give back when they are dropped.
///
/// A budget may have a parent: then each byte counts in both, and the child's cap bounds what one kind of use (say, all
/// requests together) can take from the whole. Invariant: `used` is the sum of the live reservations. It stays at or under
/// `cap`, but for the few bytes of bookkeeping that the ring must keep to stay exact (see `force`).
#[derive(Debug)]
pub struct Budget {
    cap: u64,
    used: AtomicU64,
    parent: Option<Arc<Budget>>,
}

/// The budget cannot give the bytes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "memory budget exhausted: {wanted} bytes wanted, {used} of {cap} in use; retry later, ask for less, or raise max_memory"
)]
pub struct Exhausted {
    /// Bytes asked for.
    pub wanted: u64,
    /// Bytes in use at that moment.
    pub used: u64,
    /// The cap of the budget that refused.
    pub cap: u64,
}

impl Budget {
    /// A budget of `cap` bytes.
    pub fn new(cap: u64) -> Arc<Self> {
        Arc::new(Self { cap, used: AtomicU64::new(0), parent: None })
    }

    /// A budget of at most `cap` bytes whose reservations count in `self` as well.
    pub fn child(self: &Arc<Self>, cap: u64) -> Arc<Self> {
        Arc::new(Self { cap, used: AtomicU64::new(0), parent: Some(Arc::clone(self)) })
    }

    /// Takes `bytes`, or says that they are not there. Nothing is evicted here: `Ring::reserve` does that.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, Exhausted> {
        self.take(bytes)?;
        Ok(Reservation { budget: Arc::clone(self), bytes })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Most bytes that may be in use.
    pub fn cap(&self) -> u64 {
        self.cap
    }

    /// Bytes that are free.
    pub fn available(&self) -> u64 {
        self.cap.saturating_sub(self.used())
    }

    /// Takes `bytes` even beyond the cap: for bookkeeping of a few hundred bytes, and for work that frees more than it takes.
    pub(super) fn force(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.add(bytes);
        Reservation { budget: Arc::clone(self), bytes }
    }

    fn take(&self, bytes: u64) -> Result<(), Exhausted> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.cap);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|used| Exhausted {
            wanted: bytes,
            used,
            cap: self.cap,
        })?;
        let Some(parent) = &self.parent else { return Ok(()) };
        parent.take(bytes).inspect_err(|_| {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.add(bytes);
        }
    }

    fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "gave back {bytes} of {before}");
        if let Some(parent) = &self.parent {
            parent.give(bytes);
        }
    }
}

/// Bytes taken from a [`Budget`]; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `more` bytes; on an error nothing changes.
    pub fn grow(&mut self, more: u64) -> Result<(), Exhausted> {
        self.budget.take(more)?;
        self.bytes += more;
        Ok(())
    }

    /// Gives `less` bytes back, at most all.
    pub fn shrink(&mut self, less: u64) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.budget.give(less);
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        self.shrink(self.bytes.saturating_sub(bytes));
    }

    /// Moves `bytes` (at most all) into a reservation of their own.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: Arc::clone(&self.budget), bytes }
    }

    /// Takes in what another reservation of the same budget holds.
    pub(super) fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget, &other.budget));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Holds exactly `bytes` from now on, even beyond the cap: see [`Budget::force`].
    pub(super) fn force_to(&mut self, bytes: u64) {
        if bytes > self.bytes {
            self.budget.add(bytes - self.bytes);
            self.bytes = bytes;
        } else {
            self.shrink_to(bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_refused_at_the_cap_and_returned_by_its_guard() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(60).unwrap();
        assert_eq!(budget.reserve(41).unwrap_err(), Exhausted { wanted: 41, used: 60, cap: 100 });
        held.grow(40).unwrap();
        assert!(held.grow(1).is_err());
        held.shrink(90);
        let part = held.split(4);
        assert_eq!((held.bytes(), part.bytes(), budget.used()), (6, 4, 10));
        drop((held, part));
        assert_eq!((budget.used(), budget.available()), (0, 100));
    }

    #[test]
    fn a_child_counts_in_its_parent_and_neither_keeps_a_refused_byte() {
        let whole = Budget::new(100);
        let part = whole.child(50);
        let mut held = part.reserve(50).unwrap();
        assert_eq!((whole.used(), part.used()), (50, 50));
        assert!(part.reserve(1).is_err(), "the child's own cap");
        held.shrink_to(10);
        let other = whole.reserve(80).unwrap();
        assert!(held.grow(20).is_err(), "the parent's cap");
        assert_eq!((whole.used(), part.used()), (90, 10));
        drop((other, held));
        assert_eq!((whole.used(), part.used()), (0, 0));
    }
}

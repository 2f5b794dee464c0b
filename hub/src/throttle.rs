//! Keeps logs short where input drives them: a line every ten seconds for each place, with a count of what was left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One place in the code that logs now and then.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Unix milliseconds of the last line.
    last: AtomicU64,
    skipped: AtomicU64,
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self { last: AtomicU64::new(0), skipped: AtomicU64::new(0) }
    }

    /// How many lines were left out since the last one, if it is time for another.
    pub(crate) fn pass(&self, every: Duration) -> Option<u64> {
        let now = crate::clock::unix_nanos().max(0).unsigned_abs() / 1_000_000;
        let last = self.last.load(Ordering::Relaxed);
        let due = now < last || now - last >= every.as_millis() as u64;
        if due && self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.skipped.swap(0, Ordering::Relaxed));
        }
        self.skipped.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Runs a logging expression at most every ten seconds at this place; `$skipped` counts what was left out.
macro_rules! every_10s {
    ($skipped:ident => $log:expr) => {{
        static THROTTLE: $crate::throttle::Throttle = $crate::throttle::Throttle::new();
        if let Some($skipped) = THROTTLE.pass(std::time::Duration::from_secs(10)) {
            $log
        }
    }};
}
pub(crate) use every_10s;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_passes_and_the_next_are_counted() {
        let throttle = Throttle::new();
        let hour = Duration::from_secs(3600);
        assert_eq!(throttle.pass(hour), Some(0));
        assert_eq!(throttle.pass(hour), None);
        assert_eq!(throttle.pass(hour), None);
        assert_eq!(throttle.pass(Duration::ZERO), Some(2));
    }
}

//! Exponential backoff with full jitter: the n-th wait is uniform in `[0, min(cap, base * 2^n)]`, so that a thousand
//! agents that lost the same hub do not come back in step (see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use core::time::Duration;

/// Waits between attempts. Its randomness comes from the caller's seed alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
    random: u64,
}

impl Backoff {
    /// Waits of at most `base` at first and `cap` in the end.
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, attempts: 0, random: seed }
    }

    /// How long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.attempts.min(30)).min(self.cap);
        // At the cap there is nothing left to count.
        self.attempts += u32::from(ceiling < self.cap);
        self.within(ceiling)
    }

    /// Forgets the failures: the last attempt succeeded.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// A uniform duration of at most `ceiling`.
    pub fn within(&mut self, ceiling: Duration) -> Duration {
        if ceiling.is_zero() {
            return ceiling;
        }
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(self.next_u64()) * (u128::from(nanos) + 1)) >> 64) as u64)
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    fn next_u64(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_start_small_again_after_a_success() {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(base, cap, 42);
        let mut longest = Duration::ZERO;
        for attempt in 0..200u32 {
            let wait = backoff.next_wait();
            assert!(wait <= cap.min(base * (1 << attempt.min(10))));
            longest = longest.max(wait);
        }
        assert!(longest > cap / 2, "jitter is full, not a sliver");
        backoff.reset();
        assert!(backoff.next_wait() <= base);
    }
}

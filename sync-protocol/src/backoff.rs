//! Exponential backoff with full jitter: the n-th wait is uniform in `[0, min(cap, base * 2^n)]`, so that a thousand
//! agents that lost the same hub do not come back in step (see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use core::time::Duration;

/// Waits between attempts. Its randomness comes from the caller's seed alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
    /// How often in a row a hub was busy, as far as that counts.
    busy: u32,
    random: u64,
}

/// Doublings of what a busy hub asks for, at most.
const BUSY_DOUBLINGS: u32 = 2;

impl Backoff {
    /// Waits of at most `base` at first and `cap` in the end.
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, attempts: 0, busy: 0, random: seed }
    }

    /// How long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.attempts.min(30)).min(self.cap);
        // At the cap there is nothing left to count.
        self.attempts += u32::from(ceiling < self.cap);
        self.within(ceiling)
    }

    /// How long to wait beyond what a busy hub asks for: at most as long again at first, and four times as long in the end.
    ///
    /// A hub that answers knows how much comes its way, so it is believed, where one that cannot be reached must be guessed at. What was
    /// waited for before it came back does not count: else those who heard `busy` first after an outage would be served a minute
    /// later than those who did not. With no wait asked for it is a failure like any other.
    pub fn next_busy_wait(&mut self, asked: Duration) -> Duration {
        if asked.is_zero() {
            return self.next_wait();
        }
        let ceiling = asked.saturating_mul(1 << self.busy).min(self.cap);
        self.busy = (self.busy + 1).min(BUSY_DOUBLINGS);
        self.within(ceiling)
    }

    /// Forgets the failures: the last attempt succeeded.
    pub fn reset(&mut self) {
        (self.attempts, self.busy) = (0, 0);
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
    use alloc::collections::BTreeMap;

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

    #[test]
    fn a_busy_hub_is_believed_and_given_up_to_four_times_what_it_asks_for() {
        let (cap, asked) = (Duration::from_secs(60), Duration::from_secs(5));
        let mut backoff = Backoff::new(Duration::from_secs(1), cap, 42);
        for _ in 0..10 {
            backoff.next_wait();
        }
        let mut longest = Duration::ZERO;
        for (attempt, ceiling) in [5, 10].into_iter().chain([20; 200]).enumerate() {
            let wait = backoff.next_busy_wait(asked);
            assert!(wait <= Duration::from_secs(ceiling), "{attempt}: {wait:?}");
            longest = longest.max(wait);
        }
        assert!(longest > Duration::from_secs(15), "{longest:?}");
        assert!(backoff.next_busy_wait(cap * 10) <= cap, "and no more than any failure takes");
        backoff.reset();
        assert!(backoff.next_busy_wait(asked) <= asked);
        assert_eq!(Backoff::new(cap, cap, 1).next_busy_wait(Duration::ZERO), Backoff::new(cap, cap, 1).next_wait());
    }

    /// A fleet that comes back at once after an outage, to hubs that take `RATE` a second and let two seconds' worth of them wait: when
    /// the last is served, in seconds, and how often hubs said that they are busy.
    fn storm(wait: fn(&mut Backoff) -> Duration) -> (u64, u64) {
        const AGENTS: u64 = 10_000;
        const RATE: u64 = 1_000;
        let mut fleet: BTreeMap<(Duration, u64), Backoff> = BTreeMap::new();
        for agent in 0..AGENTS {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), agent);
            // Minutes without a hub.
            for _ in 0..8 {
                backoff.next_wait();
            }
            fleet.insert((Duration::from_micros(agent), agent), backoff);
        }
        let (mut free_at, mut busy) = (Duration::ZERO, 0);
        while let Some(((now, agent), mut backoff)) = fleet.pop_first() {
            free_at = free_at.max(now);
            if free_at - now < Duration::from_secs(2) {
                free_at += Duration::from_secs(1) / RATE as u32;
            } else {
                busy += 1;
                fleet.insert((now + Duration::from_secs(5) + wait(&mut backoff), agent), backoff);
            }
        }
        (free_at.as_secs(), busy)
    }

    #[test]
    fn of_a_fleet_that_comes_back_at_once_nobody_waits_for_much_longer_than_the_hubs_work() {
        let (last, busy) = storm(|backoff| backoff.next_busy_wait(Duration::from_secs(5)));
        let (unfair, busy_then) = storm(Backoff::next_wait);
        std::println!("the last after {last} s, {busy} times busy; as after failures: {unfair} s, {busy_then}");
        // Ten seconds of work.
        assert!(last <= 30 && busy < 20_000, "{last} s, {busy}");
        assert!(unfair > 2 * last, "{unfair} s");
    }
}

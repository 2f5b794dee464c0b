//! Pauses between attempts: they double up to a bound, with full jitter, so that a thousand agents do not come at once.

use std::time::Duration;

use tokio::time::Instant;

/// A run of pauses.
#[derive(Debug)]
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses between a part of `least` and `most`.
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least }
    }

    /// After a success the next pause is a short one again. Says whether there had been a pause since the last success.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::replace(&mut self.next, self.least) != self.least
    }

    /// How long to wait this time: half to all of a length that doubles.
    pub(super) fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        // Without random numbers there is no jitter, and still a pause.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// When the pause that begins now ends.
    pub(super) fn next_at(&mut self) -> Instant {
        Instant::now() + self.next_pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for most in [100, 200, 400, 800, 1_000, 1_000] {
            let pause = backoff.next_pause();
            assert!((Duration::from_millis(most / 2)..=Duration::from_millis(most)).contains(&pause), "{pause:?}");
        }
        assert!(backoff.reset() && !backoff.reset());
        assert!(backoff.next_pause() <= Duration::from_millis(100));
    }
}

//! How fast data comes in, for the runway.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples of a counter of bytes over the last minutes.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

/// Least time between two samples.
const STEP: Duration = Duration::from_secs(2);

/// Most samples, and so about a minute of memory.
const SAMPLES: usize = 32;

impl Rate {
    /// Notes that the counter stands at `bytes` now.
    pub(super) fn sample(&mut self, mono: Duration, bytes: u64) {
        if self.samples.back().is_some_and(|(last, _)| mono.saturating_sub(*last) < STEP) {
            return;
        }
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((mono, bytes));
    }

    /// Bytes a second since the oldest sample, `None` while there is too little to say.
    pub(super) fn per_second(&self, mono: Duration, bytes: u64) -> Option<f64> {
        let (since, before) = self.samples.front()?;
        let seconds = mono.saturating_sub(*since).as_secs_f64();
        (seconds >= 1.0).then(|| bytes.saturating_sub(*before) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(STEP, 5), None);
        for second in 0..200 {
            rate.sample(
                Duration::from_secs(second),
                if second < 100 { second * 1_000 } else { 100_000 + (second - 100) * 10 },
            );
        }
        assert_eq!(rate.per_second(Duration::from_secs(200), 101_000), Some(10.0));
    }
}

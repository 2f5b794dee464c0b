//! Chance, all of it from the seed: each part of the world has a stream of its own, so that what one part draws does not
//! change what another meets.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The stream called `part` of the history `seed`.
    pub fn new(seed: u64, part: &str) -> Self {
        // The standard hasher has fixed keys when it is made like this.
        let mut hasher = DefaultHasher::new();
        (seed, part).hash(&mut hasher);
        Self(fastrand::Rng::with_seed(hasher.finish()))
    }

    /// A stream that begins with a draw from this one.
    pub fn fork(&mut self) -> Self {
        Self(fastrand::Rng::with_seed(self.0.u64(..)))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `limit`; 0 if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.0.u64(..limit) }
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.u64(least..=most.max(least))
    }

    /// Whether something happens that has this chance in 1,000.
    pub fn chance(&mut self, in_1000: u64) -> bool {
        in_1000 > 0 && self.0.u64(..1000) < in_1000
    }

    /// One of `all`, which is not empty.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.0.usize(..all.len())]
    }

    /// A time up to `longest`.
    pub fn within(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.between(0, longest.as_millis() as u64))
    }

    /// A time around `mean`, mostly shorter, sometimes much longer.
    pub fn about(&mut self, mean: Duration) -> Duration {
        let scale = -self.0.f64().max(1e-6).ln();
        mean.mul_f64(scale.min(8.0))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

//! A link of bytes in one direction, in virtual time: slow, and as bad as its faults say.

use std::collections::VecDeque;

use super::world::Random;

/// A byte takes so many microseconds: 115,200 baud.
const BYTE: u64 = 87;

/// Bytes under way, each with its time of arrival.
#[derive(Debug, Default)]
pub(crate) struct Link {
    under_way: VecDeque<(u64, u8)>,
    free_at: u64,
}

impl Link {
    /// How many bytes it takes at `now`: as a UART does, which has a short queue.
    pub(crate) fn room(&self, now: u64) -> usize {
        if self.free_at > now + 16 * BYTE { 0 } else { 16 }
    }

    /// Takes a byte; `faults` in 10,000 are lost, as many damaged, as many doubled.
    pub(crate) fn send(&mut self, now: u64, byte: u8, faults: u64, random: &mut Random) {
        self.free_at = self.free_at.max(now) + BYTE;
        let dice = if faults == 0 { u64::MAX } else { random.below(10_000) };
        let (byte, times) = match dice {
            d if d < faults => (byte, 0),
            d if d < 2 * faults => (byte ^ 1 << random.below(8), 1),
            d if d < 3 * faults => (byte, 2),
            _ => (byte, 1),
        };
        for _ in 0..times {
            self.under_way.push_back((self.free_at, byte));
        }
    }

    /// What has arrived by `now`.
    pub(crate) fn arrived(&mut self, now: u64) -> Vec<u8> {
        let count = self.under_way.iter().take_while(|(at, _)| *at <= now).count();
        self.under_way.drain(..count).map(|(_, byte)| byte).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.under_way.clear();
    }
}

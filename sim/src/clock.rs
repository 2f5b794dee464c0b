//! The wall clocks of agents and hubs: the world's own time, and how far off each of them is.

use std::time::Duration;

/// When histories begin: 2026-01-01, Unix nanoseconds.
const BEGINNING: i64 = 1_767_225_600_000_000_000;

/// How far each clock is off, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Clocks {
    agents: i64,
    hubs: Vec<i64>,
}

/// A way for a clock to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Jump {
    /// Some hours back.
    Back,
    /// Some years ahead.
    Ahead,
    /// To the first of January 1970, as a board without a battery starts.
    Dawn,
    /// A few milliseconds back, as time synchronisation does.
    Slew,
    /// Right again.
    Right,
}

impl Jump {
    /// Every way.
    pub const ALL: [Self; 5] = [Self::Back, Self::Ahead, Self::Dawn, Self::Slew, Self::Right];

    fn apply(self, off: &mut i64, elapsed: Duration) {
        let hour = 3_600_000_000_000;
        let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        *off = match self {
            Self::Back => off.saturating_sub(7 * hour),
            Self::Ahead => off.saturating_add(3 * 366 * 24 * hour),
            Self::Dawn => -(BEGINNING + elapsed),
            Self::Slew => off.saturating_sub(20_000_000),
            Self::Right => 0,
        };
    }
}

impl Clocks {
    /// Clocks that are right.
    pub fn new(hubs: usize) -> Self {
        Self { agents: 0, hubs: vec![0; hubs] }
    }

    /// Makes the clock of a hub jump, or that of the device when `hub` is `None`.
    pub fn jump(&mut self, hub: Option<usize>, how: Jump, elapsed: Duration) {
        match hub.and_then(|hub| self.hubs.get_mut(hub)) {
            Some(off) => how.apply(off, elapsed),
            None => how.apply(&mut self.agents, elapsed),
        }
    }

    /// What the device's clock shows, Unix nanoseconds; never before 1970, as the product's own clock.
    pub fn agent(&self, elapsed: Duration) -> i64 {
        shown(self.agents, elapsed)
    }

    /// What a hub's clock shows.
    pub fn hub(&self, hub: usize, elapsed: Duration) -> i64 {
        shown(self.hubs.get(hub).copied().unwrap_or_default(), elapsed)
    }
}

fn shown(off: i64, elapsed: Duration) -> i64 {
    let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
    BEGINNING.saturating_add(elapsed).saturating_add(off).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_jumps_to_1970_and_is_set_right_again() {
        let mut clocks = Clocks::new(1);
        let elapsed = Duration::from_secs(5);
        clocks.jump(None, Jump::Dawn, elapsed);
        assert_eq!((clocks.agent(elapsed), clocks.hub(0, elapsed)), (0, BEGINNING + 5_000_000_000));
        clocks.jump(None, Jump::Back, elapsed);
        assert_eq!(clocks.agent(elapsed), 0);
        clocks.jump(None, Jump::Right, elapsed);
        assert_eq!(clocks.agent(elapsed), clocks.hub(0, elapsed));
    }
}

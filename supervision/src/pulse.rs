//! Whether the loops of a process live: each promises when it will be heard of again.
//!
//! No clock and no tasks: callers pass the time, as a duration since any fixed start that they all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Stands for a loop that has promised nothing.
const RESTING: u64 = u64::MAX;

/// The loops of a process.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    loops: Vec<(&'static str, Beat)>,
}

/// The promise of one loop. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Beat(Arc<AtomicU64>);

/// A loop that broke its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Which one.
    pub name: &'static str,
    /// For how long it should have been heard of.
    pub by: Duration,
}

impl Pulse {
    /// A loop to be watched from its first promise on.
    pub fn watch(&mut self, name: &'static str) -> Beat {
        let beat = Beat::default();
        self.loops.push((name, beat.clone()));
        beat
    }

    /// The loop that is overdue for longest; `None` when all keep their promises.
    pub fn overdue(&self, now: Duration) -> Option<Overdue> {
        let late = self.loops.iter().filter_map(|(name, beat)| {
            let by = millis(now).checked_sub(beat.0.load(Relaxed)).filter(|by| *by > 0)?;
            Some(Overdue { name, by: Duration::from_millis(by) })
        });
        late.max_by_key(|overdue| overdue.by)
    }
}

/// One that rests, and that nobody watches.
impl Default for Beat {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(RESTING)))
    }
}

impl Beat {
    /// It will be heard of again `within` this time from `now`.
    pub fn promise(&self, now: Duration, within: Duration) {
        self.0.store(millis(now).saturating_add(millis(within)).min(RESTING - 1), Relaxed);
    }

    /// It has nothing to do, or has ended for good: it need not be heard of.
    pub fn rest(&self) {
        self.0.store(RESTING, Relaxed);
    }
}

/// Watches work from outside, where the loop itself sleeps until there is some: as long as something waits, something must
/// get done.
#[derive(Debug)]
pub struct Progress {
    beat: Beat,
    patience: Duration,
    done: Option<u64>,
}

impl Progress {
    /// One piece of work takes no longer than `patience`.
    pub fn new(beat: Beat, patience: Duration) -> Self {
        Self { beat, patience, done: None }
    }

    /// To be called every now and then: whether something `waits`, and how much was `done` since the start.
    pub fn look(&mut self, now: Duration, waits: bool, done: u64) {
        if !waits {
            self.done = None;
            self.beat.rest();
        } else if self.done != Some(done) {
            self.done = Some(done);
            self.beat.promise(now, self.patience);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(RESTING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_loop_is_overdue_when_its_promise_is_broken_and_not_before() {
        let mut pulse = Pulse::default();
        let beat = pulse.watch("upkeep");
        assert_eq!(pulse.overdue(s(1_000)), None, "who has promised nothing yet is not late");
        beat.promise(s(10), s(5));
        assert_eq!(pulse.overdue(s(15)), None);
        assert_eq!(pulse.overdue(s(17)), Some(Overdue { name: "upkeep", by: s(2) }));
        beat.promise(s(17), s(5));
        assert_eq!(pulse.overdue(s(18)), None, "it came back");
        beat.rest();
        assert_eq!(pulse.overdue(s(1_000)), None);
    }

    #[test]
    fn of_several_the_one_that_is_late_for_longest_is_named() {
        let mut pulse = Pulse::default();
        let (first, second, _third) = (pulse.watch("first"), pulse.watch("second"), pulse.watch("third"));
        first.promise(s(0), s(8));
        second.promise(s(0), s(3));
        assert_eq!(pulse.overdue(s(10)).map(|late| late.name), Some("second"));
        second.promise(s(10), s(3));
        assert_eq!(pulse.overdue(s(10)).map(|late| late.name), Some("first"));
    }

    #[test]
    fn work_that_waits_must_get_on_and_none_need_not() {
        let mut pulse = Pulse::default();
        let mut packer = Progress::new(pulse.watch("packer"), s(30));
        packer.look(s(0), false, 0);
        assert_eq!(pulse.overdue(s(100)), None, "nothing waits");
        packer.look(s(100), true, 0);
        for (now, done) in [(120, 1), (140, 2), (165, 3)] {
            packer.look(s(now), true, done);
            assert_eq!(pulse.overdue(s(now)), None);
        }
        packer.look(s(190), true, 3);
        assert_eq!(pulse.overdue(s(190)), None, "a piece may take its time");
        packer.look(s(200), true, 3);
        assert_eq!(pulse.overdue(s(200)), Some(Overdue { name: "packer", by: s(5) }));
        packer.look(s(201), true, 4);
        assert_eq!(pulse.overdue(s(201)), None);
        packer.look(s(202), false, 4);
        packer.look(s(900), true, 4);
        assert_eq!(pulse.overdue(s(901)), None, "time without work does not count");
    }

    #[test]
    fn endless_times_are_no_overflow() {
        let mut pulse = Pulse::default();
        pulse.watch("loop").promise(Duration::MAX, Duration::MAX);
        assert_eq!(pulse.overdue(Duration::MAX), None);
    }
}

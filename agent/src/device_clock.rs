//! Whether the device's clock can be believed.
//!
//! A board without a battery starts in 1970, or where it was when it was shut down, and is set once it has a network. Records that
//! bring no time of their own get the clock's time as it is, and the log `_clock` tells what it did: a record when it was never
//! set, and one for each step. Whoever adds `step_ns` to the times that an epoch has before such a record sets them right.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::records::{Records, Value};
use crate::ring::{Clock, Ring};
use crate::sync::SyncShared;
use crate::ticks::{tick, ticks};

/// The log of what the clock did.
pub const LOG: &str = "_clock";

/// 2025-01-01T00:00:00Z. This program is younger, so a clock before that was never set.
const EARLIEST_NS: i64 = 1_735_689_600_000_000_000;
/// Time services slew what is smaller.
const SMALLEST_STEP: Duration = Duration::from_secs(1);
/// Beyond this, the hub's clock and ours cannot both be right, however slow the link is.
const DOUBTFUL: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(1);
/// Changes that wait for room in the ring, at most.
const MAX_WAITING: usize = 16;

/// What is known of the clock, for the status document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockView {
    /// `set`, or `unset`: it shows a time before this program was written.
    pub state: &'static str,
    /// Jumps of a second or more since the start.
    pub steps: u64,
    /// How far the hub's clock is ahead of it, seconds; `None` before the hub has answered.
    pub hub_offset_s: Option<f64>,
}

/// What the clock has done so far.
#[derive(Debug, Default)]
pub struct DeviceClock {
    steps: AtomicU64,
}

impl DeviceClock {
    /// What is known now; `hub_offset_ns` is how far the hub's clock is ahead.
    pub fn view(&self, unix_ns: i64, hub_offset_ns: Option<i64>) -> ClockView {
        ClockView {
            state: state(unix_ns),
            steps: self.steps.load(Ordering::Relaxed),
            hub_offset_s: hub_offset_ns.map(|offset| offset as f64 / 1e9),
        }
    }
}

/// Something that the clock did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    /// What it shows now, Unix nanoseconds.
    now_ns: i64,
    /// What it would show without the step; `None`: it was never set, and was looked at for the first time.
    was_ns: Option<i64>,
    /// Since the system's start.
    up: Duration,
}

/// Looks at the clock again and again.
#[derive(Debug, Default)]
struct Watch {
    last: Option<(i64, Duration)>,
}

impl Watch {
    /// What happened since the last look: `up` is the time since the system's start, which nobody sets.
    fn look(&mut self, now_ns: i64, up: Duration) -> Option<Change> {
        let last = self.last.replace((now_ns, up));
        let Some((before_ns, before_up)) = last else {
            return (state(now_ns) == "unset").then_some(Change { now_ns, was_ns: None, up });
        };
        let passed = i64::try_from(up.saturating_sub(before_up).as_nanos()).unwrap_or(i64::MAX);
        let was_ns = before_ns.saturating_add(passed);
        let is_step = now_ns.abs_diff(was_ns) >= SMALLEST_STEP.as_nanos() as u64;
        is_step.then_some(Change { now_ns, was_ns: Some(was_ns), up })
    }
}

impl Change {
    fn put(&self, records: &mut Records) {
        records.clear();
        records.begin(LOG, Some(self.now_ns));
        records.push("state", Value::Tag(state(self.now_ns)));
        if let Some(was_ns) = self.was_ns {
            records.push("was", Value::I64(was_ns));
            records.push("step_ns", Value::I64(self.now_ns.saturating_sub(was_ns)));
        }
        records.push("up_s", Value::F64(self.up.as_secs_f64()));
        records.finish();
    }

    fn tell(&self) {
        let now = shown(self.now_ns);
        match self.was_ns {
            None => tracing::warn!(
                "this device's clock was never set, it shows {now}: records that bring no time get such times, the log {LOG} tells \
                 when it is set, and TLS takes no certificate before"
            ),
            Some(was_ns) => tracing::warn!(
                "the clock stepped from {} to {now}: times before are those of the clock as it was, the log {LOG} has the step",
                shown(was_ns)
            ),
        }
    }
}

/// Watches the clock until `stop` turns true or its sender is gone.
pub async fn run(
    known: Arc<DeviceClock>,
    ring: Ring,
    clock: Clock,
    sync: Arc<SyncShared>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut watch, mut records) = (Watch::default(), Records::new());
    let mut waiting = VecDeque::new();
    let mut is_doubtful = false;
    let mut ticks = ticks(Instant::now(), TICK);
    while tick(&mut ticks, &mut stop).await {
        let now = clock.now();
        if let Some(change) = watch.look(now.unix_ns, up()) {
            known.steps.fetch_add(u64::from(change.was_ns.is_some()), Ordering::Relaxed);
            change.tell();
            if waiting.len() < MAX_WAITING {
                waiting.push_back(change);
            }
        }
        while let Some(change) = waiting.front() {
            change.put(&mut records);
            // A full ring takes it when the hub has taken some of what is there.
            if ring.append(&records, now).is_err() {
                break;
            }
            waiting.pop_front();
        }
        let offset = sync.report().hub_offset_ns(now).unwrap_or(0);
        let was_doubtful = std::mem::replace(&mut is_doubtful, offset.unsigned_abs() > DOUBTFUL.as_nanos() as u64);
        if is_doubtful && !was_doubtful {
            let (by, way) = (offset.unsigned_abs() / 1_000_000_000, if offset > 0 { "behind" } else { "ahead of" });
            tracing::warn!(
                "this device's clock is {by} s {way} the hub's: set it, or records that bring no time are off by that"
            );
        }
    }
}

fn state(unix_ns: i64) -> &'static str {
    if unix_ns < EARLIEST_NS { "unset" } else { "set" }
}

/// Time since the system's start, sleep included.
fn up() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

fn shown(unix_ns: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0));
    humantime::format_rfc3339_seconds(SystemTime::min(time, UNIX_EPOCH + MOST_SHOWN)).to_string()
}

/// Year 9999: the formatter refuses later ones.
const MOST_SHOWN: Duration = Duration::from_secs(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const TODAY: i64 = 1_800_000_000 * SECOND;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_clock_that_goes_as_time_does_is_no_news() {
        let mut watch = Watch::default();
        for second in 0..1_000 {
            let drift = second * 1_000_000;
            assert_eq!(watch.look(TODAY + second * SECOND + drift, seconds(second as u64)), None);
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_told_once_and_its_step_with_what_it_showed_before() {
        let mut watch = Watch::default();
        assert_eq!(
            watch.look(5 * SECOND, seconds(5)),
            Some(Change { now_ns: 5 * SECOND, was_ns: None, up: seconds(5) })
        );
        assert_eq!(watch.look(6 * SECOND, seconds(6)), None);
        let step = watch.look(TODAY, seconds(8)).unwrap();
        assert_eq!((step.now_ns, step.was_ns), (TODAY, Some(8 * SECOND)));
        assert_eq!(watch.look(TODAY + SECOND, seconds(9)), None);
        let back = watch.look(7 * SECOND, seconds(10)).unwrap();
        assert_eq!(back.was_ns, Some(TODAY + 2 * SECOND));
    }

    #[test]
    fn a_sleep_of_the_whole_system_is_no_step() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(TODAY, seconds(5)), None);
        assert_eq!(watch.look(TODAY + 3_600 * SECOND, seconds(3_605)), None);
    }

    #[test]
    fn the_ends_of_time_are_steps_and_can_be_shown() {
        let mut watch = Watch::default();
        for now in [i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN] {
            let change = watch.look(now, seconds(1));
            change.unwrap().tell();
            assert!(!shown(now).is_empty());
        }
    }

    #[test]
    fn the_systems_own_time_since_its_start_goes_on() {
        let before = up();
        assert!(before > Duration::ZERO && up() >= before);
    }
}

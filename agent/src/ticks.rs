//! What is done again and again until the agent stops.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Ticks `every` so often from `first` on; those that were missed are not made up for.
pub(crate) fn ticks(first: Instant, every: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for the next tick; false if `stop` turns true first, or its sender is gone.
pub(crate) async fn tick(ticks: &mut Interval, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        stopped = stop.wait_for(|stop| *stop) => {
            drop(stopped);
            false
        }
        _ = ticks.tick() => true,
    }
}

//! Feeds the watchdog while the loops of the process keep their promises, and stops when one does not.

use std::time::Duration;

use crate::{Manager, Pulse};

/// How often the status is told to a manager that has no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(15);

/// Tells the manager at half of its watchdog's period that the process lives, if it does by `pulse`, and what it does by
/// `status`. Never ends; it belongs on the runtime that it vouches for.
///
/// A loop that is overdue gets no second chance from here: when it is heard of again in time, feeding goes on, and otherwise
/// the manager acts.
pub async fn keep_fed(manager: &Manager, pulse: &Pulse, now: impl Fn() -> Duration, status: impl Fn() -> String) {
    let pause = manager.watchdog_period().map_or(STATUS_EVERY, |period| period / 2);
    let (mut told, mut starving) = (String::new(), false);
    loop {
        let late = pulse.overdue(now());
        match late {
            None => manager.alive(),
            Some(late) if !starving => {
                let action =
                    if manager.watchdog_period().is_some() { "; the watchdog is not fed any more" } else { "" };
                let words =
                    format!("stuck: the {} loop should have been heard of {:.0?} ago{action}", late.name, late.by);
                tracing::error!("{words}");
                manager.status(&words);
                told = words;
            }
            Some(_) => {}
        }
        if starving && late.is_none() {
            tracing::warn!("all loops were heard of again");
        }
        starving = late.is_some();
        if !starving {
            let status = status();
            if status != told {
                manager.status(&status);
                told = status;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    /// What has arrived so far.
    fn heard(listener: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 2048];
        std::iter::from_fn(|| {
            let length = listener.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        })
        .take(1_000)
        .collect()
    }

    /// The runtime's clock is stopped and moves when all sleep, so each step is exact.
    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_while_all_loops_live_and_starves_when_one_is_stuck() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let manager = Manager::at(path.as_os_str(), Some(Duration::from_secs(20))).unwrap();
        let mut pulse = Pulse::default();
        let beat = pulse.watch("upkeep");
        let clock = Arc::new(AtomicU64::new(0));
        let now = {
            let clock = Arc::clone(&clock);
            move || Duration::from_secs(clock.load(Relaxed))
        };
        beat.promise(Duration::ZERO, Duration::from_secs(5));
        tokio::spawn(async move { keep_fed(&manager, &pulse, now, || "at work".to_owned()).await });

        let pass = async |seconds: u64| {
            clock.fetch_add(seconds, Relaxed);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        };
        pass(1).await;
        assert_eq!(heard(&listener), ["WATCHDOG=1", "STATUS=at work"]);
        // A promise is renewed, and another feed comes at half of the period; the same status is not told again.
        beat.promise(Duration::from_secs(1), Duration::from_secs(15));
        pass(10).await;
        assert_eq!(heard(&listener), ["WATCHDOG=1"]);
        // Now the loop is stuck.
        pass(10).await;
        let said = heard(&listener);
        assert!(said.len() == 1 && said[0].contains("the upkeep loop"), "{said:?}");
        pass(30).await;
        assert_eq!(heard(&listener), Vec::<String>::new(), "a stuck process is not vouched for");
        // It is there again.
        beat.promise(Duration::from_secs(51), Duration::from_secs(60));
        pass(10).await;
        assert_eq!(heard(&listener), ["WATCHDOG=1", "STATUS=at work"]);
    }
}

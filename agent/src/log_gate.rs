//! Keeps the journal from being filled by what peers do.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets through a few log lines a second: what peers do must not fill the journal.
#[derive(Debug, Default)]
pub(crate) struct LogGate {
    state: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    held_back: u64,
}

impl LogGate {
    const LINES: u32 = 5;
    const SPAN: Duration = Duration::from_secs(1);

    /// Whether a line may be written now, and if so how many were held back since the last.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let window = state.get_or_insert(Window { began: now, lines: 0, held_back: 0 });
        if now.saturating_duration_since(window.began) >= Self::SPAN {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines >= Self::LINES {
            window.held_back += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_log_lines_is_thinned_and_counted() {
        let gate = LogGate::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(passed, 5);
        assert_eq!(gate.pass(start + Duration::from_secs(1)), Some(95));
    }
}

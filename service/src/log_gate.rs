//! Keeps the journal from being filled by what peers do.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets through a few log lines in a span of time, and counts those that it holds back.
#[derive(Debug)]
pub struct LogGate {
    lines: u32,
    span: Duration,
    state: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    held_back: u64,
}

impl LogGate {
    /// Lets through `lines` every `span`.
    pub const fn new(lines: u32, span: Duration) -> Self {
        Self { lines, span, state: Mutex::new(None) }
    }

    /// Whether a line may be written now, and if so how many were held back since the last.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let window = state.get_or_insert(Window { began: now, lines: 0, held_back: 0 });
        if now.saturating_duration_since(window.began) >= self.span {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines >= self.lines {
            window.held_back += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

/// Five lines a second.
impl Default for LogGate {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(1))
    }
}

/// Runs a logging expression at most every ten seconds at this place; `$held_back` counts what was left out.
#[macro_export]
macro_rules! every_10s {
    ($held_back:ident => $log:expr) => {{
        static GATE: $crate::LogGate = $crate::LogGate::new(1, ::std::time::Duration::from_secs(10));
        if let Some($held_back) = GATE.pass(::std::time::Instant::now()) {
            $log
        }
    }};
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

    #[test]
    fn each_place_in_the_code_has_a_gate_of_its_own() {
        let mut lines = Vec::new();
        for turn in 0..3 {
            every_10s!(held_back => lines.push((turn, held_back)));
        }
        every_10s!(held_back => lines.push((3, held_back)));
        assert_eq!(lines, [(0, 0), (3, 0)]);
    }
}

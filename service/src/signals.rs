//! The signals that a service listens to.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, from when this is made: none that comes later is lost.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To stop; with the signal's name.
    Stop(&'static str),
    /// To look at the files again: SIGHUP.
    LookAgain,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hangup.recv() => Signal::LookAgain,
        }
    }

    /// Waits for a signal to stop, calls `look` at each one to look at the files again, and gives the signal's name.
    pub async fn stop(&mut self, mut look: impl FnMut()) -> &'static str {
        loop {
            match self.next().await {
                Signal::Stop(name) => return name,
                Signal::LookAgain => look(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_hangup_is_no_reason_to_stop() {
        let mut signals = Signals::new().unwrap();
        let kill = |name: &str| Command::new("kill").arg(name).arg(std::process::id().to_string()).status().unwrap();
        let mut looked = 0;
        kill("-HUP");
        assert_eq!(signals.next().await, Signal::LookAgain);
        kill("-HUP");
        let stop = signals.stop(|| {
            looked += 1;
            kill("-TERM");
        });
        assert_eq!(stop.await, "SIGTERM");
        assert_eq!(looked, 1);
    }
}

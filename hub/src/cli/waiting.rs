//! A line on the terminal for those who wait.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::task::AbortHandle;

/// How long something may take before people see that it goes on.
const QUIET: Duration = Duration::from_secs(2);

const EVERY: Duration = Duration::from_millis(500);

/// Shows a line that is written anew for as long as this lives; nothing where nobody looks.
pub(super) struct Waiting(Option<AbortHandle>);

impl Waiting {
    /// Shows what `line` says, from two seconds on.
    pub(super) fn begin(line: impl Fn() -> String + Send + 'static) -> Self {
        let seen = std::io::stderr().is_terminal();
        Self(seen.then(|| tokio::spawn(show(line)).abort_handle()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(showing) = self.0.take() {
            showing.abort();
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

async fn show(line: impl Fn() -> String + Send) {
    tokio::time::sleep(QUIET).await;
    loop {
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", line());
        tokio::time::sleep(EVERY).await;
    }
}

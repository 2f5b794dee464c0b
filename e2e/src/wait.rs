//! Waiting for something to become true, never for ever.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Long enough for a loaded machine; what takes longer is broken.
pub const LONG: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(25);

/// Asks `probe` until it gives a value. An error of the probe counts as "not yet", and is told if time runs out.
///
/// # Errors
/// When `limit` has passed: what was waited for, and the last error.
pub async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if begun.elapsed() > limit {
            let why = last.map_or_else(String::new, |error: Error| format!("; last error: {error}"));
            return Err(format!("waited {limit:?} in vain for {what}{why}").into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

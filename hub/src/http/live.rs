//! What requests go by, which may change while the hub runs.

use std::sync::Arc;
use std::time::Duration;

use pyralog_sync_protocol::limits::MAX_ENVELOPE;
use pyralog_sync_protocol::receiver::Terms;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::retention::RetentionConfig;
use crate::store::Store;

/// Limits and timeouts as they are now; each request keeps those that it began with.
pub(crate) struct Live {
    /// A permit for each batch or hello in work.
    pub(super) in_flight: Arc<Semaphore>,
    /// A permit for each record stream.
    pub(super) reads: Arc<Semaphore>,
    pub(super) max_batch: usize,
    pub(super) request_timeout: Duration,
    pub(super) retry_after: Duration,
    /// How long a connection may stay without a request.
    pub(crate) idle_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub(crate) write_timeout: Duration,
    /// What is kept, and for how long.
    pub(super) retention: RetentionConfig,
    /// How many permits there were.
    places: (usize, usize),
}

impl Live {
    /// What `config` says; permits go on to be those of `before` where there are as many.
    pub(super) fn new(config: &Config, before: Option<&Self>) -> Self {
        let limits = &config.limits;
        let places = (limits.max_in_flight, limits.max_reads);
        let (in_flight, reads) = match before {
            Some(before) => (
                (before.places.0 == places.0).then(|| Arc::clone(&before.in_flight)),
                (before.places.1 == places.1).then(|| Arc::clone(&before.reads)),
            ),
            None => (None, None),
        };
        Self {
            in_flight: in_flight.unwrap_or_else(|| Arc::new(Semaphore::new(places.0))),
            reads: reads.unwrap_or_else(|| Arc::new(Semaphore::new(places.1))),
            max_batch: usize::try_from(limits.max_batch).unwrap_or(usize::MAX),
            request_timeout: limits.request_timeout,
            retry_after: config.sync.retry_after,
            idle_timeout: limits.idle_timeout,
            write_timeout: limits.write_timeout,
            retention: config.retention.clone(),
            places,
        }
    }
}

/// What agents are offered. A segment becomes an object of the store as a whole, so no batch may be larger than that.
pub(super) fn terms(config: &Config, store: &dyn Store) -> Terms {
    let room = store.max_object().map_or(u64::MAX, |most| most.saturating_sub(MAX_ENVELOPE) as u64);
    Terms {
        max_batch: u32::try_from(config.limits.max_batch.min(room)).unwrap_or(u32::MAX),
        pause: config.sync.pause,
        retry_after: config.sync.retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_taken_stay_taken_unless_their_number_changes() {
        let mut config = Config::default();
        let first = Live::new(&config, None);
        let _busy = first.in_flight.try_acquire().unwrap();
        config.limits.max_reads = 1;
        let second = Live::new(&config, Some(&first));
        assert_eq!(second.in_flight.available_permits(), config.limits.max_in_flight - 1);
        assert_eq!(second.reads.available_permits(), 1);
    }
}

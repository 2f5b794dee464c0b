//! What a subscriber says about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters and the state of the connection, shared with the status page.
#[derive(Debug)]
pub struct SubscriberStatus {
    broker: String,
    stored: AtomicU64,
    refused: AtomicU64,
    subscriptions: AtomicU64,
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    connected: bool,
    last_error: Option<String>,
}

/// A subscriber's status at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The broker, without credentials.
    pub broker: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Connections so far in which the broker has confirmed the topics, or its session still had them.
    pub subscriptions: u64,
    /// Messages that the ring has.
    pub stored: u64,
    /// Messages dropped because they were larger than the ring can take.
    pub refused: u64,
    /// What went wrong last, in words; `None` while all is well.
    pub last_error: Option<String>,
}

impl SubscriberStatus {
    pub(super) fn new(broker: &str) -> Self {
        Self {
            broker: broker.to_owned(),
            stored: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            link: Mutex::new(Link::default()),
        }
    }

    /// The status now.
    pub fn snapshot(&self) -> Snapshot {
        let link = self.link.lock();
        Snapshot {
            broker: self.broker.clone(),
            connected: link.connected,
            subscriptions: self.subscriptions.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            last_error: link.last_error.clone(),
        }
    }

    pub(super) fn connected(&self) {
        *self.link.lock() = Link { connected: true, last_error: None };
    }

    pub(super) fn subscribed(&self) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// The trouble is over; the connection was there all the time.
    pub(super) fn recovered(&self) {
        self.link.lock().last_error = None;
    }

    pub(super) fn lost(&self, reason: &str) {
        *self.link.lock() = Link { connected: false, last_error: Some(reason.to_owned()) };
    }

    pub(super) fn failed(&self, reason: &str) {
        self.link.lock().last_error = Some(reason.to_owned());
    }

    pub(super) fn stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

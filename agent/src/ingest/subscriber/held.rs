//! Messages that the ring had no room for, in their order, until it has.

use std::collections::VecDeque;

use rumqttc::{Publish, QoS};
use tokio::time::Instant;

/// Most that is held; beyond, nothing more is read from the broker.
const MAX_BYTES: usize = 1 << 20;
const MAX_MESSAGES: usize = 1_024;

/// The queue of held messages. Invariant: `retry_at` is set exactly while it is not empty.
#[derive(Debug, Default)]
pub(super) struct Held {
    queue: VecDeque<Publish>,
    bytes: usize,
    retry_at: Option<Instant>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES || self.queue.len() >= MAX_MESSAGES
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Puts a message last; `retry_at` counts if it is the first one.
    pub(super) fn push(&mut self, publish: Publish, retry_at: Instant) {
        self.bytes += size(&publish);
        self.queue.push_back(publish);
        self.retry_at.get_or_insert(retry_at);
    }

    pub(super) fn front(&self) -> Option<&Publish> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) {
        if let Some(publish) = self.queue.pop_front() {
            self.bytes -= size(&publish);
        }
        if self.queue.is_empty() {
            self.retry_at = None;
        }
    }

    pub(super) fn wait_until(&mut self, retry_at: Instant) {
        self.retry_at = (!self.queue.is_empty()).then_some(retry_at);
    }

    /// After the connection is lost: what is to be acknowledged still belongs to the broker and comes again.
    pub(super) fn forget_acknowledged(&mut self) {
        self.queue.retain(|publish| publish.qos == QoS::AtMostOnce);
        self.bytes = self.queue.iter().map(size).sum();
        if self.queue.is_empty() {
            self.retry_at = None;
        }
    }
}

fn size(publish: &Publish) -> usize {
    publish.topic.len() + publish.payload.len() + size_of::<Publish>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_only_unacknowledged_messages_outlive_the_connection() {
        let mut held = Held::default();
        let mut pushed = 0;
        while !held.is_full() {
            let qos = if pushed % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            held.push(Publish::new("a", qos, vec![0; 10_000]), Instant::now());
            pushed += 1;
        }
        assert!(pushed <= 110);
        held.forget_acknowledged();
        assert_eq!(held.queue.len(), usize::div_ceil(pushed, 2));
        while held.front().is_some() {
            held.pop();
        }
        assert_eq!((held.bytes, held.retry_at()), (0, None));
    }
}

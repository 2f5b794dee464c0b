//! The ring as the protocol's sender sees it.

use crate::ring::{LossReason, Ring};
use bytes::Bytes;
use pyralog_segment::Schema;
use pyralog_sync_protocol::frame::{LogHead, Reason, Receipt, SegmentMeta};
use pyralog_sync_protocol::limits::MAX_LOGS;
use pyralog_sync_protocol::{ChainHash, Cursor, Fingerprint, Item, LogName, Source};
use std::cell::RefCell;
use std::sync::Arc;

/// A handle that lends the ring to a sender.
#[derive(Debug)]
pub(super) struct RingSource<'a> {
    ring: &'a Ring,
    /// The schema of the segment that was asked for last: the sender asks for it right after.
    schema: RefCell<Option<([u8; 8], Arc<Schema>)>>,
}

impl<'a> RingSource<'a> {
    pub(super) fn new(ring: &'a Ring) -> Self {
        Self { ring, schema: RefCell::new(None) }
    }
}

impl Source for RingSource<'_> {
    type Body = Bytes;

    fn logs(&self) -> Vec<LogHead> {
        let logs = self.ring.sync_logs().into_iter();
        logs.filter_map(|log| Some(LogHead { log: LogName::new(&log.name).ok()?, tail: log.tail, head: log.head }))
            .take(MAX_LOGS)
            .collect()
    }

    fn item(&self, log: &LogName, offset: u64) -> Option<Item<Bytes>> {
        let loss = self.ring.loss(log.as_str(), offset).or_else(|| self.ring.rest_at(log.as_str(), offset));
        if let Some(loss) = loss {
            return Some(Item::Loss(Receipt {
                from: loss.from,
                to: loss.to,
                reason: reason(loss.reason),
                min_time: loss.min_time,
                max_time: loss.max_time.max(loss.min_time),
                hash: ChainHash(loss.hash),
            }));
        }
        let segment = self.ring.segment_at(log.as_str(), offset)?;
        let meta = SegmentMeta {
            base: segment.base,
            rows: segment.rows,
            min_time: segment.min_time,
            max_time: segment.max_time,
            encoding: segment.encoding as u8,
            schema: Fingerprint(segment.fingerprint),
        };
        *self.schema.borrow_mut() = Some((segment.fingerprint, segment.schema));
        Some(Item::Segment { meta, hash: ChainHash(segment.hash), body: segment.body })
    }

    fn schema(&self, _log: &LogName, fingerprint: Fingerprint) -> Option<Vec<u8>> {
        let last = self.schema.borrow();
        let (print, schema) = last.as_ref()?;
        (*print == fingerprint.0).then(|| schema.to_bytes())
    }

    fn acknowledged(&self, log: &LogName, cursor: Cursor) {
        // Answers come in order, one exchange at a time: what the hub said last is what holds, even if it is less than before
        // (another store, or one restored from a backup).
        match self.ring.reset_cursor(log.as_str(), cursor.next, cursor.receipted) {
            Ok(0) => {}
            Ok(behind) => tracing::error!(
                %log, from = cursor.next, records = behind,
                "the hub's store has lost what the hub had committed (damaged, emptied, or restored from a backup): what the \
                 ring still has of it is sent again, and a receipt names the rest"
            ),
            Err(error) => tracing::error!(%log, %error, "the hub's word on this log is ignored"),
        }
    }

    fn discard(&self, log: &LogName, base: u64) {
        tracing::error!(%log, base, "the hub can never take this segment: it is given up, with a receipt as corrupt");
        self.ring.mark_corrupt(log.as_str(), base);
    }
}

fn reason(reason: LossReason) -> Reason {
    match reason {
        LossReason::Evicted => Reason::Evicted,
        LossReason::Expired => Reason::Expired,
        LossReason::Lost => Reason::Lost,
        LossReason::Corrupt => Reason::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Records, Value};
    use crate::ring::{Budget, Now, RingConfig};

    fn ring_with(rows: u64) -> Ring {
        let ring = Ring::new(RingConfig::default(), Budget::new(4 << 20));
        let mut records = Records::new();
        for n in 0..rows {
            records.begin("climate", Some(n as i64));
            records.push("n", Value::U64(n));
            records.finish();
        }
        ring.append(&records, Now::default()).unwrap();
        ring.seal_all(Now::default());
        while ring.pack_next() {}
        ring
    }

    #[test]
    fn a_hub_that_stands_inside_a_segment_is_given_a_receipt_for_the_rest_of_it() {
        let ring = ring_with(8);
        let source = RingSource::new(&ring);
        let log = LogName::new("climate").unwrap();
        assert!(matches!(source.item(&log, 0), Some(Item::Segment { meta, .. }) if meta.end() == 8));
        let segment = ring.segment_at("climate", 0).unwrap();
        let rest = Receipt {
            from: 6,
            to: 8,
            reason: Reason::Corrupt,
            min_time: 0,
            max_time: 7,
            hash: ChainHash(segment.hash),
        };
        assert_eq!(source.item(&log, 6), Some(Item::Loss(rest)));
        assert_eq!(source.item(&log, 8), None);
    }
}

//! What a [`Sender`](crate::Sender) needs of a ring.

use crate::cursor::Cursor;
use crate::frame::{LogHead, Receipt, SegmentMeta};
use crate::ids::{ChainHash, Fingerprint, LogName};
use alloc::vec::Vec;

/// What a ring has to ship at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<B> {
    /// A packed segment that begins there.
    Segment {
        /// What is said of it.
        meta: SegmentMeta,
        /// Its link in the log's chain.
        hash: ChainHash,
        /// The packed bytes.
        body: B,
    },
    /// A loss that begins there.
    Loss(Receipt),
}

/// The ring as the sender sees it. Methods take `&self`: a ring is shared, and each call is atomic in it.
pub trait Source {
    /// A handle on packed bytes; it keeps them alive while the sender copies them into a batch.
    type Body: AsRef<[u8]>;

    /// Every log with its tail and head, at most [`MAX_LOGS`](crate::limits::MAX_LOGS).
    fn logs(&self) -> Vec<LogHead>;

    /// What stands at `offset` of `log`: the packed segment that begins there, or a receipt from there for what is gone;
    /// `None` where nothing is ready. An `offset` inside a segment gives a receipt for the rest of it: segments are never cut.
    fn item(&self, log: &LogName, offset: u64) -> Option<Item<Self::Body>>;

    /// The encoded schema with this fingerprint.
    fn schema(&self, log: &LogName, fingerprint: Fingerprint) -> Option<Vec<u8>>;

    /// The hub stands at `cursor` in `log`. This is final for everything below `cursor.next`.
    fn acknowledged(&self, log: &LogName, cursor: Cursor);

    /// The segment that begins at `base` can never be committed: from now on there is a loss in its place.
    fn discard(&self, log: &LogName, base: u64);
}

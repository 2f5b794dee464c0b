//! What goes into a batch.

use super::{Sender, Session};
use crate::frame::{BatchHead, LogHead, SegmentFrame, put_schema};
use crate::ids::Fingerprint;
use crate::limits::{
    MAX_FRAME_BODY, MAX_FRAME_HEADER, MAX_FRAME_OVERHEAD, MAX_FRAMES, MAX_KNOWN_SCHEMAS, MAX_LOG_NAME, MAX_SCHEMA,
    MIN_BATCH,
};
use crate::source::{Item, Source};
use alloc::vec::Vec;

/// Bytes that a frame takes beside its body, at most.
const FRAME: usize = MAX_FRAME_HEADER + MAX_FRAME_OVERHEAD;
/// A log frame is smaller than other headers may be.
const LOG_FRAME: usize = MAX_LOG_NAME + 32 + MAX_FRAME_OVERHEAD;

// Beside the head, a receipt with its log fits into an empty batch whatever the hub's limit: `add_log` relies on it.
const _: () = assert!(64 + LOG_FRAME + 2 * FRAME <= MIN_BATCH);

/// A batch while it is filled.
struct Filling {
    bytes: Vec<u8>,
    frames: usize,
    /// Whether anything that moves a cursor is in it.
    any: bool,
    /// Bytes at which it is full, and bytes that the hub takes at most.
    soft: usize,
    hard: usize,
}

impl Filling {
    /// Whether `more` bytes fit; the first piece may go up to the hard limit.
    fn fits(&self, more: usize) -> bool {
        let limit = if self.any { self.soft } else { self.hard };
        self.bytes.len() + more <= limit && self.frames + 3 <= MAX_FRAMES
    }
}

impl Sender {
    /// The next batch, or `None` when the hub has all that is ready.
    pub(super) fn build<S: Source>(&mut self, session: Session, logs: &[LogHead], source: &S) -> Option<Vec<u8>> {
        let head = BatchHead { incarnation: self.incarnation, epoch: session.epoch };
        let hard = session.max_batch as usize;
        let soft = hard.min(self.config.max_batch as usize);
        let mut filling = Filling { bytes: head.begin(), frames: 1, any: false, soft, hard };
        self.sent_schemas.clear();
        let first = self.resume_at.take();
        let start = logs.iter().position(|log| Some(&log.log) >= first.as_ref()).unwrap_or(0);
        let (before, from) = logs.split_at(start);
        for log in from.iter().chain(before) {
            if !self.add_log(log, &mut filling, source) {
                self.resume_at = Some(log.log.clone());
                break;
            }
        }
        filling.any.then_some(filling.bytes)
    }

    /// Adds what `log` has ready; `false` when the batch is full.
    fn add_log<S: Source>(&mut self, log: &LogHead, filling: &mut Filling, source: &S) -> bool {
        let mut next = self.cursor(&log.log).next;
        let mut named = false;
        while let Some(item) = source.item(&log.log, next) {
            let (to, body) = match &item {
                Item::Segment { meta, body, .. } => (meta.end(), body.as_ref().len()),
                Item::Loss(receipt) => (receipt.to, 0),
            };
            // A source that does not move on would hold the sender here for ever; and what was sealed since the heads were
            // read waits for the next batch, as a hub takes nothing beyond the head it is told.
            if to <= next || to > log.head {
                break;
            }
            let schema = match &item {
                Item::Segment { meta, .. } => self.unsent_schema(log, meta.schema, source),
                Item::Loss(_) => None,
            };
            let schema_len = schema.as_ref().map_or(0, |(_, bytes)| bytes.len());
            if !filling.fits(LOG_FRAME + FRAME + schema_len + FRAME + body) || body > MAX_FRAME_BODY {
                if filling.any {
                    return false;
                }
                // Alone in an empty batch and still too large: no batch will ever hold it.
                source.discard(&log.log, next);
                match source.item(&log.log, next) {
                    Some(Item::Loss(_)) => continue,
                    _ => break,
                }
            }
            if !named {
                log.put_frame(&mut filling.bytes);
                (named, filling.frames) = (true, filling.frames + 1);
            }
            if let Some((fingerprint, bytes)) = schema {
                put_schema(&mut filling.bytes, fingerprint, &bytes);
                self.sent_schemas.push(fingerprint);
                filling.frames += 1;
            }
            match item {
                Item::Segment { meta, hash, body } => {
                    SegmentFrame { meta, hash, body: body.as_ref() }.put(&mut filling.bytes);
                }
                Item::Loss(receipt) => receipt.put(&mut filling.bytes),
            }
            (filling.frames, filling.any) = (filling.frames + 1, true);
            next = to;
        }
        true
    }

    /// The schema to send along with a segment, unless the hub has it or this batch holds it.
    fn unsent_schema<S: Source>(
        &mut self,
        log: &LogHead,
        fingerprint: Fingerprint,
        source: &S,
    ) -> Option<(Fingerprint, Vec<u8>)> {
        if self.known_schemas.contains(&fingerprint) || self.sent_schemas.contains(&fingerprint) {
            return None;
        }
        if self.known_schemas.len() >= MAX_KNOWN_SCHEMAS {
            self.known_schemas.clear();
        }
        let bytes = source.schema(&log.log, fingerprint)?;
        (bytes.len() <= MAX_SCHEMA).then_some((fingerprint, bytes))
    }
}

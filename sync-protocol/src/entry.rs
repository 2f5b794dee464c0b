//! What a hub stores for each commit: the frame exactly as it was received, in an envelope that says where the log stands
//! after it. The last entry of a chain therefore is the log's cursor, and a hub needs no state of its own.
//!
//! ```text
//! entry = magic "PYE1" | flags u8 (bit 0: the epoch ends here) | base varint
//!       | cursor after it: next varint, receipted varint x 4 | head heard varint | chain hash after it 16 bytes
//!       | received at signed varint (Unix ns) | frame: length varint, bytes | CRC32C u32, little-endian
//! ```

use crate::cursor::Cursor;
use crate::frame::{Frame, FrameError, Receipt, SegmentFrame, checksum};
use crate::ids::ChainHash;
use crate::limits::{MAX_ENVELOPE, MAX_FRAME_BODY, MAX_FRAME_HEADER, MAX_FRAME_OVERHEAD};
use crate::wire::{Reader, WireError, put_bytes, put_signed, put_varint};
use alloc::vec::Vec;

const MAGIC: &[u8; 4] = b"PYE1";
const CLOSES: u8 = 1;

/// Where one log of one epoch stands: what the next commit needs to know of all commits before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Tip {
    /// The cursor.
    pub cursor: Cursor,
    /// The hash that the next segment's is linked to.
    pub hash: ChainHash,
    /// The highest head that the agent told of.
    pub head_seen: u64,
    /// Whether the epoch has ended: nothing more may be committed.
    pub closed: bool,
}

/// One committed segment or receipt, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The offset where it begins, which is also its name in the store. A receipt's own frame may begin lower, when
    /// part of its range had been committed before.
    pub base: u64,
    /// Where the log stands after it.
    pub tip: Tip,
    /// The hub's clock when it was committed, Unix nanoseconds.
    pub received_at: i64,
    /// The frame as it was received.
    pub frame: &'a [u8],
}

/// What the frame of an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// Records.
    Segment(SegmentFrame<'a>),
    /// A loss; `from` is the entry's base.
    Receipt(Receipt),
}

impl<'a> Entry<'a> {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.frame.len() + MAX_ENVELOPE);
        out.extend_from_slice(MAGIC);
        out.push(if self.tip.closed { CLOSES } else { 0 });
        put_varint(&mut out, self.base);
        self.tip.cursor.put(&mut out);
        put_varint(&mut out, self.tip.head_seen);
        out.extend_from_slice(&self.tip.hash.0);
        put_signed(&mut out, self.received_at);
        put_bytes(&mut out, self.frame);
        let sum = checksum(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads stored bytes; the checksum is checked, the frame inside is not yet.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let covered = sealed("entry", bytes)?;
        let mut reader = Reader::new("entry", covered);
        if reader.array()? != *MAGIC {
            return Err(reader.invalid());
        }
        let flags = reader.byte()?;
        if flags & !CLOSES != 0 {
            return Err(reader.invalid());
        }
        let base = reader.varint()?;
        let cursor = Cursor::read(&mut reader)?;
        let head_seen = reader.varint()?;
        let hash = ChainHash(reader.array()?);
        let received_at = reader.signed()?;
        let frame = reader.bytes(MAX_FRAME_BODY + MAX_FRAME_HEADER + MAX_FRAME_OVERHEAD)?;
        let tip = Tip { cursor, hash, head_seen, closed: flags & CLOSES != 0 };
        if cursor.next < base {
            return Err(reader.invalid());
        }
        reader.finish()?;
        Ok(Self { base, tip, received_at, frame })
    }

    /// Decodes the frame inside, which must agree with the envelope.
    pub fn content(&self) -> Result<Content<'a>, FrameError> {
        let (frame, rest) = Frame::read(self.frame)?;
        Reader::new("entry frame", rest).finish()?;
        let disagree = WireError::Invalid { what: "entry: envelope and frame disagree", at: 0 };
        match frame.kind {
            crate::frame::Kind::Segment => {
                let segment = SegmentFrame::read(&frame)?;
                if segment.meta.base != self.base || segment.meta.end() != self.tip.cursor.next {
                    return Err(disagree.into());
                }
                Ok(Content::Segment(segment))
            }
            crate::frame::Kind::Receipt => {
                let mut receipt = Receipt::read(&frame)?;
                if receipt.from > self.base || receipt.to != self.tip.cursor.next {
                    return Err(disagree.into());
                }
                receipt.from = self.base;
                Ok(Content::Receipt(receipt))
            }
            found => Err(FrameError::Unexpected { found, expected: "a segment or a receipt" }),
        }
    }
}

/// Checks the CRC32C at the end of a stored object and gives what it covers.
pub(crate) fn sealed<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], WireError> {
    let truncated = WireError::Truncated { what, at: bytes.len(), missing: 1 };
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or(truncated)?;
    if checksum(covered).to_le_bytes() != *sum {
        return Err(WireError::Invalid { what, at: covered.len() });
    }
    Ok(covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Reason, SegmentMeta};
    use crate::ids::Fingerprint;

    fn entry(frame: &[u8], base: u64, next: u64) -> Entry<'_> {
        let cursor = Cursor { next, receipted: [1, 0, 0, 0] };
        let tip = Tip { cursor, hash: ChainHash(*b"hash-----hash-16"), head_seen: 9, closed: false };
        Entry { base, tip, received_at: -2, frame }
    }

    #[test]
    fn an_entry_comes_back_with_its_segment_and_survives_no_damage() {
        let meta = SegmentMeta { base: 4, rows: 2, min_time: 0, max_time: 1, encoding: 1, schema: Fingerprint([0; 8]) };
        let segment = SegmentFrame { meta, hash: ChainHash([5; 16]), body: b"body" };
        let mut frame = Vec::new();
        segment.put(&mut frame);
        let bytes = entry(&frame, 4, 6).encode();
        let back = Entry::decode(&bytes).unwrap();
        assert_eq!(back, entry(&frame, 4, 6));
        assert_eq!(back.content(), Ok(Content::Segment(segment)));
        for cut in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Entry::decode(&damaged).is_err());
        }
        assert!(entry(&frame, 4, 7).content().is_err(), "the envelope claims another end than the frame");
    }

    #[test]
    fn a_receipt_begins_where_its_entry_does() {
        let (min_time, max_time) = (1, 2);
        let receipt =
            Receipt { from: 2, to: 8, reason: Reason::Evicted, min_time, max_time, hash: ChainHash::default() };
        let mut frame = Vec::new();
        receipt.put(&mut frame);
        assert_eq!(entry(&frame, 5, 8).content(), Ok(Content::Receipt(Receipt { from: 5, ..receipt })));
        assert!(entry(&frame, 1, 8).content().is_err());
    }

    #[test]
    fn the_bytes_of_an_entry_are_these() {
        let bytes = entry(b"frame", 1, 3).encode();
        let golden = b"PYE1\x00\x01\x03\x01\x00\x00\x00\x09hash-----hash-16\x03\x05frame";
        assert_eq!(&bytes[..bytes.len() - 4], golden);
    }
}

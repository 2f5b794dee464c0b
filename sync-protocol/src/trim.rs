//! What a hub stores when retention deletes records: a mark, created before the first of them goes. Whatever of the chain begins
//! below the mark and is a segment counts as deleted from then on, whether it is gone yet or not.
//!
//! ```text
//! trim mark = magic "PYT1" | cursor at the mark: next varint, receipted varint x 4 | head heard varint | chain hash 16 bytes
//!           | swept varint | entries varint | bytes varint | min time, max time, received at: signed varints (Unix ns) | CRC32C
//! ```
//! So the account goes on from the mark as it does from an entry: how many records were deleted is what its cursor has as
//! committed, and the hashes of what is kept are linked to the hash in it.

use crate::cursor::Cursor;
use crate::entry::{Tip, sealed};
use crate::frame::checksum;
use crate::ids::ChainHash;
use crate::wire::{Reader, WireError, put_signed, put_varint};
use alloc::vec::Vec;

const MAGIC: &[u8; 4] = b"PYT1";

/// What was deleted from a chain since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrimMark {
    /// Where the log stood after the last entry that was deleted; never closed, since the last entry of a chain stays.
    pub tip: Tip,
    /// Below this offset no segment was left when the mark was made.
    pub swept: u64,
    /// Segments deleted.
    pub entries: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Lowest time of what was deleted, Unix nanoseconds.
    pub min_time: i64,
    /// Highest time of what was deleted.
    pub max_time: i64,
    /// The latest time at which a hub received any of it, Unix nanoseconds.
    pub received_at: i64,
}

impl TrimMark {
    /// The mark of a chain of which nothing was deleted; it is never stored.
    pub fn nothing() -> Self {
        let (min_time, max_time, received_at) = (i64::MAX, i64::MIN, i64::MIN);
        Self { tip: Tip::default(), swept: 0, entries: 0, bytes: 0, min_time, max_time, received_at }
    }

    /// The offset below which segments are deleted, which is also the mark's number in the store.
    pub fn below(&self) -> u64 {
        self.tip.cursor.next
    }

    /// How many records were deleted: all that were committed below the mark.
    pub fn records(&self) -> u64 {
        self.tip.cursor.committed()
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(*MAGIC);
        self.tip.cursor.put(&mut out);
        put_varint(&mut out, self.tip.head_seen);
        out.extend_from_slice(&self.tip.hash.0);
        for number in [self.swept, self.entries, self.bytes] {
            put_varint(&mut out, number);
        }
        for time in [self.min_time, self.max_time, self.received_at] {
            put_signed(&mut out, time);
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("trim mark", sealed("trim mark", bytes)?);
        if reader.array()? != *MAGIC {
            return Err(reader.invalid());
        }
        let cursor = Cursor::read(&mut reader)?;
        let head_seen = reader.varint()?;
        let hash = ChainHash(reader.array()?);
        let (swept, entries, bytes) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let (min_time, max_time, received_at) = (reader.signed()?, reader.signed()?, reader.signed()?);
        if swept > cursor.next {
            return Err(reader.invalid());
        }
        reader.finish()?;
        let tip = Tip { cursor, hash, head_seen, closed: false };
        Ok(Self { tip, swept, entries, bytes, min_time, max_time, received_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> TrimMark {
        let cursor = Cursor { next: 9, receipted: [0, 2, 0, 1] };
        let tip = Tip { cursor, hash: ChainHash(*b"hash-----hash-16"), head_seen: 12, closed: false };
        TrimMark { tip, swept: 4, entries: 3, bytes: 300, min_time: -1, max_time: 1, received_at: 2 }
    }

    #[test]
    fn a_mark_comes_back_and_survives_no_damage() {
        let bytes = mark().encode();
        assert_eq!(TrimMark::decode(&bytes), Ok(mark()));
        assert_eq!((mark().below(), mark().records()), (9, 6));
        for cut in 0..bytes.len() {
            assert!(TrimMark::decode(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(TrimMark::decode(&damaged).is_err());
        }
        let beyond = TrimMark { swept: 10, ..mark() }.encode();
        assert!(TrimMark::decode(&beyond).is_err(), "more is swept than deleted");
        assert_eq!(TrimMark::decode(&TrimMark::nothing().encode()), Ok(TrimMark::nothing()));
    }

    #[test]
    fn the_bytes_of_a_mark_are_these() {
        let bytes = mark().encode();
        let golden = b"PYT1\x09\x00\x02\x00\x01\x0chash-----hash-16\x04\x03\xac\x02\x01\x02\x04";
        assert_eq!(&bytes[..bytes.len() - 4], golden);
    }
}

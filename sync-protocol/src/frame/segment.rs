//! Segments and receipts: the two things that move a log's cursor.
//!
//! ```text
//! segment: flags bits 0..1 = encoding of the body
//!          header = base varint | rows varint | min time signed varint | max - min time varint
//!                 | schema fingerprint 8 bytes | chain hash 16 bytes
//!          body   = the packed segment, opaque here
//! receipt: flags bits 0..1 = reason
//!          header = from varint | count varint | min time signed varint | max - min time varint | chain hash 16 bytes
//! ```
//! A receipt whose times are not known (`lost`) says 0 and 0.

use super::{Frame, FrameError, Kind, put_frame};
use crate::ids::{ChainHash, Fingerprint};
use crate::limits::MAX_SEGMENT_ROWS;
use crate::wire::{Reader, WireError, put_signed, put_varint};
use alloc::vec::Vec;

/// What is said of a segment beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentMeta {
    /// Offset of the first record.
    pub base: u64,
    /// Records, at least one.
    pub rows: u32,
    /// Lowest time in it, Unix nanoseconds.
    pub min_time: i64,
    /// Highest time in it, Unix nanoseconds.
    pub max_time: i64,
    /// How the body is encoded: 1 = packed, 2 = arrow-zstd (0 and 3 are not used yet, and refused).
    pub encoding: u8,
    /// Which schema the body has.
    pub schema: Fingerprint,
}

impl SegmentMeta {
    /// The offset after the last record.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(u64::from(self.rows))
    }
}

/// A segment as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFrame<'a> {
    /// What is said of it.
    pub meta: SegmentMeta,
    /// Its link in the log's chain.
    pub hash: ChainHash,
    /// The packed bytes.
    pub body: &'a [u8],
}

impl<'a> SegmentFrame<'a> {
    /// Appends the frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(64);
        put_varint(&mut header, self.meta.base);
        put_varint(&mut header, u64::from(self.meta.rows));
        put_times(&mut header, self.meta.min_time, self.meta.max_time);
        header.extend_from_slice(&self.meta.schema.0);
        header.extend_from_slice(&self.hash.0);
        put_frame(out, Kind::Segment, self.meta.encoding, &header, self.body);
    }

    /// Reads the frame.
    pub fn read(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let mut header = Reader::new("segment header", frame.header);
        let base = header.varint()?;
        let rows = header.length(MAX_SEGMENT_ROWS as usize)? as u32;
        if rows == 0 || base.checked_add(u64::from(rows)).is_none() || !matches!(frame.flags, 1 | 2) {
            return Err(header.invalid().into());
        }
        let (min_time, max_time) = read_times(&mut header)?;
        let schema = Fingerprint(header.array()?);
        let hash = ChainHash(header.array()?);
        header.finish()?;
        let meta = SegmentMeta { base, rows, min_time, max_time, encoding: frame.flags, schema };
        Ok(Self { meta, hash, body: frame.body })
    }
}

/// Why a range of offsets will never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Pushed out of the ring by newer records before it could be shipped.
    Evicted = 0,
    /// Older than the agent was told to keep.
    Expired = 1,
    /// Gone with the agent's memory: a crash, a power cut.
    Lost = 2,
    /// Damaged, or refused by the hub for good.
    Corrupt = 3,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = 4;
    /// All of them, in the order of their codes.
    pub const ALL: [Self; Self::COUNT] = [Self::Evicted, Self::Expired, Self::Lost, Self::Corrupt];

    /// The word used in status and account.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Corrupt => "corrupt",
        }
    }
}

/// A range of offsets that will never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// First offset.
    pub from: u64,
    /// Offset after the last; above `from`, or equal in the empty receipt that ends an epoch's chain.
    pub to: u64,
    /// Why.
    pub reason: Reason,
    /// Lowest time of what is gone, Unix nanoseconds; 0 where not known.
    pub min_time: i64,
    /// Highest time of what is gone.
    pub max_time: i64,
    /// Hash of the last segment that it stands for, from which the chain runs on.
    pub hash: ChainHash,
}

impl Receipt {
    /// Appends the frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut header = Vec::with_capacity(64);
        put_varint(&mut header, self.from);
        put_varint(&mut header, self.to.saturating_sub(self.from));
        put_times(&mut header, self.min_time, self.max_time);
        header.extend_from_slice(&self.hash.0);
        put_frame(out, Kind::Receipt, self.reason as u8, &header, &[]);
    }

    /// Reads the frame.
    pub fn read(frame: &Frame<'_>) -> Result<Self, FrameError> {
        let mut header = Reader::new("receipt header", frame.header);
        let from = header.varint()?;
        let to = from.checked_add(header.varint()?).ok_or_else(|| header.invalid())?;
        let (min_time, max_time) = read_times(&mut header)?;
        let hash = ChainHash(header.array()?);
        let reason = Reason::ALL.get(usize::from(frame.flags)).copied().ok_or_else(|| header.invalid())?;
        header.finish()?;
        Reader::new("receipt", frame.body).finish()?;
        Ok(Self { from, to, reason, min_time, max_time, hash })
    }
}

fn put_times(out: &mut Vec<u8>, min: i64, max: i64) {
    put_signed(out, min);
    // Two's complement carries a span of more than i64::MAX as well.
    put_varint(out, max.wrapping_sub(min) as u64);
}

fn read_times(reader: &mut Reader<'_>) -> Result<(i64, i64), WireError> {
    let min = reader.signed()?;
    let max = min.wrapping_add(reader.varint()? as i64);
    if max < min {
        return Err(reader.invalid());
    }
    Ok((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frames;
    use crate::frame::testing::check_message;
    use crate::frame::{FrameError, MAGIC};

    fn meta() -> SegmentMeta {
        SegmentMeta { base: 200, rows: 2, min_time: -1, max_time: 4, encoding: 1, schema: Fingerprint(*b"print--8") }
    }

    fn one<T>(bytes: &[u8], read: impl Fn(&Frame<'_>) -> Result<T, FrameError>) -> Result<T, FrameError> {
        let mut frames = Frames::new(bytes)?;
        let frame = frames.next_frame()?.ok_or(WireError::Truncated { what: "test", at: 0, missing: 1 })?;
        if frames.next_frame()?.is_some() {
            return Err(FrameError::Magic);
        }
        read(&frame)
    }

    #[test]
    fn segments_and_receipts_come_back_and_survive_no_damage() {
        for (min_time, max_time) in [(i64::MIN, i64::MAX), (0, 0), (5, 9)] {
            let meta = SegmentMeta { min_time, max_time, ..meta() };
            let mut bytes = MAGIC.to_vec();
            SegmentFrame { meta, hash: ChainHash([3; 16]), body: b"body" }.put(&mut bytes);
            let read = |frame: &Frame<'_>| SegmentFrame::read(frame).map(|s| (s.meta, s.hash, s.body.to_vec()));
            check_message(&(meta, ChainHash([3; 16]), b"body".to_vec()), &bytes, |bytes| one(bytes, read));
        }
        for reason in Reason::ALL {
            let receipt = Receipt { from: 7, to: 900, reason, min_time: 1, max_time: 2, hash: ChainHash([1; 16]) };
            let mut bytes = MAGIC.to_vec();
            receipt.put(&mut bytes);
            check_message(&receipt, &bytes, |bytes| one(bytes, Receipt::read));
        }
    }

    #[test]
    fn the_bytes_of_segment_and_receipt_are_these() {
        let mut bytes = Vec::new();
        SegmentFrame { meta: meta(), hash: ChainHash(*b"hash-----hash-16"), body: b"body" }.put(&mut bytes);
        assert_eq!(&bytes[..bytes.len() - 4], b"\x06\x01\x1d\x04\xc8\x01\x02\x01\x05print--8hash-----hash-16body");
        bytes.clear();
        let (min_time, max_time) = (2, 2);
        let hash = ChainHash(*b"hash-----hash-16");
        Receipt { from: 1, to: 4, reason: Reason::Lost, min_time, max_time, hash }.put(&mut bytes);
        assert_eq!(&bytes[..bytes.len() - 4], b"\x07\x02\x14\x00\x01\x03\x04\x00hash-----hash-16");
    }

    #[test]
    fn a_segment_without_rows_or_beyond_the_last_offset_is_refused() {
        for meta in [SegmentMeta { rows: 0, ..meta() }, SegmentMeta { base: u64::MAX, ..meta() }] {
            let mut bytes = MAGIC.to_vec();
            SegmentFrame { meta, hash: ChainHash::default(), body: b"" }.put(&mut bytes);
            assert!(one(&bytes, |frame| SegmentFrame::read(frame).map(|_| ())).is_err());
        }
    }
}

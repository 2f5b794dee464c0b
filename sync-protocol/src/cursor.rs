//! How far a log is at the hub.

use crate::frame::Reason;
use crate::wire::{Reader, WireError, put_varint};
use alloc::vec::Vec;

/// Where the hub stands in one log of one epoch: everything below `next` is committed or receipted.
///
/// Invariant: the counts of `receipted` together are at most `next`, so that `committed` is what remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Cursor {
    /// The next offset that the hub expects.
    pub next: u64,
    /// How many of the offsets below `next` were receipted, by [`Reason`] in its order.
    pub receipted: [u64; Reason::COUNT],
}

impl Cursor {
    /// How many records below `next` were receipted.
    pub fn lost(&self) -> u64 {
        self.receipted.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many records are committed.
    pub fn committed(&self) -> u64 {
        self.next.saturating_sub(self.lost())
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.next);
        for count in self.receipted {
            put_varint(out, count);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let next = reader.varint()?;
        let mut receipted = [0; Reason::COUNT];
        let mut sum = 0u64;
        for count in &mut receipted {
            *count = reader.varint()?;
            sum = sum.checked_add(*count).ok_or_else(|| reader.invalid())?;
        }
        if sum > next {
            return Err(reader.invalid());
        }
        Ok(Self { next, receipted })
    }
}

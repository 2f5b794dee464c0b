//! What a hub stores of an agent beside its entries: who opened each epoch, which logs the epoch has, and which heads the
//! agent told of.
//!
//! ```text
//! epoch record = magic "PYO1" | incarnation 16 bytes | opened at signed varint (Unix ns)
//!              | count varint | past incarnation 16 bytes … (newest first) | CRC32C
//! register     = magic "PYL1" | name: length varint (0: closed), UTF-8 | CRC32C
//! heads record = magic "PYH1" | count varint | (log name: length varint, UTF-8 | head varint) … | CRC32C
//! ```

use crate::entry::sealed;
use crate::frame::checksum;
use crate::ids::{Incarnation, LogName};
use crate::limits::{MAX_LOG_NAME, MAX_LOGS, MAX_PAST_INCARNATIONS};
use crate::wire::{Reader, WireError, put_bytes, put_signed, put_varint};
use alloc::vec::Vec;

/// Who opened an epoch. It is created once and never changes: that create is the compare-and-set that orders epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// The incarnation that the epoch belongs to.
    pub incarnation: Incarnation,
    /// The hub's clock when it was opened, Unix nanoseconds.
    pub opened_at: i64,
    /// Incarnations of the epochs before, newest first, at most [`MAX_PAST_INCARNATIONS`]: a late hello from one of
    /// them must not open an epoch.
    pub past: Vec<Incarnation>,
}

impl EpochRecord {
    /// The record of the epoch after `self`.
    pub fn successor(&self, incarnation: Incarnation, opened_at: i64) -> Self {
        let mut past = Vec::with_capacity(self.past.len() + 1);
        past.push(self.incarnation);
        past.extend(self.past.iter().take(MAX_PAST_INCARNATIONS - 1));
        Self { incarnation, opened_at, past }
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(*b"PYO1");
        out.extend_from_slice(&self.incarnation.0);
        put_signed(&mut out, self.opened_at);
        put_varint(&mut out, self.past.len() as u64);
        self.past.iter().for_each(|past| out.extend_from_slice(&past.0));
        seal(out)
    }

    /// Reads stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("epoch record", sealed("epoch record", bytes)?);
        if reader.array()? != *b"PYO1" {
            return Err(reader.invalid());
        }
        let incarnation = Incarnation(reader.array()?);
        let opened_at = reader.signed()?;
        let count = reader.length(MAX_PAST_INCARNATIONS)?;
        let past = (0..count).map(|_| reader.array().map(Incarnation)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { incarnation, opened_at, past })
    }
}

/// The heads that an agent told of in a hello. Heads only grow within an epoch, so of two records the one with the
/// larger [`sum`](Self::sum) is the later one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadsRecord {
    /// Each log with its head.
    pub heads: Vec<(LogName, u64)>,
}

impl HeadsRecord {
    /// The heads added up: the record's place among those of its epoch.
    pub fn sum(&self) -> u64 {
        self.heads.iter().fold(0, |sum, (_, head)| sum.saturating_add(*head))
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(*b"PYH1");
        put_varint(&mut out, self.heads.len() as u64);
        for (log, head) in &self.heads {
            put_bytes(&mut out, log.as_str().as_bytes());
            put_varint(&mut out, *head);
        }
        seal(out)
    }

    /// Reads stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("heads record", sealed("heads record", bytes)?);
        if reader.array()? != *b"PYH1" {
            return Err(reader.invalid());
        }
        let count = reader.length(MAX_LOGS)?;
        let heads = (0..count)
            .map(|_| {
                let log = LogName::new(reader.text(MAX_LOG_NAME)?).map_err(|_| reader.invalid())?;
                Ok((log, reader.varint()?))
            })
            .collect::<Result<_, WireError>>()?;
        reader.finish()?;
        Ok(Self { heads })
    }
}

/// One record of an epoch's register: a chain of create-if-absent records that names each log before its first commit.
///
/// The end of an epoch closes the register first; so a hub that is late can neither commit to a chain that was closed, nor
/// begin one that the closing did not know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterRecord {
    /// The epoch has this log.
    Log(LogName),
    /// The epoch will have no further logs.
    Closed,
}

impl RegisterRecord {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(*b"PYL1");
        put_bytes(
            &mut out,
            match self {
                Self::Log(log) => log.as_str().as_bytes(),
                Self::Closed => &[],
            },
        );
        seal(out)
    }

    /// Reads stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("register record", sealed("register record", bytes)?);
        if reader.array()? != *b"PYL1" {
            return Err(reader.invalid());
        }
        let record = match reader.text(MAX_LOG_NAME)? {
            "" => Self::Closed,
            name => Self::Log(LogName::new(name).map_err(|_| reader.invalid())?),
        };
        reader.finish()?;
        Ok(record)
    }
}

fn seal(mut out: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn records_come_back_and_survive_no_truncation() {
        let epoch = EpochRecord { incarnation: Incarnation([1; 16]), opened_at: 7, past: vec![] }
            .successor(Incarnation([2; 16]), -9);
        assert_eq!(epoch.past, [Incarnation([1; 16])]);
        let bytes = epoch.encode();
        assert_eq!(EpochRecord::decode(&bytes), Ok(epoch));
        assert!((0..bytes.len()).all(|cut| EpochRecord::decode(&bytes[..cut]).is_err()));

        let heads =
            HeadsRecord { heads: vec![(LogName::new("a").unwrap(), 5), (LogName::new("b").unwrap(), u64::MAX)] };
        assert_eq!(heads.sum(), u64::MAX);
        let bytes = heads.encode();
        assert_eq!(HeadsRecord::decode(&bytes), Ok(heads));
        assert!((0..bytes.len()).all(|cut| HeadsRecord::decode(&bytes[..cut]).is_err()));
    }

    #[test]
    fn an_epoch_record_remembers_only_so_many_incarnations() {
        let mut record = EpochRecord { incarnation: Incarnation([0; 16]), opened_at: 0, past: vec![] };
        for round in 0..MAX_PAST_INCARNATIONS + 10 {
            record = record.successor(Incarnation((round as u128 + 1).to_le_bytes()), 0);
        }
        assert_eq!(record.past.len(), MAX_PAST_INCARNATIONS);
        assert_eq!(EpochRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn the_bytes_of_records_are_these() {
        let epoch = EpochRecord { incarnation: Incarnation(*b"0123456789abcdef"), opened_at: 1, past: vec![] };
        assert!(epoch.encode().starts_with(b"PYO10123456789abcdef\x02\x00"));
        let heads = HeadsRecord { heads: vec![(LogName::new("a").unwrap(), 5)] };
        assert!(heads.encode().starts_with(b"PYH1\x01\x01a\x05"));
        assert!(RegisterRecord::Log(LogName::new("a").unwrap()).encode().starts_with(b"PYL1\x01a"));
        assert!(RegisterRecord::Closed.encode().starts_with(b"PYL1\x00"));
    }
}

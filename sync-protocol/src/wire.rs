//! Little-endian integers and varints, written to a `Vec` and read from a slice that is never trusted.
//!
//! Varints are LEB128 (seven bits a byte, low group first, at most ten bytes); signed ones are zigzag-folded first.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

/// Why bytes are not what they should be. `at` counts from the start of the slice that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a value.
    #[error("{what}: the bytes end at {at}, {missing} too early")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where the bytes end.
        at: usize,
        /// How many more were needed, at least.
        missing: usize,
    },
    /// A value that the format does not allow.
    #[error("{what}: a value that is not allowed at byte {at}")]
    Invalid {
        /// What was being read.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A length over its cap.
    #[error("{what}: {len} is over the limit of {limit}")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// The length that was claimed.
        len: u64,
        /// The cap.
        limit: u64,
    },
    /// Bytes left over after the last value.
    #[error("{what}: {extra} bytes too many at the end")]
    Trailing {
        /// What was being read.
        what: &'static str,
        /// How many.
        extra: usize,
    },
}

/// Appends `value` as a varint.
#[cfg(feature = "alloc")]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` zigzag-folded as a varint.
#[cfg(feature = "alloc")]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length as a varint, then the bytes.
#[cfg(feature = "alloc")]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads values off the front of a slice. Invariant: `at <= bytes.len()`.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which errors will call `what`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, what }
    }

    /// Where the next value begins.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error that says the last value is not allowed.
    pub fn invalid(&self) -> WireError {
        WireError::Invalid { what: self.what, at: self.at }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or_else(|| WireError::Truncated {
            what: self.what,
            at: self.bytes.len(),
            missing: len - rest.len(),
        })?;
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    /// A little-endian u32.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A varint; over-long and overflowing ones are refused, so that one value has one encoding.
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 || byte == 0 && shift > 0 {
                return Err(self.invalid());
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.invalid())
    }

    /// A zigzag-folded varint.
    pub fn signed(&mut self) -> Result<i64, WireError> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// A varint of at most `limit`, as a length or count.
    pub fn length(&mut self, limit: usize) -> Result<usize, WireError> {
        let len = self.varint()?;
        if len > limit as u64 {
            return Err(WireError::TooLong { what: self.what, len, limit: limit as u64 });
        }
        Ok(len as usize)
    }

    /// A length of at most `limit`, then that many bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], WireError> {
        let len = self.length(limit)?;
        self.take(len)
    }

    /// As [`bytes`](Self::bytes), and valid UTF-8.
    pub fn text(&mut self, limit: usize) -> Result<&'a str, WireError> {
        let bytes = self.bytes(limit)?;
        core::str::from_utf8(bytes).map_err(|_| self.invalid())
    }

    /// Checks that nothing is left.
    pub fn finish(self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(WireError::Trailing { what: self.what, extra }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_come_back_and_use_the_fewest_bytes(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), (64 - value.leading_zeros()).div_ceil(7).max(1) as usize);
            put_signed(&mut out, signed);
            let mut reader = Reader::new("test", &out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new("test", &bytes);
            while reader.varint().is_ok() {}
            let _ = reader.text(16);
        }
    }

    #[test]
    fn a_value_has_only_one_encoding() {
        for over_long in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00]] {
            assert!(matches!(Reader::new("test", over_long).varint(), Err(WireError::Invalid { .. })));
        }
        let too_big = [0xff; 9].iter().chain(&[0x02]).copied().collect::<Vec<u8>>();
        assert!(matches!(Reader::new("test", &too_big).varint(), Err(WireError::Invalid { .. })));
    }
}

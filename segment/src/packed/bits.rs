//! A stream of bits, least significant first, with bytes embedded at byte boundaries.
//!
//! Short segments are mostly headers; fields of a few bits instead of bytes are what keeps those small.

use crate::codec::DecodeError;

/// Writes bits at the end of a byte vector.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    used: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, used: 0 }
    }

    /// Appends the low `width` bits of `value`, whose other bits must be zero.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width <= 64 && (width == 64 || value >> width == 0), "{value} in {width} bits");
        self.pending |= value << self.used;
        let end = self.used + width;
        if end < 64 {
            self.used = end;
            return;
        }
        self.out.extend_from_slice(&self.pending.to_le_bytes());
        self.pending = if self.used == 0 { 0 } else { value >> (64 - self.used) };
        self.used = end - 64;
    }

    pub(super) fn put_flag(&mut self, flag: bool) {
        self.put(flag.into(), 1);
    }

    /// Appends a number of any size: its bit length in 6 bits (7 from 63 on), then its bits below the leading one.
    pub(super) fn put_number(&mut self, value: u64) {
        let length = 64 - value.leading_zeros();
        self.put(length.min(63).into(), 6);
        if length >= 63 {
            self.put_flag(length == 64);
        }
        if length > 1 {
            self.put(value & !(1 << (length - 1)), length - 1);
        }
    }

    /// Appends a number that is small when `value` is close to zero.
    pub(super) fn put_signed(&mut self, value: i64) {
        self.put_number(zigzag(value));
    }

    /// Appends whole bytes after filling up the current one with zeros.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.align();
        self.out.extend_from_slice(bytes);
    }

    /// The place reached, for [`BitWriter::cut`].
    pub(super) fn mark(&self) -> Mark {
        Mark { length: self.out.len(), pending: self.pending, used: self.used }
    }

    /// Bits written since `mark`.
    pub(super) fn bits_since(&self, mark: &Mark) -> usize {
        (self.out.len() - mark.length) * 8 + self.used as usize - mark.used as usize
    }

    /// Takes back everything since `mark`.
    pub(super) fn cut(&mut self, mark: &Mark) -> Tail {
        let tail = Tail { bytes: self.out.split_off(mark.length), pending: self.pending, used: self.used };
        (self.pending, self.used) = (mark.pending, mark.used);
        tail
    }

    /// Puts back what was taken from the place reached now.
    pub(super) fn paste(&mut self, tail: &Tail) {
        self.out.extend_from_slice(&tail.bytes);
        (self.pending, self.used) = (tail.pending, tail.used);
    }

    /// Fills up the last byte with zeros and writes all out.
    pub(super) fn align(&mut self) {
        let bytes = self.used.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
        self.pending = 0;
        self.used = 0;
    }
}

/// A place in a stream of bits.
#[derive(Debug)]
pub(super) struct Mark {
    length: usize,
    pending: u64,
    used: u32,
}

/// What was written from a [`Mark`] on.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    pending: u64,
    used: u32,
}

/// Bits that [`BitWriter::put_number`] needs.
pub(super) fn number_bits(value: u64) -> u64 {
    let length = u64::from(64 - value.leading_zeros());
    6 + u64::from(length >= 63) + length.saturating_sub(1)
}

/// Maps numbers close to zero to small ones: 0, -1, 1, -2 … to 0, 1, 2, 3 …
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads what [`BitWriter`] wrote. Every read checks that the bits are there.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit; at most 8 x the number of bytes.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn get(&mut self, width: u32) -> Result<u64, DecodeError> {
        debug_assert!(width <= 64);
        if width as usize > self.bits_left() {
            return Err(DecodeError::Truncated);
        }
        let shift = (self.at % 8) as u32;
        let low = self.word(self.at / 8) >> shift;
        let value = if shift + width > 64 { low | self.word(self.at / 8 + 8) << (64 - shift) } else { low };
        self.at += width as usize;
        Ok(if width == 64 { value } else { value & ((1 << width) - 1) })
    }

    pub(super) fn get_flag(&mut self) -> Result<bool, DecodeError> {
        Ok(self.get(1)? == 1)
    }

    pub(super) fn get_number(&mut self) -> Result<u64, DecodeError> {
        let length = match self.get(6)? as u32 {
            63 => 63 + self.get(1)? as u32,
            length => length,
        };
        Ok(if length <= 1 { length.into() } else { self.get(length - 1)? | 1 << (length - 1) })
    }

    pub(super) fn get_signed(&mut self) -> Result<i64, DecodeError> {
        self.get_number().map(unzigzag)
    }

    /// How many of the next bits, up to `most`, are ones; takes them and the zero behind them (none if there are `most`).
    pub(super) fn get_ones(&mut self, most: u32) -> Result<u32, DecodeError> {
        debug_assert!(most < 32);
        let width = (most as usize).min(self.bits_left()) as u32;
        let at = self.at;
        let ones = self.get(width)?.trailing_ones();
        if ones == most {
            return Ok(ones);
        }
        if ones == width {
            return Err(DecodeError::Truncated);
        }
        self.at = at + ones as usize + 1;
        Ok(ones)
    }

    /// A number that counts things of at least one bit each in what is left, or bounds itself by `most`.
    pub(super) fn get_count(&mut self, most: usize) -> Result<usize, DecodeError> {
        let count = self.get_number()?;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(DecodeError::corrupt("a count is out of range")),
        }
    }

    /// Bits not read yet.
    pub(super) fn bits_left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// Skips to the next byte boundary and gives the bytes from there on.
    pub(super) fn rest(&mut self) -> Result<&'a [u8], DecodeError> {
        let padding = (8 - self.at % 8) % 8;
        if self.get(padding as u32)? != 0 {
            return Err(DecodeError::corrupt("padding is not zero"));
        }
        Ok(&self.bytes[self.at / 8..])
    }

    /// Takes `count` whole bytes from the next byte boundary on.
    pub(super) fn get_bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.rest()?.get(..count).ok_or(DecodeError::Truncated)?;
        self.at += count * 8;
        Ok(bytes)
    }

    /// Checks that nothing but padding is left.
    pub(super) fn finish(mut self) -> Result<(), DecodeError> {
        if self.rest()?.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    /// The 8 bytes from byte `at`, zeros beyond the end.
    #[inline]
    fn word(&self, at: usize) -> u64 {
        let tail = self.bytes.get(at..).unwrap_or_default();
        match tail.first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_numbers_and_bytes_come_back_as_written(
            values in prop::collection::vec((any::<u64>(), 0u32..=64), 0..40),
            bytes in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut out = Vec::new();
            let mut writer = BitWriter::new(&mut out);
            for &(value, width) in &values {
                writer.put(if width == 64 { value } else { value & ((1 << width) - 1) }, width);
                writer.put_number(value >> (width % 64));
                writer.put_signed(value as i64);
            }
            writer.put_bytes(&bytes);
            writer.put(1, 1);
            writer.align();
            let mut reader = BitReader::new(&out);
            for &(value, width) in &values {
                prop_assert_eq!(reader.get(width).unwrap(), if width == 64 { value } else { value & ((1 << width) - 1) });
                prop_assert_eq!(reader.get_number().unwrap(), value >> (width % 64));
                prop_assert_eq!(reader.get_signed().unwrap(), value as i64);
            }
            prop_assert_eq!(reader.get_bytes(bytes.len()).unwrap(), &bytes[..]);
            prop_assert_eq!(reader.get_ones(4).unwrap(), 1);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut reader = BitReader::new(&[0xff]);
        assert_eq!(reader.get(9), Err(DecodeError::Truncated));
        assert_eq!(reader.get_ones(16), Err(DecodeError::Truncated));
        assert_eq!(BitReader::new(&[]).get(1), Err(DecodeError::Truncated));
        assert_eq!(BitReader::new(&[1]).finish(), Err(DecodeError::Trailing));
    }
}

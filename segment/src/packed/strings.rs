//! Strings and bytes: the distinct ones with codes, or all of them one after the other.
//!
//! ```text
//! column     coded 1 bit; coded: list of the distinct values, codes (a stream); else a list (tags are always coded)
//! list       count number (only of distinct values), lengths (a stream), blob
//! blob       kind 2 bits: bytes at a byte boundary, packed, zstd; nothing if it is empty
//! packed     least byte 8 bits, width 3 bits, (byte - least) in `width` bits each
//! zstd       compressed length number, zstd frame at a byte boundary
//! ```

use std::collections::HashMap;

use super::bits::{BitReader, BitWriter};
use super::ints;
use crate::codec::{DecodeError, EncodeError, Meter};

/// Below this many bytes a zstd frame's header costs more than it saves.
const ZSTD_FROM: usize = 64;

const ZSTD_LEVEL: i32 = 3;

const RAW: u64 = 0;
const PACKED: u64 = 1;
const ZSTD: u64 = 2;

/// Distinct values in order of first appearance, and the code of each value.
#[derive(Debug, Default)]
pub(super) struct Coded<'a> {
    pub(super) distinct: Vec<&'a [u8]>,
    pub(super) codes: Vec<i64>,
}

impl<'a> Coded<'a> {
    /// Codes `values`; gives up (`None`) when more than `most` are distinct.
    pub(super) fn of(values: impl Iterator<Item = &'a [u8]>, most: usize) -> Option<Self> {
        let mut coded = Self::default();
        let mut codes: HashMap<&[u8], i64> = HashMap::new();
        let mut last: Option<(&[u8], i64)> = None;
        for value in values {
            let code = match last {
                Some((text, code)) if text == value => code,
                _ => *codes.entry(value).or_insert_with(|| {
                    coded.distinct.push(value);
                    coded.distinct.len() as i64 - 1
                }),
            };
            if coded.distinct.len() > most {
                return None;
            }
            last = Some((value, code));
            coded.codes.push(code);
        }
        Some(coded)
    }

    pub(super) fn write(&self, out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
        out.put_number(self.distinct.len() as u64);
        write_list(&self.distinct, out)?;
        ints::write(&self.codes, out)
    }
}

/// Appends a column of strings or bytes.
pub(super) fn write(values: &[&[u8]], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    let coded = Coded::of(values.iter().copied(), values.len() / 2 + 1);
    match coded {
        Some(coded) if !values.is_empty() => {
            let start = out.mark();
            out.put_flag(true);
            coded.write(out)?;
            let bits = out.bits_since(&start);
            let kept = out.cut(&start);
            out.put_flag(false);
            write_list(values, out)?;
            if out.bits_since(&start) > bits {
                out.cut(&start);
                out.paste(&kept);
            }
            Ok(())
        }
        _ => {
            out.put_flag(false);
            write_list(values, out)
        }
    }
}

/// Byte strings one after the other. Invariant: `ends` ascend, the last is the length of `bytes`.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) ends: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.bytes.get(start..*self.ends.get(index)?)
    }
}

/// A column of byte strings as read: each by its place, or by a code.
#[derive(Debug)]
pub(super) struct Strings {
    list: List,
    codes: Option<Vec<i64>>,
}

impl Strings {
    /// The string at `place`; `None` beyond the end or for a code without a value.
    pub(super) fn get(&self, place: usize) -> Option<&[u8]> {
        match &self.codes {
            None => self.list.get(place),
            Some(codes) => self.list.get(usize::try_from(*codes.get(place)?).ok()?),
        }
    }

    /// Bytes on the heap, as charged.
    pub(super) fn charged(&self) -> usize {
        let codes = self.codes.as_ref().map_or(0, |codes| codes.len() * size_of::<i64>());
        self.list.bytes.len() + self.list.ends.len() * size_of::<usize>() + codes
    }
}

/// Reads a column of `count` strings or bytes.
pub(super) fn read(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Strings, DecodeError> {
    if !input.get_flag()? {
        return Ok(Strings { list: read_list(count, input, meter)?, codes: None });
    }
    let (list, codes) = read_coded(count, input, meter)?;
    Ok(Strings { list, codes: Some(codes) })
}

/// Reads distinct values and `count` codes, which are not checked to have a value.
pub(super) fn read_coded(
    count: usize,
    input: &mut BitReader<'_>,
    meter: &mut Meter,
) -> Result<(List, Vec<i64>), DecodeError> {
    let distinct = input.get_count(count)?;
    let distinct = read_list(distinct, input, meter)?;
    Ok((distinct, ints::read(count, input, meter)?))
}

fn write_list(values: &[&[u8]], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    let lengths: Vec<i64> = values.iter().map(|value| value.len() as i64).collect();
    ints::write(&lengths, out)?;
    write_blob(&values.concat(), out)
}

fn read_list(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<List, DecodeError> {
    let lengths = ints::read(count, input, meter)?;
    // Offsets of Arrow strings have 31 bits.
    const MOST: usize = i32::MAX as usize;
    let mut total = 0usize;
    let mut ends = Vec::with_capacity(count);
    meter.charge(count, size_of::<usize>())?;
    for length in lengths {
        let end = usize::try_from(length).ok().and_then(|length| total.checked_add(length));
        total = end.filter(|&end| end <= MOST).ok_or(DecodeError::corrupt("a string has an impossible length"))?;
        ends.push(total);
    }
    meter.refund(count, size_of::<i64>());
    meter.charge(total, 1)?;
    Ok(List { ends, bytes: read_blob(total, input)? })
}

fn write_blob(bytes: &[u8], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    let (Some(&least), Some(&most)) = (bytes.iter().min(), bytes.iter().max()) else { return Ok(()) };
    let width = 8 - (most - least).leading_zeros();
    let packed = if width < 8 { 11 + bytes.len() * width as usize } else { usize::MAX };
    if bytes.len() >= ZSTD_FROM {
        let library = |error: std::io::Error| EncodeError::Library { library: "zstd", message: error.to_string() };
        let frame = zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(library)?;
        if 24 + frame.len() * 8 < packed.min(bytes.len() * 8) {
            out.put(ZSTD, 2);
            out.put_number(frame.len() as u64);
            out.put_bytes(&frame);
            return Ok(());
        }
    }
    if packed < bytes.len() * 8 {
        out.put(PACKED, 2);
        out.put(least.into(), 8);
        out.put(width.into(), 3);
        for byte in bytes {
            out.put((byte - least).into(), width);
        }
    } else {
        out.put(RAW, 2);
        out.put_bytes(bytes);
    }
    Ok(())
}

/// Reads a blob of `length` bytes, which the caller has charged.
fn read_blob(length: usize, input: &mut BitReader<'_>) -> Result<Vec<u8>, DecodeError> {
    if length == 0 {
        return Ok(Vec::new());
    }
    match input.get(2)? {
        RAW => Ok(input.get_bytes(length)?.to_vec()),
        PACKED => {
            let (least, width) = (input.get(8)? as u8, input.get(3)? as u32);
            (0..length).map(|_| Ok(least.wrapping_add(input.get(width)? as u8))).collect()
        }
        ZSTD => {
            let frame = input.get_number()?;
            let frame = usize::try_from(frame).map_err(|_| DecodeError::Truncated)?;
            let bytes = zstd::bulk::decompress(input.get_bytes(frame)?, length);
            let bytes = bytes.map_err(|_| DecodeError::corrupt("a blob does not decompress"))?;
            if bytes.len() == length { Ok(bytes) } else { Err(DecodeError::corrupt("a blob has another length")) }
        }
        _ => Err(DecodeError::corrupt("an unknown kind of blob")),
    }
}

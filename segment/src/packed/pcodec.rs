//! Long columns by `pco` (pcodec), guarded.
//!
//! A body is one chunk of one page, without pco's file header: the format version is fixed by ours. Before pco sees hostile
//! bytes, [`admit`] walks the chunk's metadata, refuses the modes that we never write (a dictionary may claim 256 MiB) and
//! charges the tables that pco will build.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, ModeSpec};

use super::bits::BitReader;
use crate::codec::{DecodeError, EncodeError, Meter};

/// The file header of the pco format that these bodies are in.
const FORMAT: [u8; 2] = [4, 1];

/// Level of effort; beyond it pco hardly gains.
const LEVEL: usize = 8;

/// Largest lookback window (log2) admitted. Ours come from segments of far fewer rows.
const MAX_WINDOW_LOG: u64 = 16;

/// The plain numbers, whose mode needs no search, or floats, whose structure pco shall find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Classic,
    Auto,
}

/// Appends the numbers, of which there must be 1 to 2^24.
pub(super) fn compress<T: Number>(numbers: &[T], search: Search, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mode = match search {
        Search::Classic => ModeSpec::Classic,
        Search::Auto => ModeSpec::Auto,
    };
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(mode);
    let library = |error: pco::errors::PcoError| EncodeError::Library { library: "pco", message: error.to_string() };
    let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config).map_err(library)?;
    chunk.write_meta(&mut *out).map_err(library)?;
    for page in 0..chunk.n_per_page().len() {
        chunk.write_page(page, &mut *out).map_err(library)?;
    }
    Ok(())
}

/// Fills `numbers` from the head of `bytes` and returns how many bytes that took.
pub(super) fn decompress<T: Number>(bytes: &[u8], numbers: &mut [T], meter: &mut Meter) -> Result<usize, DecodeError> {
    let scratch = admit(bytes, size_of::<T>() as u32 * 8)?;
    meter.charge(scratch, 1)?;
    let bad = |_| DecodeError::corrupt("a pco column is malformed");
    let (file, _) = FileDecompressor::new(&FORMAT[..]).map_err(bad)?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(bytes).map_err(bad)?;
    let mut left = rest;
    // The writer's pages: as few equal ones as keep to pco's default size.
    for page in pages(numbers) {
        let mut reader = chunk.page_decompressor(left, page.len()).map_err(bad)?;
        reader.read(page).map_err(bad)?;
        left = reader.into_src();
    }
    meter.refund(scratch, 1);
    Ok(bytes.len() - left.len())
}

fn pages<T>(numbers: &mut [T]) -> impl Iterator<Item = &mut [T]> {
    let count = numbers.len().div_ceil(pco::DEFAULT_MAX_PAGE_N).max(1);
    let (low, longer) = (numbers.len() / count, numbers.len() % count);
    let mut left = numbers;
    (0..count).map(move |page| {
        let (head, tail) = std::mem::take(&mut left).split_at_mut(low + usize::from(page < longer));
        left = tail;
        head
    })
}

/// Bytes of tables that decoding the chunk at the head of `bytes` will need, if it is one of ours.
fn admit(bytes: &[u8], bits: u32) -> Result<usize, DecodeError> {
    let mut reader = BitReader::new(bytes);
    let two_streams = match reader.get(4)? {
        0 => false,
        1 | 2 => {
            reader.get(bits)?;
            true
        }
        3 => {
            reader.get(8)?;
            true
        }
        _ => return Err(DecodeError::corrupt("a pco column uses a mode that is never written")),
    };
    let mut scratch = 64 << 10;
    match reader.get(4)? {
        0 => {}
        1 => {
            reader.get(4)?;
        }
        2 => {
            let (window, state) = (reader.get(5)? + 1, reader.get(4)?);
            reader.get(1)?;
            if window > MAX_WINDOW_LOG || state > window {
                return Err(DecodeError::corrupt("a pco column has too wide a window"));
            }
            scratch += (1 << window) * 2 * size_of::<u64>();
            scratch += tables(&mut reader, 32)?;
        }
        _ => return Err(DecodeError::corrupt("a pco column uses a delta that is never written")),
    }
    scratch += tables(&mut reader, bits)?;
    if two_streams {
        scratch += tables(&mut reader, bits)?;
    }
    Ok(scratch)
}

/// Bytes for the bins and the entropy decoder of one stream of `bits` wide numbers; skips its metadata.
fn tables(reader: &mut BitReader<'_>, bits: u32) -> Result<usize, DecodeError> {
    let (states, bins) = (reader.get(4)? as u32, reader.get(15)?);
    let offset_width = 32 - bits.leading_zeros();
    for _ in 0..bins {
        reader.get(states)?;
        reader.get(bits)?;
        reader.get(offset_width)?;
    }
    Ok((32 << states) + bins as usize * 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::DecodeLimits;

    #[test]
    fn pco_still_writes_the_format_that_is_read() {
        assert_eq!(FileCompressor::default().write_header(Vec::new()).unwrap(), FORMAT);
    }

    #[test]
    fn a_claimed_dictionary_is_refused_before_pco_allocates_it() {
        let mut meter = Meter::new(&DecodeLimits::default());
        let claim = [4, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0];
        assert!(matches!(decompress(&claim, &mut [0u64; 4], &mut meter), Err(DecodeError::Corrupt { .. })));
    }

    #[test]
    fn numbers_come_back_and_the_length_is_exact() {
        for n in [1usize, 2, 255, 256, 257, 5000, 300_000] {
            let numbers: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761) >> (i % 30)).collect();
            let mut bytes = Vec::new();
            compress(&numbers, Search::Classic, &mut bytes).unwrap();
            let length = bytes.len();
            bytes.extend_from_slice(&[1, 2, 3]);
            let mut back = vec![0u32; n];
            let mut meter = Meter::new(&DecodeLimits::default());
            assert_eq!(decompress(&bytes, &mut back, &mut meter), Ok(length));
            assert_eq!(back, numbers);
        }
    }
}

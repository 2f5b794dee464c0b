//! Content codings of HTTP bodies, undone piece by piece: whatever the ratio, no more than a window and one piece of
//! output is in memory.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// The largest window (as a power of two) that a zstd body may ask for: 2 MiB, what `zstd -3` uses.
const ZSTD_WINDOW_LOG: u32 = 21;

/// Bytes of compressed input worked on at a time, and of zstd output at a time.
const PIECE: usize = 16 * 1024;

/// How a body is packed (`Content-Encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not packed.
    Identity,
    /// gzip, also of several members.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Why a body cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A coding that we do not know (415).
    #[error("unknown Content-Encoding {0:?}: send gzip, zstd or identity")]
    Unknown(String),
    /// The body ends in the middle of its packed stream.
    #[error("the {0} body is cut off before its end: send it again")]
    Truncated(&'static str),
    /// The body is not what it says to be, or its checksum is wrong.
    #[error("the {coding} body is corrupt: {detail}")]
    Corrupt {
        /// `gzip` or `zstd`.
        coding: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// More unpacked bytes than allowed (413).
    #[error("the unpacked body is over the limit of {limit} bytes: send it in smaller parts")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
}

impl Coding {
    /// Reads the header's value; without the header a body is not packed.
    pub fn from_header(value: Option<&str>) -> Result<Self, BodyError> {
        let value = value.unwrap_or_default().trim();
        if value.is_empty() || value.eq_ignore_ascii_case("identity") {
            Ok(Self::Identity)
        } else if value.eq_ignore_ascii_case("gzip") || value.eq_ignore_ascii_case("x-gzip") {
            Ok(Self::Gzip)
        } else if value.eq_ignore_ascii_case("zstd") {
            Ok(Self::Zstd)
        } else {
            Err(BodyError::Unknown(value.chars().take(40).collect()))
        }
    }

    /// Bytes that unpacking holds in memory, for the budget.
    pub const fn memory(self) -> u64 {
        match self {
            Self::Identity => 0,
            // The 32 KiB window and buffer of flate2, the decoder's state, and our piece of output.
            Self::Gzip => 128 * 1024,
            Self::Zstd => (1 << ZSTD_WINDOW_LOG) + 256 * 1024,
        }
    }
}

/// Undoes one coding: bytes as they come in, unpacked pieces out.
pub struct Unpacker {
    state: State,
    limit: u64,
    unpacked: u64,
}

enum State {
    Identity,
    /// The decoder, and whether any byte came at all: an empty body is no truncated gzip.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>, bool),
    Zstd {
        decoder: Box<Decoder<'static>>,
        /// Whether a frame is open.
        open: bool,
    },
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").field("limit", &self.limit).field("unpacked", &self.unpacked).finish_non_exhaustive()
    }
}

impl Unpacker {
    /// An unpacker that refuses to give out more than `limit` bytes.
    pub fn new(coding: Coding, limit: u64) -> Result<Self, BodyError> {
        let state = match coding {
            Coding::Identity => State::Identity,
            Coding::Gzip => State::Gzip(Box::new(MultiGzDecoder::new(Vec::new())), false),
            Coding::Zstd => {
                let mut decoder = Decoder::new().map_err(|e| corrupt("zstd", &e))?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(|e| corrupt("zstd", &e))?;
                State::Zstd { decoder: Box::new(decoder), open: false }
            }
        };
        Ok(Self { state, limit, unpacked: 0 })
    }

    /// Unpacks a chunk and hands on the pieces.
    pub fn feed(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), BodyError> {
        let Self { state, limit, unpacked } = self;
        let mut out = Meter { limit: *limit, unpacked, out };
        match state {
            State::Identity => chunk.chunks(PIECE).try_for_each(|piece| out.give(piece)),
            State::Gzip(decoder, any) => {
                *any |= !chunk.is_empty();
                chunk.chunks(PIECE).try_for_each(|piece| gunzip(decoder, piece, &mut out))
            }
            State::Zstd { decoder, open } => unzstd(decoder, open, chunk, &mut out),
        }
    }

    /// The body has ended: checks that its stream has, too.
    pub fn finish(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<(), BodyError> {
        let Self { state, limit, unpacked } = self;
        let mut out = Meter { limit: *limit, unpacked, out };
        match state {
            State::Identity | State::Gzip(_, false) | State::Zstd { open: false, .. } => Ok(()),
            State::Zstd { open: true, .. } => Err(BodyError::Truncated("zstd")),
            State::Gzip(decoder, true) => {
                let finished = decoder.try_finish();
                let rest = std::mem::take(decoder.get_mut());
                out.give(&rest)?;
                finished.map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => BodyError::Truncated("gzip"),
                    _ => corrupt("gzip", &error),
                })
            }
        }
    }
}

struct Meter<'a> {
    limit: u64,
    unpacked: &'a mut u64,
    out: &'a mut dyn FnMut(&[u8]),
}

impl Meter<'_> {
    fn give(&mut self, piece: &[u8]) -> Result<(), BodyError> {
        *self.unpacked = self.unpacked.saturating_add(piece.len() as u64);
        if *self.unpacked > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        if !piece.is_empty() {
            (self.out)(piece);
        }
        Ok(())
    }
}

/// flate2 writes at most about one of its 32 KiB buffers per call, so the output never piles up.
fn gunzip(decoder: &mut MultiGzDecoder<Vec<u8>>, mut piece: &[u8], out: &mut Meter<'_>) -> Result<(), BodyError> {
    while !piece.is_empty() {
        let taken = decoder.write(piece).map_err(|e| corrupt("gzip", &e))?;
        let unpacked = decoder.get_mut();
        let given = out.give(unpacked);
        unpacked.clear();
        given?;
        if taken == 0 {
            return Err(BodyError::Corrupt { coding: "gzip", detail: "there is something behind its end".to_owned() });
        }
        piece = piece.get(taken..).unwrap_or_default();
    }
    Ok(())
}

fn unzstd(decoder: &mut Decoder<'static>, open: &mut bool, chunk: &[u8], out: &mut Meter<'_>) -> Result<(), BodyError> {
    let mut window = [0_u8; PIECE];
    let mut input = InBuffer::around(chunk);
    loop {
        let before = input.pos();
        let mut output = OutBuffer::around(&mut window[..]);
        if before == chunk.len() && !*open {
            return Ok(());
        }
        let hint = decoder.run(&mut input, &mut output).map_err(|e| corrupt("zstd", &e))?;
        *open = hint != 0;
        let written = output.pos();
        out.give(window.get(..written).unwrap_or_default())?;
        // A full window may hide more output; otherwise the decoder waits for input.
        if input.pos() == chunk.len() && written < PIECE {
            return Ok(());
        }
    }
}

fn corrupt(coding: &'static str, error: &dyn std::fmt::Display) -> BodyError {
    BodyError::Corrupt { coding, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(coding: Coding, packed: &[u8], step: usize, limit: u64) -> (Vec<u8>, Result<(), BodyError>) {
        let mut all = Vec::new();
        let mut unpacker = Unpacker::new(coding, limit).unwrap();
        let result = packed
            .chunks(step.max(1))
            .try_for_each(|chunk| unpacker.feed(chunk, &mut |piece| all.extend_from_slice(piece)))
            .and_then(|()| unpacker.finish(&mut |piece| all.extend_from_slice(piece)));
        (all, result)
    }

    fn sample() -> Vec<u8> {
        (0..9_000_u32).flat_map(|n| format!("climate temp={}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    #[test]
    fn every_coding_comes_back_at_any_split() {
        let data = sample();
        let two_members = [gzip(&data), gzip(b"more\n")].concat();
        let both = [data.clone(), b"more\n".to_vec()].concat();
        let zstd = zstd::encode_all(&data[..], 3).unwrap();
        for step in [1, 7, 1_000, 20_000, 1 << 20] {
            assert_eq!(unpack(Coding::Identity, &data, step, u64::MAX), (data.clone(), Ok(())));
            assert_eq!(unpack(Coding::Gzip, &two_members, step, u64::MAX), (both.clone(), Ok(())));
            assert_eq!(unpack(Coding::Zstd, &zstd, step, u64::MAX), (data.clone(), Ok(())));
        }
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
            assert_eq!(unpack(coding, b"", 1, 0), (Vec::new(), Ok(())), "an empty body is empty");
        }
    }

    #[test]
    fn a_cut_body_is_an_error_at_every_length_and_gives_what_it_held() {
        let data = b"m f=1\nm f=2\nm f=3\n".repeat(20);
        for (coding, packed) in [(Coding::Gzip, gzip(&data)), (Coding::Zstd, zstd::encode_all(&data[..], 3).unwrap())] {
            for end in 1..packed.len() {
                let (got, result) = unpack(coding, &packed[..end], 5, u64::MAX);
                assert!(result.is_err(), "{coding:?} cut at {end}");
                assert!(data.starts_with(&got));
            }
        }
    }

    #[test]
    fn a_changed_byte_is_found() {
        let data = sample();
        let packed = gzip(&data);
        for at in (10..packed.len()).step_by(997) {
            let mut bad = packed.clone();
            bad[at] ^= 0x10;
            assert!(unpack(Coding::Gzip, &bad, 4_096, u64::MAX).1.is_err(), "byte {at}");
        }
        assert!(matches!(unpack(Coding::Gzip, b"climate temp=1\n", 9, u64::MAX).1, Err(BodyError::Corrupt { .. })));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_and_handed_on_in_small_pieces() {
        let zeros = vec![0; 20 << 20];
        for (coding, packed) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap())]
        {
            let mut largest = 0;
            let mut unpacker = Unpacker::new(coding, 10 << 20).unwrap();
            let result = unpacker.feed(&packed, &mut |piece| largest = largest.max(piece.len()));
            assert_eq!(result, Err(BodyError::TooLarge { limit: 10 << 20 }));
            assert!(largest <= 256 * 1024, "{coding:?}: {largest}");
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(26).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(matches!(unpack(Coding::Zstd, &packed, 9_999, u64::MAX).1, Err(BodyError::Corrupt { .. })));
    }
}

//! The one door to both encodings: a batch in, bytes out, and back.

use arrow_array::RecordBatch;
use thiserror::Error;

use crate::schema::{ColumnType, Schema, SchemaError};
use crate::{arrow_zstd, packed};

/// How the body of a segment is encoded. The codes travel in frame headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Encoding {
    /// The compact column container of this crate: the default.
    #[default]
    Packed = 1,
    /// Arrow IPC messages with zstd-compressed buffers.
    ArrowZstd = 2,
}

impl Encoding {
    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::ArrowZstd => "arrow-zstd",
        }
    }

    /// The encoding of a code on the wire, `None` for an unknown one.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Packed, Self::ArrowZstd].into_iter().find(|e| e.code() == code)
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Packed, Self::ArrowZstd].into_iter().find(|e| e.name() == name).ok_or(UnknownEncoding)
    }
}

/// The name of an encoding that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown encoding; use `packed` or `arrow-zstd`")]
pub struct UnknownEncoding;

/// What a decoder may spend on one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes that the decoded batch and the scratch memory on the way to it may take.
    pub max_bytes: usize,
}

impl Default for DecodeLimits {
    /// 64 MiB, far above any segment that an agent seals.
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// Appends the encoded `batch` to `out`. The batch must have the shape of [`Schema::arrow`]; on an error `out` is as before.
pub fn encode(batch: &RecordBatch, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let before = out.len();
    let done = Schema::from_arrow(batch.schema_ref()).map_err(EncodeError::from).and_then(|schema| match encoding {
        Encoding::Packed => packed::encode(batch, &schema, out),
        Encoding::ArrowZstd => arrow_zstd::encode(batch, &schema, out),
    });
    if done.is_err() {
        out.truncate(before);
    }
    done
}

/// The batch of encoded `bytes`. Trusts nothing: any bytes, row count and schema give a valid batch or an error, within
/// `limits`.
pub fn decode(
    bytes: &[u8],
    schema: &Schema,
    rows: usize,
    encoding: Encoding,
    limits: &DecodeLimits,
) -> Result<RecordBatch, DecodeError> {
    match encoding {
        Encoding::Packed => packed::decode(bytes, schema, rows, limits),
        Encoding::ArrowZstd => arrow_zstd::decode(bytes, schema, rows, limits),
    }
}

/// An upper estimate of the heap that [`encode`] needs besides its input and output, for a budget reservation: columns are
/// encoded one after the other, so it grows with the rows but hardly with the columns.
pub fn scratch_bytes(rows: usize, schema: &Schema) -> usize {
    packed::scratch_bytes(rows, schema)
}

/// Most bytes that an encoded batch of such columns takes beyond its raw data: what is said of each column, and its padding.
///
/// For `arrow-zstd` that is far more than a few records themselves: an Arrow message pads each of a column's two or three buffers to 64
/// bytes and describes it in 16 (Arrow columnar format, "Encapsulated message format"), and has a message of its own for each dictionary.
pub fn overhead_bytes(encoding: Encoding, columns: impl Iterator<Item = ColumnType>) -> usize {
    let (fixed, plain, tag) = match encoding {
        Encoding::Packed => (64, 32, 48),
        Encoding::ArrowZstd => (640, 336, 1_024),
    };
    columns.fold(fixed, |sum, ty| sum + if ty == ColumnType::Tag { tag } else { plain })
}

/// Why a batch could not be encoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The batch is not in the shape of a log's schema.
    #[error("the batch has no log schema: {0}")]
    Schema(#[from] SchemaError),
    /// The batch holds more than the format can express.
    #[error("the batch is too large for one segment; split it")]
    TooLarge,
    /// The time of some row is null.
    #[error("a row has no time; every record needs one")]
    NullTime,
    /// A library failed on data that it should have taken.
    #[error("{library} failed to compress: {message}")]
    Library {
        /// Which one.
        library: &'static str,
        /// What it said.
        message: String,
    },
}

/// Why bytes could not be decoded. Each means corruption, a wrong schema or row count, or a limit that is too low.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the segment does.
    #[error("segment bytes end too early; fetch the segment again")]
    Truncated,
    /// Bytes follow the segment.
    #[error("bytes follow the segment; it is corrupt or its schema or row count is wrong")]
    Trailing,
    /// The bytes contradict themselves, the schema or the row count.
    #[error("segment is corrupt: {what}; fetch it again")]
    Corrupt {
        /// What was found.
        what: &'static str,
    },
    /// The decoded segment would exceed the limit.
    #[error("decoded segment exceeds {max_bytes} bytes; raise the limit or write smaller segments")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The segment was written by a newer version.
    #[error("segment layout {version} is unknown; update the reader")]
    Version {
        /// The version found.
        version: u8,
    },
}

impl DecodeError {
    /// Corruption, of which `what` says more.
    pub(crate) const fn corrupt(what: &'static str) -> Self {
        Self::Corrupt { what }
    }
}

/// Memory that a decoder may still spend: charge first, then allocate.
#[derive(Debug)]
pub(crate) struct Meter {
    left: usize,
    max_bytes: usize,
}

impl Meter {
    pub(crate) fn new(limits: &DecodeLimits) -> Self {
        Self { left: limits.max_bytes, max_bytes: limits.max_bytes }
    }

    /// Takes `count` elements of `width` bytes from what is left.
    pub(crate) fn charge(&mut self, count: usize, width: usize) -> Result<(), DecodeError> {
        let left = count.checked_mul(width).and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or(DecodeError::TooLarge { max_bytes: self.max_bytes })?;
        Ok(())
    }

    /// Gives scratch memory back that [`Meter::charge`] took.
    pub(crate) fn refund(&mut self, count: usize, width: usize) {
        self.left = (self.left + count * width).min(self.max_bytes);
    }
}

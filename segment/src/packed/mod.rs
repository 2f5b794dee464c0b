//! The `packed` encoding: a small column container, one stream of bits.
//!
//! ```text
//! layout     4 bits   1
//! tags       each tag column: nulls, then its distinct values and the codes of the valid rows
//! grouped    1 bit    the rows below come series by series; only if the tags leave a choice
//! time       1 bit    as they came in spite of grouping (only if grouped); then the times
//! fields     each other column in schema order: nulls, then the valid values
//! ```
//!
//! Names, types, row count and the schema itself come from outside. Every column decides by its data how it is coded; the
//! coders stand one a file. There are no lengths where the content says where it ends: at ten rows, a byte per column is a
//! twentieth of the segment.

mod bits;
mod flags;
mod floats;
mod ints;
mod order;
mod pcodec;
mod read;
mod scale;
mod strings;
mod time;
mod transform;
mod write;

use crate::schema::Schema;

pub(crate) use read::decode;
pub(crate) use write::encode;

/// The layout described above.
const LAYOUT: u64 = 1;

/// An upper estimate of the heap that [`encode`] needs besides its input and output.
pub(crate) fn scratch_bytes(rows: usize, schema: &Schema) -> usize {
    // Per row: a column in order, its integers, residuals and their sorted copy, pco's latents; plus pco's tables, zstd's context
    // and up to 16 null patterns.
    let patterns = schema.columns().len().min(16);
    (768 << 10) + rows * (72 + patterns)
}

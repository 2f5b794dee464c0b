//! Streams of booleans: bool columns, and which rows of a column are null.
//!
//! ```text
//! kind       2 bits   all the same, bitmap, runs
//! same       1 bit    the value
//! bitmap     1 bit each
//! runs       first value 1 bit, count of runs - 1 number, lengths - 1 of all but the last (a stream)
//! ```

use super::bits::{BitReader, BitWriter, number_bits};
use super::ints;
use crate::codec::{DecodeError, EncodeError, Meter};

const SAME: u64 = 0;
const BITMAP: u64 = 1;
const RUNS: u64 = 2;

/// Appends `flags`.
pub(super) fn write(flags: &[bool], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    let Some(&first) = flags.first() else { return Ok(()) };
    let mut lengths: Vec<i64> = flags.chunk_by(|a, b| a == b).map(|run| run.len() as i64 - 1).collect();
    // The last run ends with the stream.
    lengths.pop();
    if lengths.is_empty() {
        out.put(SAME, 2);
        out.put_flag(first);
        return Ok(());
    }
    // A run costs its stream two bits at the very least.
    if lengths.len() * 2 < flags.len() {
        let start = out.mark();
        out.put(RUNS, 2);
        out.put_flag(first);
        out.put_number(lengths.len() as u64);
        ints::write(&lengths, out)?;
        if out.bits_since(&start) < 2 + flags.len() {
            return Ok(());
        }
        out.cut(&start);
    }
    out.put(BITMAP, 2);
    for chunk in flags.chunks(64) {
        let word = chunk.iter().rev().fold(0, |word, &flag| word << 1 | u64::from(flag));
        out.put(word, chunk.len() as u32);
    }
    Ok(())
}

/// Reads `count` flags.
pub(super) fn read(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<bool>, DecodeError> {
    meter.charge(count, size_of::<bool>())?;
    if count == 0 {
        return Ok(Vec::new());
    }
    match input.get(2)? {
        SAME => Ok(vec![input.get_flag()?; count]),
        BITMAP => (0..count).map(|_| input.get_flag()).collect(),
        RUNS => read_runs(count, input, meter),
        _ => Err(DecodeError::corrupt("an unknown kind of flags")),
    }
}

fn read_runs(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<bool>, DecodeError> {
    let mut value = input.get_flag()?;
    let runs = input.get_count(count)?;
    let lengths = ints::read(runs, input, meter)?;
    let mut flags = Vec::with_capacity(count);
    for length in lengths {
        let left = count - flags.len();
        match usize::try_from(length) {
            Ok(length) if length < left => flags.resize(flags.len() + length + 1, value),
            _ => return Err(DecodeError::corrupt("a run has no length or too great a one")),
        }
        value = !value;
    }
    flags.resize(count, value);
    meter.refund(runs, size_of::<i64>());
    Ok(flags)
}

/// The null patterns of a segment's columns. Fields that come together are absent together, so a pattern is written once.
///
/// ```text
/// nulls      1 bit    any; then, if 1: known 1 bit, then the index of an earlier pattern (a number) or the pattern
/// ```
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: Vec<Vec<bool>>,
}

/// Patterns remembered, so that wide logs do not search or store without end.
const MAX_PATTERNS: usize = 16;

impl Patterns {
    /// Appends which rows are valid; `None` means all.
    pub(super) fn write(&mut self, valid: Option<Vec<bool>>, out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
        out.put_flag(valid.is_some());
        let Some(valid) = valid else { return Ok(()) };
        let known = self.known.iter().position(|known| *known == valid);
        out.put_flag(known.is_some());
        if let Some(known) = known {
            out.put_number(known as u64);
            return Ok(());
        }
        write(&valid, out)?;
        if self.known.len() < MAX_PATTERNS && is_worth_knowing(&valid) {
            self.known.push(valid);
        }
        Ok(())
    }

    /// Reads which of `count` rows are valid; `None` means all.
    pub(super) fn read(
        &mut self,
        count: usize,
        input: &mut BitReader<'_>,
        meter: &mut Meter,
    ) -> Result<Option<Vec<bool>>, DecodeError> {
        if !input.get_flag()? {
            return Ok(None);
        }
        if input.get_flag()? {
            let known = input.get_count(MAX_PATTERNS)?;
            let known = self.known.get(known).ok_or(DecodeError::corrupt("a null pattern is not known"))?;
            meter.charge(count, size_of::<bool>())?;
            return Ok(Some(known.clone()));
        }
        let valid = read(count, input, meter)?;
        if self.known.len() < MAX_PATTERNS && is_worth_knowing(&valid) {
            meter.charge(count, size_of::<bool>())?;
            self.known.push(valid.clone());
        }
        Ok(Some(valid))
    }
}

/// Whether a pattern costs more than a reference to it: one that is the same all over does not.
fn is_worth_knowing(flags: &[bool]) -> bool {
    flags.len() > number_bits(MAX_PATTERNS as u64) as usize && flags.windows(2).any(|pair| pair[0] != pair[1])
}

//! Streams of 64-bit integers, on which times, scaled floats, dictionary codes and lengths all rest.
//!
//! ```text
//! coder      2 bits   packed, rice, pco, runs
//! packed     transform, base, width 7 bits, (step if width > 0), residuals in `width` bits each
//! rice       transform, base, step, center number, k 6 bits, residuals as Rice codes
//! pco        base, step, word 2 bits (16, 32, 64 bits), pco body at a byte boundary
//! runs       count of runs number, values (a stream), lengths - 1 (a stream); not inside another one
//!
//! transform  2 bits   plain, delta, delta of delta, lag (then the period as a number)
//!            then the first values signed, each as the difference to the one before
//! base       signed   smallest residual
//! step       1 bit, then, if 1, a number: what all (residual - base) are multiples of
//! ```
//!
//! All arithmetic wraps, so every input round-trips and no bytes can make it overflow. The count of values is known from outside.

use super::bits::{BitReader, BitWriter, number_bits, unzigzag, zigzag};
use super::pcodec::{self, Search};
use super::transform::Transform;
use crate::codec::{DecodeError, EncodeError, Meter};

/// Below this many values pco's tables cost more than they save.
const PCO_FROM: usize = 40;

/// Less than a pco body ever takes.
const PCO_LEAST_BITS: u64 = 100;

/// From this many values on, pco is taken without a look at the bit coders, unless a transform leaves next to nothing to code.
const PCO_ALONE_FROM: usize = 2048;

/// Values of such a stream that show whether a transform leaves anything to code.
const SAMPLE: usize = 256;

/// Ones in a Rice code that mean: the residual follows as a number.
const ESCAPE: u32 = 20;

const PACKED: u64 = 0;
const RICE: u64 = 1;
const PCO: u64 = 2;
const RUNS: u64 = 3;

/// Appends `values` in the smallest form found.
pub(super) fn write(values: &[i64], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    write_nested(values, true, out)
}

fn write_nested(values: &[i64], may_run: bool, out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    if values.is_empty() {
        return Ok(());
    }
    let plan = Plan::best(values);
    if may_run && plan.bits > 64 {
        let runs = Runs::of(values);
        if runs.values.len() * 4 <= values.len() {
            let run_bits = Plan::best(&runs.values).bits + Plan::best(&runs.lengths).bits + 20;
            if run_bits < plan.bits.min(pco_floor(values.len())) {
                return runs.write(out);
            }
        }
    }
    if values.len() >= PCO_FROM && plan.bits > PCO_LEAST_BITS {
        let pco = Pco::of(values)?;
        if pco.bits() < plan.bits {
            pco.write(out);
            return Ok(());
        }
    }
    plan.write(values, out);
    Ok(())
}

/// What pco can be expected to need at least, for choosing runs without trying pco.
fn pco_floor(count: usize) -> u64 {
    if count < PCO_FROM { u64::MAX } else { 160 + count as u64 / 16 }
}

/// Reads `count` values.
pub(super) fn read(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<i64>, DecodeError> {
    read_nested(count, true, input, meter)
}

fn read_nested(
    count: usize,
    may_run: bool,
    input: &mut BitReader<'_>,
    meter: &mut Meter,
) -> Result<Vec<i64>, DecodeError> {
    meter.charge(count, size_of::<i64>())?;
    if count == 0 {
        return Ok(Vec::new());
    }
    match input.get(2)? {
        PACKED => read_packed(count, input),
        RICE => read_rice(count, input),
        PCO => read_pco(count, input, meter),
        _ if may_run => read_runs(count, input, meter),
        _ => Err(DecodeError::corrupt("runs within runs")),
    }
}

/// The cheapest of the bit coders for some values, and what it costs.
#[derive(Debug)]
struct Plan {
    transform: Transform,
    base: i64,
    step: u64,
    coder: Coder,
    bits: u64,
}

#[derive(Debug)]
enum Coder {
    Packed { width: u32 },
    Rice { center: u64, k: u32 },
}

impl Plan {
    fn best(values: &[i64]) -> Self {
        let mut residuals = Vec::with_capacity(values.len());
        let mut best: Option<Self> = None;
        for transform in Transform::candidates(values) {
            if values.len() >= PCO_ALONE_FROM && !transform.settles(&values[..SAMPLE]) {
                continue;
            }
            let plan = Self::of(transform, values, &mut residuals, best.as_ref().map_or(u64::MAX, |b| b.bits));
            if best.as_ref().is_none_or(|b| plan.bits < b.bits) {
                best = Some(plan);
            }
        }
        best.unwrap_or_else(|| Self::of(Transform::Plain, values, &mut residuals, u64::MAX))
    }

    fn of(transform: Transform, values: &[i64], residuals: &mut Vec<u64>, to_beat: u64) -> Self {
        let (base, step) = transform.residuals(values, residuals);
        let width = 64 - residuals.iter().copied().max().unwrap_or(0).leading_zeros();
        let head = 4 + transform.bits(values) + number_bits(zigzag(base));
        let step_bits = 1 + if step > 1 { number_bits(step) } else { 0 };
        let packed = head + 7 + if width > 0 { step_bits + residuals.len() as u64 * u64::from(width) } else { 0 };
        let plan = Self { transform, base, step, coder: Coder::Packed { width }, bits: packed };
        // Long streams go to pco unless they are all but constant; then packed says so already.
        if width < 2 || residuals.len() >= PCO_ALONE_FROM || head >= to_beat {
            return plan;
        }
        let (center, k, rice) = choose_rice(residuals);
        let bits = head + step_bits + number_bits(center) + 6 + rice;
        if bits < plan.bits { Self { coder: Coder::Rice { center, k }, bits, ..plan } } else { plan }
    }

    fn write(&self, values: &[i64], out: &mut BitWriter<'_>) {
        let mut residuals = Vec::with_capacity(values.len());
        self.transform.residuals(values, &mut residuals);
        match self.coder {
            Coder::Packed { width } => {
                out.put(PACKED, 2);
                self.transform.write(values, out);
                out.put_signed(self.base);
                out.put(width.into(), 7);
                if width > 0 {
                    write_step(self.step, out);
                }
                for &residual in &residuals {
                    out.put(residual, width);
                }
            }
            Coder::Rice { center, k } => {
                out.put(RICE, 2);
                self.transform.write(values, out);
                out.put_signed(self.base);
                write_step(self.step, out);
                out.put_number(center);
                out.put(k.into(), 6);
                for &residual in &residuals {
                    put_rice(zigzag(residual.wrapping_sub(center) as i64), k, out);
                }
            }
        }
    }
}

fn write_step(step: u64, out: &mut BitWriter<'_>) {
    out.put_flag(step > 1);
    if step > 1 {
        out.put_number(step);
    }
}

fn read_step(input: &mut BitReader<'_>) -> Result<u64, DecodeError> {
    if input.get_flag()? { input.get_number() } else { Ok(1) }
}

/// The center and parameter that make the Rice codes of the residuals short, and their bits together.
fn choose_rice(residuals: &[u64]) -> (u64, u32, u64) {
    let mut sorted = residuals.to_vec();
    let middle = sorted.len() / 2;
    let median = *sorted.select_nth_unstable(middle).1;
    let mut best = (0, 0, u64::MAX);
    for center in [median, 0] {
        let mean = residuals.iter().map(|&r| u128::from(zigzag(r.wrapping_sub(center) as i64))).sum::<u128>()
            / residuals.len().max(1) as u128;
        let guess = (128 - mean.leading_zeros()).min(62);
        for k in guess.saturating_sub(2)..=guess {
            let bits = residuals.iter().map(|&r| rice_bits(zigzag(r.wrapping_sub(center) as i64), k)).sum::<u64>();
            if bits + number_bits(center) < best.2 {
                best = (center, k, bits + number_bits(center));
            }
        }
    }
    (best.0, best.1, best.2 - number_bits(best.0))
}

fn rice_bits(value: u64, k: u32) -> u64 {
    let ones = value >> k;
    if ones < ESCAPE.into() { ones + 1 + u64::from(k) } else { u64::from(ESCAPE) + number_bits(value) }
}

fn put_rice(value: u64, k: u32, out: &mut BitWriter<'_>) {
    let ones = value >> k;
    if ones < ESCAPE.into() {
        out.put((1 << ones) - 1, ones as u32 + 1);
        out.put(value & ((1 << k) - 1), k);
    } else {
        out.put((1 << ESCAPE) - 1, ESCAPE);
        out.put_number(value);
    }
}

fn read_packed(count: usize, input: &mut BitReader<'_>) -> Result<Vec<i64>, DecodeError> {
    let (transform, mut values) = Transform::read(count, input)?;
    let base = input.get_signed()?;
    let width = input.get(7)? as u32;
    if width > 64 {
        return Err(DecodeError::corrupt("a width exceeds 64 bits"));
    }
    let step = if width > 0 { read_step(input)? } else { 1 };
    let residuals = count - values.len();
    if residuals.checked_mul(width as usize).is_none_or(|bits| bits > input.bits_left()) {
        return Err(DecodeError::Truncated);
    }
    values.reserve_exact(residuals);
    if width == 0 {
        values.resize(count, base);
    } else {
        for _ in 0..residuals {
            values.push(base.wrapping_add(step.wrapping_mul(input.get(width)?) as i64));
        }
    }
    transform.restore(&mut values);
    Ok(values)
}

fn read_rice(count: usize, input: &mut BitReader<'_>) -> Result<Vec<i64>, DecodeError> {
    let (transform, mut values) = Transform::read(count, input)?;
    let base = input.get_signed()?;
    let step = read_step(input)?;
    let center = input.get_number()?;
    let k = input.get(6)? as u32;
    if count - values.len() > input.bits_left() {
        return Err(DecodeError::Truncated);
    }
    values.reserve_exact(count - values.len());
    for _ in values.len()..count {
        let ones = input.get_ones(ESCAPE)?;
        let code = if ones == ESCAPE { input.get_number()? } else { u64::from(ones) << k | input.get(k)? };
        let residual = center.wrapping_add(unzigzag(code) as u64);
        values.push(base.wrapping_add(step.wrapping_mul(residual) as i64));
    }
    transform.restore(&mut values);
    Ok(values)
}

/// A stream compressed by pco.
#[derive(Debug)]
struct Pco {
    base: i64,
    step: u64,
    word: u64,
    body: Vec<u8>,
}

impl Pco {
    fn of(values: &[i64]) -> Result<Self, EncodeError> {
        let mut residuals = Vec::with_capacity(values.len());
        let (base, step) = Transform::Plain.residuals(values, &mut residuals);
        let most = residuals.iter().copied().max().unwrap_or(0);
        let mut body = Vec::new();
        // Narrow words make pco's tables smaller and its loops faster.
        let word = match most {
            0..=0xffff => {
                let narrow: Vec<u16> = residuals.iter().map(|&r| r as u16).collect();
                pcodec::compress(&narrow, Search::Classic, &mut body)?;
                0
            }
            0x1_0000..=0xffff_ffff => {
                let narrow: Vec<u32> = residuals.iter().map(|&r| r as u32).collect();
                pcodec::compress(&narrow, Search::Classic, &mut body)?;
                1
            }
            _ => {
                // Wide ones are ticks of clocks and decimals with zeros at the end: there pco finds multiples.
                pcodec::compress(&residuals, Search::Auto, &mut body)?;
                2
            }
        };
        Ok(Self { base, step, word, body })
    }

    fn bits(&self) -> u64 {
        let step = 1 + if self.step > 1 { number_bits(self.step) } else { 0 };
        2 + number_bits(zigzag(self.base)) + step + 2 + 4 + self.body.len() as u64 * 8
    }

    fn write(&self, out: &mut BitWriter<'_>) {
        out.put(PCO, 2);
        out.put_signed(self.base);
        write_step(self.step, out);
        out.put(self.word, 2);
        out.put_bytes(&self.body);
    }
}

fn read_pco(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<i64>, DecodeError> {
    let base = input.get_signed()?;
    let step = read_step(input)?;
    let word = input.get(2)?;
    let body = input.rest()?;
    let restore = |residual: u64| base.wrapping_add(step.wrapping_mul(residual) as i64);
    let (values, taken) = match word {
        0 => {
            let (narrow, taken) = decompress::<u16>(count, body, meter)?;
            (narrow.into_iter().map(|r| restore(r.into())).collect(), taken)
        }
        1 => {
            let (narrow, taken) = decompress::<u32>(count, body, meter)?;
            (narrow.into_iter().map(|r| restore(r.into())).collect(), taken)
        }
        2 => {
            let (wide, taken) = decompress::<u64>(count, body, meter)?;
            (wide.into_iter().map(restore).collect(), taken)
        }
        _ => return Err(DecodeError::corrupt("an unknown word size")),
    };
    input.get_bytes(taken)?;
    Ok(values)
}

/// Numbers in scratch memory, of which the meter is told only while they are made.
fn decompress<T: pco::data_types::Number>(
    count: usize,
    body: &[u8],
    meter: &mut Meter,
) -> Result<(Vec<T>, usize), DecodeError> {
    meter.charge(count, size_of::<T>())?;
    let mut numbers = vec![T::default(); count];
    let taken = pcodec::decompress(body, &mut numbers, meter)?;
    meter.refund(count, size_of::<T>());
    Ok((numbers, taken))
}

/// Values as runs of equal ones.
#[derive(Debug)]
struct Runs {
    values: Vec<i64>,
    lengths: Vec<i64>,
}

impl Runs {
    fn of(values: &[i64]) -> Self {
        let (mut heads, mut lengths) = (Vec::new(), Vec::new());
        for run in values.chunk_by(|a, b| a == b) {
            heads.push(run[0]);
            lengths.push(run.len() as i64 - 1);
        }
        Self { values: heads, lengths }
    }

    fn write(&self, out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
        out.put(RUNS, 2);
        out.put_number(self.values.len() as u64);
        write_nested(&self.values, false, out)?;
        // The last run ends with the stream.
        write_nested(&self.lengths[..self.lengths.len() - 1], false, out)
    }
}

fn read_runs(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<i64>, DecodeError> {
    let runs = input.get_count(count)?.max(1);
    let heads = read_nested(runs, false, input, meter)?;
    let lengths = read_nested(runs - 1, false, input, meter)?;
    let mut values = Vec::with_capacity(count);
    for (index, &head) in heads.iter().enumerate() {
        let left = count - values.len();
        let length = match lengths.get(index) {
            Some(&length) => usize::try_from(length).ok().and_then(|length| length.checked_add(1)),
            None => Some(left),
        };
        match length {
            Some(length) if (1..=left).contains(&length) => values.resize(values.len() + length, head),
            _ => return Err(DecodeError::corrupt("a run has no length or too great a one")),
        }
    }
    meter.refund(2 * runs - 1, size_of::<i64>());
    if values.len() == count { Ok(values) } else { Err(DecodeError::corrupt("runs end too early")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::DecodeLimits;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        write(values, &mut writer).unwrap();
        writer.align();
        let mut reader = BitReader::new(&bytes);
        let mut meter = Meter::new(&DecodeLimits::default());
        assert_eq!(read(values.len(), &mut reader, &mut meter).unwrap(), values);
        reader.finish().unwrap();
        bytes.len()
    }

    #[test]
    fn regular_sequences_take_a_few_bytes_whatever_their_length() {
        assert!(round_trip(&[7; 5000]) <= 4);
        assert!(round_trip(&(0..5000).map(|i| 1_600_000_000 + i * 60).collect::<Vec<_>>()) <= 10);
        assert!(round_trip(&(0..5000).map(|i| [3, 1, 4][i % 3]).collect::<Vec<_>>()) <= 10);
        assert!(round_trip(&(0..90).map(|i| 3600 * (i / 3)).collect::<Vec<_>>()) <= 10);
    }

    #[test]
    fn runs_take_bytes_by_the_run() {
        assert!(round_trip(&(0..8000).map(|i| i * i / 16_000_000).collect::<Vec<_>>()) <= 20);
    }

    #[test]
    fn extremes_wrap_and_come_back() {
        round_trip(&[]);
        round_trip(&[i64::MIN]);
        round_trip(&[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN]);
        round_trip(&[i64::MIN, i64::MAX].repeat(300));
    }

    proptest! {
        #[test]
        fn any_values_come_back(values in prop::collection::vec(any::<i64>(), 0..200), shift in 0u32..64) {
            round_trip(&values.iter().map(|v| v >> shift).collect::<Vec<_>>());
        }

        #[test]
        fn any_steps_come_back(steps in prop::collection::vec(-3i64..40, 0..600), scale in 1i64..1_000_000) {
            let mut at = 0i64;
            round_trip(&steps.iter().map(|step| { at += step * scale; at }).collect::<Vec<_>>());
        }
    }
}

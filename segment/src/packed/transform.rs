//! Reversible steps that make the numbers of a stream small before they are coded.

use super::bits::{BitReader, BitWriter, number_bits, zigzag};
use crate::codec::DecodeError;

/// Longest period looked for: the number of series that are commonly interleaved row by row.
const MAX_LAG: usize = 16;

/// How a value is predicted from those before it. The residual is the value minus the prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// Not at all.
    Plain,
    /// By the value before.
    Delta,
    /// By the line through the two values before.
    DeltaOfDelta,
    /// By the value one period before.
    Lag(usize),
}

impl Transform {
    /// The transforms worth trying on `values`.
    pub(super) fn candidates(values: &[i64]) -> impl Iterator<Item = Self> {
        let fits = [(Self::Plain, 0), (Self::Delta, 1), (Self::DeltaOfDelta, 3)];
        let fits = fits.into_iter().filter(|(_, least)| values.len() > *least).map(|(transform, _)| transform);
        fits.chain(period(values).map(Self::Lag))
    }

    /// How many values are written as they are.
    fn order(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Delta => 1,
            Self::DeltaOfDelta => 2,
            Self::Lag(period) => period,
        }
    }

    /// Fills `out` with `(residual - base) / step` for the values after the first ones, and returns base and step: the least
    /// residual and the greatest common divisor of the differences to it.
    pub(super) fn residuals(self, values: &[i64], out: &mut Vec<u64>) -> (i64, u64) {
        out.clear();
        match self {
            Self::Plain => out.extend(values.iter().map(|&v| v as u64)),
            Self::Delta => out.extend(values.windows(2).map(|w| w[1].wrapping_sub(w[0]) as u64)),
            Self::DeltaOfDelta => out.extend(values.windows(3).map(|w| w[2].wrapping_sub(line(w[0], w[1])) as u64)),
            Self::Lag(period) => {
                out.extend(values.iter().skip(period).zip(values).map(|(b, a)| b.wrapping_sub(*a) as u64));
            }
        }
        let base = out.iter().map(|&r| r as i64).min().unwrap_or(0);
        let mut step = 0;
        for residual in out.iter_mut() {
            *residual = residual.wrapping_sub(base as u64);
            if step != 1 {
                step = gcd(*residual, step);
            }
        }
        let step = step.max(1);
        if step > 1 {
            out.iter_mut().for_each(|residual| *residual /= step);
        }
        (base, step)
    }

    /// Whether the transform leaves no more than a bit of each of `values`.
    pub(super) fn settles(self, values: &[i64]) -> bool {
        let mut residuals = Vec::with_capacity(values.len());
        self.residuals(values, &mut residuals);
        residuals.iter().all(|&residual| residual <= 1)
    }

    /// Bits of the first values and the period. The 2 bits of the kind are the caller's.
    pub(super) fn bits(self, values: &[i64]) -> u64 {
        let firsts = differences(&values[..self.order()]).map(|d| number_bits(zigzag(d))).sum::<u64>();
        firsts + if let Self::Lag(period) = self { number_bits(period as u64) } else { 0 }
    }

    pub(super) fn write(self, values: &[i64], out: &mut BitWriter<'_>) {
        let kind = match self {
            Self::Plain => 0,
            Self::Delta => 1,
            Self::DeltaOfDelta => 2,
            Self::Lag(_) => 3,
        };
        out.put(kind, 2);
        if let Self::Lag(period) = self {
            out.put_number(period as u64);
        }
        for difference in differences(&values[..self.order()]) {
            out.put_signed(difference);
        }
    }

    /// Reads a transform and the first of the `count` values.
    pub(super) fn read(count: usize, input: &mut BitReader<'_>) -> Result<(Self, Vec<i64>), DecodeError> {
        let transform = match input.get(2)? {
            0 => Self::Plain,
            1 => Self::Delta,
            2 => Self::DeltaOfDelta,
            _ => Self::Lag(input.get_count(MAX_LAG)?.max(1)),
        };
        if transform.order() > count {
            return Err(DecodeError::corrupt("a stream is shorter than what it begins with"));
        }
        let mut firsts = Vec::with_capacity(transform.order());
        let mut last = 0i64;
        for _ in 0..transform.order() {
            last = last.wrapping_add(input.get_signed()?);
            firsts.push(last);
        }
        Ok((transform, firsts))
    }

    /// Turns the residuals behind the first values into values.
    pub(super) fn restore(self, values: &mut [i64]) {
        match self {
            Self::Plain => {}
            Self::Delta | Self::Lag(_) => {
                for at in self.order()..values.len() {
                    values[at] = values[at].wrapping_add(values[at - self.order()]);
                }
            }
            Self::DeltaOfDelta => {
                for at in 2..values.len() {
                    values[at] = values[at].wrapping_add(line(values[at - 2], values[at - 1]));
                }
            }
        }
    }
}

/// The value after `a` and `b` on their line.
fn line(a: i64, b: i64) -> i64 {
    b.wrapping_add(b.wrapping_sub(a))
}

/// Each value minus the one before it, beginning from zero.
fn differences(values: &[i64]) -> impl Iterator<Item = i64> {
    values.iter().scan(0i64, |last, &value| Some(value.wrapping_sub(std::mem::replace(last, value))))
}

/// The period at which the steps repeat best, if they repeat in three of four places.
fn period(values: &[i64]) -> Option<usize> {
    let sample = &values[..values.len().min(512)];
    let mut best = (0, 0);
    for lag in 2..=MAX_LAG.min(sample.len() / 2) {
        let span = sample.len() - lag - 1;
        let step = |at: usize| sample[at + lag].wrapping_sub(sample[at]);
        let same = (0..span).filter(|&at| step(at) == step(at + 1)).count();
        let score = same * 256 / span.max(1);
        if score > best.0 + 8 {
            best = (score, lag);
        }
    }
    (best.0 >= 192).then_some(best.1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

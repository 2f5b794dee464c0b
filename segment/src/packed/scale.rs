//! Floats that are integers in disguise.
//!
//! Sensors report steps: hundredths, 1/65536ths of full scale, means of a dozen samples. Divided out, such values become small
//! integers. A value belongs to a scale only if the division gives it back bit for bit, so the choice never costs accuracy.
//!
//! ```text
//! index  0..=18   v = m / 10^index
//! index 19..=58   v = m / 2^(index - 18)
//! index 59..=63   v = m / (12 x 10^(index - 59)), rounded to 15 significant digits as printing does
//! ```

/// Bits that hold a scale's index.
pub(super) const INDEX_BITS: u32 = 6;

const DECIMALS: u8 = 19;
const BINARIES: u8 = 40;

/// Integers beyond are not looked at: up to here [`round`] is exact.
const MOST: f64 = 2_251_799_813_685_248.0;

/// Values looked at to find candidates.
const SAMPLE: usize = 64;

/// One way to write floats as integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    index: u8,
    divisor: f64,
    printed: bool,
}

impl Scale {
    /// The scale of an index, which must have no more than [`INDEX_BITS`].
    pub(super) fn from_index(index: u8) -> Self {
        let (divisor, printed) = match index {
            0..DECIMALS => (power_of_ten(index), false),
            DECIMALS..59 => ((1u64 << (index - DECIMALS + 1)) as f64, false),
            _ => (12.0 * power_of_ten(index.min(63) - DECIMALS - BINARIES), true),
        };
        Self { index, divisor, printed }
    }

    pub(super) fn index(self) -> u8 {
        self.index
    }

    /// The integer of a value, if there is one that [`Scale::value`] turns back into exactly this value.
    pub(super) fn integer(self, value: f64) -> Option<i64> {
        let scaled = round(value * self.divisor);
        // False for NaN too.
        if scaled.abs() < MOST {
            let integer = scaled as i64;
            (self.value(integer).to_bits() == value.to_bits()).then_some(integer)
        } else {
            None
        }
    }

    /// The value of an integer. Plain IEEE arithmetic, so the same on every machine.
    pub(super) fn value(self, integer: i64) -> f64 {
        let quotient = integer as f64 / self.divisor;
        if self.printed { round_to_15_digits(quotient) } else { quotient }
    }

    /// The scales worth trying on `values`, best first: those under which few of a sample are left over, the coarsest of each
    /// family.
    pub(super) fn candidates(values: &[f64]) -> Vec<Self> {
        let stride = values.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<f64> = values.iter().copied().step_by(stride).collect();
        let allowed = sample.len() / 5;
        let mut found: Vec<(f64, Self)> = Vec::new();
        for family in [0..DECIMALS, DECIMALS..DECIMALS + BINARIES, DECIMALS + BINARIES..64] {
            let mut least_missed = usize::MAX;
            for index in family {
                let scale = Self::from_index(index);
                let misses = sample.iter().filter(|&&value| scale.integer(value).is_none());
                let missed = misses.take(allowed + 1).count();
                if missed <= allowed && missed < least_missed {
                    least_missed = missed;
                    found.push((scale.cost(missed, sample.len()), scale));
                }
                if missed == 0 {
                    break;
                }
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.dedup_by(|a, b| a.1.divisor == b.1.divisor);
        found.into_iter().map(|(_, scale)| scale).take(2).collect()
    }

    /// Bits per value that the scale costs beyond the values' spread, roughly.
    fn cost(self, missed: usize, of: usize) -> f64 {
        // Rounding to 15 digits slows the decoder down; it must gain something.
        self.divisor.log2() + 60.0 * missed as f64 / of as f64 + if self.printed { 1.0 } else { 0.0 }
    }
}

/// The integer next to a value below [`MOST`], by the rounding of the addition itself: an instruction where the library has a call.
fn round(value: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (value + SHIFT) - SHIFT
}

/// Exact: powers of ten up to 10^22 are floats.
fn power_of_ten(exponent: u8) -> f64 {
    (0..exponent).fold(1.0, |power, _| power * 10.0)
}

/// Rounds to 15 significant digits by one multiplication and one division, each exact to the last bit for the magnitudes that
/// sensors report; whether it agrees with real printing does not matter, since the encoder checks the outcome.
fn round_to_15_digits(value: f64) -> f64 {
    const POWERS: [f64; 22] = {
        let mut powers = [1.0; 22];
        let mut at = 1;
        while at < 22 {
            powers[at] = powers[at - 1] * 10.0;
            at += 1;
        }
        powers
    };
    let magnitude = value.abs();
    if magnitude == 0.0 || magnitude >= 1e15 {
        return value;
    }
    let mut digits = 0;
    while digits < 15 && magnitude >= POWERS[digits] {
        digits += 1;
    }
    let scale = POWERS[15 - digits];
    round(value * scale) / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_found_by_its_values() {
        let index_of = |values: &[f64]| Scale::candidates(values).first().map(|scale| scale.index());
        assert_eq!(index_of(&[1.0, 2.0, 3.0]), Some(0));
        assert_eq!(index_of(&[4.4, -0.7, 1020.8]), Some(1));
        assert_eq!(index_of(&[0.00476416302416414, 0.00477266099212519]), Some(17));
        assert_eq!(index_of(&[3.0 / 65536.0, 266_019.0 / 65536.0, -7.0 / 65536.0]), Some(DECIMALS + 15));
        assert_eq!(index_of(&[572.666666666667, 749.25, 20.3333333333333]), Some(59));
        assert_eq!(index_of(&[1e3 * std::f64::consts::PI, 1e4 * std::f64::consts::E]), None);
    }

    #[test]
    fn only_exact_values_have_integers() {
        let tenths = Scale::from_index(1);
        assert_eq!(tenths.integer(4.4), Some(44));
        assert_eq!(tenths.integer(0.1 + 0.2), None);
        for odd in [-0.0, f64::NAN, f64::INFINITY, 1e300, 5e-324] {
            assert_eq!(tenths.integer(odd), None);
        }
    }

    #[test]
    fn every_index_is_a_scale() {
        for index in 0..64 {
            let scale = Scale::from_index(index);
            assert_eq!(scale.index(), index);
            assert!(scale.value(i64::MIN).is_finite() && scale.value(i64::MAX).is_finite());
        }
    }
}

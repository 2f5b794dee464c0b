//! Columns of floats, bit for bit.
//!
//! ```text
//! kind       2 bits   scaled, single, double, pco
//! scaled     scale index 6 bits, integers (a stream), patched 1 bit; if 1: count - 1 number, places (a stream),
//!            their values (a stream of ordered 64-bit patterns)
//! single     ordered 32-bit patterns (a stream): every value is a widened f32
//! double     ordered 64-bit patterns (a stream)
//! pco        wide 1 bit, pco body of f32 or f64 at a byte boundary
//! ```
//!
//! Ordered patterns are bit patterns with negative ones mirrored, so that close values have close integers.

use super::bits::{BitReader, BitWriter};
use super::ints;
use super::pcodec::{self, Search};
use super::scale::{INDEX_BITS, Scale};
use crate::codec::{DecodeError, EncodeError, Meter};

const SCALED: u64 = 0;
const SINGLE: u64 = 1;
const DOUBLE: u64 = 2;
const PCO: u64 = 3;

/// From this many values on, patterns go to pco's float modes as well.
const PCO_FROM: usize = 64;

/// Appends `values` in the smallest form found.
pub(super) fn write(values: &[f64], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    if values.is_empty() {
        return Ok(());
    }
    let scaled = Scale::candidates(values).into_iter().map(|scale| Scaled::of(values, scale));
    let scaled = scaled.min_by_key(|scaled| scaled.places.len());
    let scaled = scaled.filter(|scaled| scaled.places.len() * 4 <= values.len());
    match scaled {
        Some(scaled) if scaled.places.len() * 50 <= values.len() => scaled.write(values, out),
        Some(scaled) => smaller(out, |out| scaled.write(values, out), |out| write_patterns(values, out)),
        None => write_patterns(values, out),
    }
}

/// Appends what comes out smaller.
fn smaller(
    out: &mut BitWriter<'_>,
    first: impl FnOnce(&mut BitWriter<'_>) -> Result<(), EncodeError>,
    second: impl FnOnce(&mut BitWriter<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.mark();
    first(out)?;
    let bits = out.bits_since(&start);
    let kept = out.cut(&start);
    second(out)?;
    if out.bits_since(&start) > bits {
        out.cut(&start);
        out.paste(&kept);
    }
    Ok(())
}

fn write_patterns(values: &[f64], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    let narrow: Option<Vec<f32>> = values.iter().map(|&value| narrow(value)).collect();
    if values.len() >= PCO_FROM {
        let mut body = Vec::new();
        match &narrow {
            Some(narrow) => pcodec::compress(narrow, Search::Auto, &mut body)?,
            None => pcodec::compress(values, Search::Auto, &mut body)?,
        }
        out.put(PCO, 2);
        out.put_flag(narrow.is_none());
        out.put_bytes(&body);
        return Ok(());
    }
    match narrow {
        Some(narrow) => {
            out.put(SINGLE, 2);
            ints::write(&narrow.iter().map(|value| order(value.to_bits() as i32).into()).collect::<Vec<_>>(), out)
        }
        None => {
            out.put(DOUBLE, 2);
            ints::write(&values.iter().map(|&value| order_wide(value)).collect::<Vec<_>>(), out)
        }
    }
}

/// Reads `count` values.
pub(super) fn read(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<f64>, DecodeError> {
    meter.charge(count, size_of::<f64>())?;
    if count == 0 {
        return Ok(Vec::new());
    }
    match input.get(2)? {
        SCALED => read_scaled(count, input, meter),
        SINGLE => {
            let patterns = ints::read(count, input, meter)?;
            meter.refund(count, size_of::<i64>());
            patterns
                .into_iter()
                .map(|pattern| match i32::try_from(pattern) {
                    Ok(pattern) => Ok(f32::from_bits(order(pattern) as u32).into()),
                    Err(_) => Err(DecodeError::corrupt("a 32-bit pattern has more bits")),
                })
                .collect()
        }
        DOUBLE => {
            let patterns = ints::read(count, input, meter)?;
            meter.refund(count, size_of::<i64>());
            Ok(patterns.into_iter().map(from_order_wide).collect())
        }
        _ if input.get_flag()? => {
            let mut values = vec![0f64; count];
            let taken = pcodec::decompress(input.rest()?, &mut values, meter)?;
            input.get_bytes(taken)?;
            Ok(values)
        }
        _ => {
            meter.charge(count, size_of::<f32>())?;
            let mut narrow = vec![0f32; count];
            let taken = pcodec::decompress(input.rest()?, &mut narrow, meter)?;
            input.get_bytes(taken)?;
            meter.refund(count, size_of::<f32>());
            Ok(narrow.into_iter().map(f64::from).collect())
        }
    }
}

/// Values as integers of a scale, with the few that the scale does not hold apart.
#[derive(Debug)]
struct Scaled {
    scale: Scale,
    integers: Vec<i64>,
    places: Vec<i64>,
}

impl Scaled {
    fn of(values: &[f64], scale: Scale) -> Self {
        let (mut integers, mut places) = (Vec::with_capacity(values.len()), Vec::new());
        let mut last = 0;
        for (place, &value) in values.iter().enumerate() {
            match scale.integer(value) {
                Some(integer) => last = integer,
                None => places.push(place as i64),
            }
            // A patched place repeats the value before it, which costs next to nothing.
            integers.push(last);
        }
        Self { scale, integers, places }
    }

    fn write(&self, values: &[f64], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
        out.put(SCALED, 2);
        out.put(self.scale.index().into(), INDEX_BITS);
        ints::write(&self.integers, out)?;
        out.put_flag(!self.places.is_empty());
        if !self.places.is_empty() {
            out.put_number(self.places.len() as u64 - 1);
            ints::write(&self.places, out)?;
            let patches: Vec<_> = self.places.iter().map(|&place| order_wide(values[place as usize])).collect();
            ints::write(&patches, out)?;
        }
        Ok(())
    }
}

fn read_scaled(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<f64>, DecodeError> {
    let scale = Scale::from_index(input.get(INDEX_BITS)? as u8);
    let integers = ints::read(count, input, meter)?;
    let mut values: Vec<f64> = integers.into_iter().map(|integer| scale.value(integer)).collect();
    meter.refund(count, size_of::<i64>());
    if input.get_flag()? {
        let patches = input.get_count(count - 1)? + 1;
        let places = ints::read(patches, input, meter)?;
        let patterns = ints::read(patches, input, meter)?;
        for (place, pattern) in places.into_iter().zip(patterns) {
            let value = usize::try_from(place).ok().and_then(|place| values.get_mut(place));
            *value.ok_or(DecodeError::corrupt("a patch lies outside of its column"))? = from_order_wide(pattern);
        }
        meter.refund(2 * patches, size_of::<i64>());
    }
    Ok(values)
}

/// The f32 that widens to exactly this value. NaNs are left out: hardware may change their payload on the way.
fn narrow(value: f64) -> Option<f32> {
    let narrow = value as f32;
    (f64::from(narrow).to_bits() == value.to_bits() && !value.is_nan()).then_some(narrow)
}

fn order(pattern: i32) -> i32 {
    if pattern < 0 { pattern ^ i32::MAX } else { pattern }
}

fn order_wide(value: f64) -> i64 {
    let pattern = value.to_bits() as i64;
    if pattern < 0 { pattern ^ i64::MAX } else { pattern }
}

fn from_order_wide(pattern: i64) -> f64 {
    let pattern = if pattern < 0 { pattern ^ i64::MAX } else { pattern };
    f64::from_bits(pattern as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::DecodeLimits;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        write(values, &mut writer).unwrap();
        writer.align();
        let mut reader = BitReader::new(&bytes);
        let back = read(values.len(), &mut reader, &mut Meter::new(&DecodeLimits::default())).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        reader.finish().unwrap();
        bytes.len()
    }

    #[test]
    fn odd_floats_among_decimals_come_back_bit_for_bit() {
        let odd = [-0.0, 0.0, f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::from_bits(u64::MAX), f64::INFINITY];
        for count in [0, 1, 5, 40, 100, 3000] {
            let mut values: Vec<f64> = (0..count).map(|i| f64::from(i % 97) / 10.0).collect();
            for (at, odd) in odd.into_iter().enumerate() {
                values.insert(at * values.len() / 6, odd);
            }
            round_trip(&values);
        }
        round_trip(&odd);
        round_trip(&[f64::NAN; 100]);
    }

    #[test]
    fn decimals_and_fixed_point_take_far_less_than_their_width() {
        let waves = |n: i32| (0..n).map(|i| (f64::from(i) / 9.0).sin());
        assert!(round_trip(&waves(100).map(|v| (v * 500.0).round() / 10.0).collect::<Vec<_>>()) < 100);
        assert!(round_trip(&waves(100).map(|v| (v * 4096.0).round() / 65536.0).collect::<Vec<_>>()) < 160);
        assert!(round_trip(&waves(100).map(|v| f64::from(v as f32)).collect::<Vec<_>>()) < 420);
    }

    proptest! {
        #[test]
        fn any_patterns_come_back(patterns in prop::collection::vec(any::<u64>(), 0..150)) {
            round_trip(&patterns.iter().map(|&p| f64::from_bits(p)).collect::<Vec<_>>());
        }

        #[test]
        fn any_decimals_come_back(
            integers in prop::collection::vec(-100_000i64..100_000, 0..150),
            digits in 0i32..12,
            spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<f64>()), 0..8),
        ) {
            let mut values: Vec<f64> = integers.iter().map(|&i| i as f64 / 10f64.powi(digits)).collect();
            for (at, value) in spoil {
                if !values.is_empty() {
                    let at = at.index(values.len());
                    values[at] = value;
                }
            }
            round_trip(&values);
        }
    }
}

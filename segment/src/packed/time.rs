//! The time column: like any integers, but clocks tick in round units, so a common power of ten is taken out first.
//!
//! ```text
//! power      4 bits   of ten, of which all times are multiples
//! times      a stream of times / 10^power
//! ```

use super::bits::{BitReader, BitWriter};
use super::ints;
use crate::codec::{DecodeError, EncodeError, Meter};

const MAX_POWER: u32 = 15;

pub(super) fn write(times: &[i64], out: &mut BitWriter<'_>) -> Result<(), EncodeError> {
    let mut power = MAX_POWER;
    for &time in times {
        while time % 10i64.pow(power) != 0 {
            power -= 1;
        }
    }
    out.put(power.into(), 4);
    let unit = 10i64.pow(power);
    ints::write(&times.iter().map(|time| time / unit).collect::<Vec<_>>(), out)
}

pub(super) fn read(count: usize, input: &mut BitReader<'_>, meter: &mut Meter) -> Result<Vec<i64>, DecodeError> {
    let unit = 10i64.pow(input.get(4)? as u32);
    let mut times = ints::read(count, input, meter)?;
    if unit > 1 {
        times.iter_mut().for_each(|time| *time = time.wrapping_mul(unit));
    }
    Ok(times)
}

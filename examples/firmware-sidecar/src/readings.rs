//! Readings that follow from their number alone, so that what arrives can be compared with what was sent.

use pyralog_sync_protocol::sidecar::{RecordBuf, Time, Value};

/// The log that they go to.
pub const LOG: &str = "press";

/// One reading, with a value of each type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Its number, from 0 in each life of the device.
    pub n: u32,
    /// As the sensor counts: sixteenths of a degree. To divide here would take 800 bytes of a Cortex-M0's flash.
    pub temp: f64,
    /// Steps of the encoder since the last one.
    pub steps: i32,
    /// Whether the guard is closed.
    pub closed: bool,
    /// What the press does.
    pub phase: &'static str,
    /// Which of two stations.
    pub station: &'static str,
    /// A register as it is.
    pub raw: [u8; 3],
}

impl Reading {
    /// Reading number `n`.
    pub fn new(n: u32) -> Self {
        // A hash of the number: neighbours differ in all bits.
        let bits = n.wrapping_mul(0x9e37_79b1) ^ n.wrapping_mul(0x85eb_ca6b).rotate_right(15);
        let [a, b, c, d] = bits.to_le_bytes();
        Self {
            n,
            temp: f64::from(i16::from_le_bytes([a, b]) >> 2),
            steps: i32::from_le_bytes([a, b, c, d]) >> 8,
            closed: d & 1 == 0,
            phase: ["open", "closing", "pressing", "opening"][usize::from(c & 3)],
            station: if d & 2 == 0 { "left" } else { "right" },
            raw: [d, 0, a],
        }
    }

    /// Makes `record` one of it.
    pub fn put(&self, record: &mut RecordBuf, time: Time) {
        record.begin(LOG, time).with("station", Value::Tag(self.station)).with("n", Value::U64(u64::from(self.n)));
        record.with("temp", Value::F64(self.temp)).with("steps", Value::I64(i64::from(self.steps)));
        record.with("closed", Value::Bool(self.closed)).with("phase", Value::Utf8(self.phase));
        record.with("raw", Value::Binary(&self.raw));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_makes_a_record() {
        for n in (0..200_000).chain([u32::MAX]) {
            let mut record = RecordBuf::empty();
            Reading::new(n).put(&mut record, Time::SinceBoot(u64::MAX));
            assert!(record.bytes().is_ok_and(|bytes| bytes.len() < 100), "{n}");
        }
    }
}

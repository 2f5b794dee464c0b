//! From a sidecar record to the ring.

use pyralog_sync_protocol::sidecar::{self, Due, Sink, Taken};

use crate::ingest::intake::Intake;
use crate::records::{Records, Value};
use crate::ring::Clock;

/// The tag that names the device.
const DEVICE: &str = "device";
/// After so many milliseconds a device may ask again whether the ring has room.
const RETRY_MS: u64 = 500;

/// Appends records to the ring.
#[derive(Debug)]
pub struct RingSink<'a> {
    /// The way into the ring.
    pub intake: &'a Intake,
    /// The link's buffer; its contents on entry and exit do not matter.
    pub scratch: &'a mut Records,
    /// The time of what arrives.
    pub clock: Clock,
}

impl Sink for RingSink<'_> {
    fn take(&mut self, due: Due<'_>) -> Taken {
        let Due { device, time, record, body } = due;
        self.scratch.clear();
        let decoded = record.and_then(|record| {
            self.scratch.begin(record.log, time);
            // First, so that a value of the same name in the record takes its place.
            self.scratch.push(DEVICE, Value::Tag(device));
            for value in record.values() {
                let (name, value) = value?;
                self.scratch.push(name, value_of(value));
            }
            self.scratch.finish();
            Ok(())
        });
        if let Err(error) = decoded {
            let ring = self.intake.ring();
            ring.reject(&format!("sidecar/{device}"), &error.to_string(), body, self.clock.now());
            return Taken::Stored;
        }
        match self.intake.append(self.scratch) {
            Ok(()) => Taken::Stored,
            Err(_) => Taken::Full(RETRY_MS),
        }
    }
}

fn value_of(value: sidecar::Value<'_>) -> Value<'_> {
    match value {
        sidecar::Value::Tag(text) => Value::Tag(text),
        sidecar::Value::F64(number) => Value::F64(number),
        sidecar::Value::I64(number) => Value::I64(number),
        sidecar::Value::U64(number) => Value::U64(number),
        sidecar::Value::Bool(flag) => Value::Bool(flag),
        sidecar::Value::Utf8(text) => Value::Utf8(text),
        sidecar::Value::Binary(bytes) => Value::Binary(bytes),
    }
}

//! Payloads that are one value: the field `value`.

use super::{DecodeError, Target};
use crate::records::{Records, Value};

/// The field that a scalar payload becomes.
pub const FIELD: &str = "value";

/// A number as text, as simple firmware publishes it: `21.5`, `-3`, `1e-3`, `NaN`.
pub fn number(payload: &[u8], target: Target<'_>, records: &mut Records) -> Result<(), DecodeError> {
    let text = utf8(payload)?.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    match parse_f64(text) {
        Some(value) => one(Value::F64(value), target, records),
        None => return Err(DecodeError::at(1, 1, "expected a number, as in 21.5 or -3 or 1e-3")),
    }
    Ok(())
}

/// UTF-8 text, kept as it is.
pub fn text(payload: &[u8], target: Target<'_>, records: &mut Records) -> Result<(), DecodeError> {
    one(Value::Utf8(utf8(payload)?), target, records);
    Ok(())
}

/// Any bytes, kept as they are.
pub fn raw(payload: &[u8], target: Target<'_>, records: &mut Records) {
    one(Value::Binary(payload), target, records);
}

/// A float as people write it. A number too large for a float is none: it must not turn into infinity unseen.
pub(super) fn parse_f64(text: &str) -> Option<f64> {
    let value = text.parse::<f64>().ok()?;
    let overflowed = value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!overflowed).then_some(value)
}

fn one(value: Value<'_>, target: Target<'_>, records: &mut Records) {
    target.begin(target.log(), records);
    records.push(FIELD, value);
    records.finish();
}

fn utf8(payload: &[u8]) -> Result<&str, DecodeError> {
    super::utf8(payload).map_err(|fault| DecodeError::locate(payload, 1, fault))
}

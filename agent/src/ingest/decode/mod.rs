//! Decoders: bytes in, [`Records`] out. No I/O, no clock, bounded work and memory, no panic on any input.

pub mod arrow_stream;
pub mod json;
pub mod line_protocol;
pub mod ndjson;
pub mod scalar;
pub mod time;

mod lines;

use std::borrow::Cow;
use std::str::FromStr;

use crate::records::{Records, Value};

/// The longest name of a log, tag or field, in bytes.
pub const MAX_NAME: usize = 255;

/// The longest line of line protocol or NDJSON, in bytes; an unfinished line is held in memory.
pub const MAX_LINE: usize = 256 * 1024;

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A JSON object, or an array of them.
    Json,
    /// InfluxDB line protocol, any number of lines.
    LineProtocol,
    /// A number as text: the field `value`.
    Number,
    /// UTF-8 text: the field `value`.
    Text,
    /// Any bytes: the field `value`.
    Raw,
    /// Whatever of the others fits first: JSON, number, line protocol, text, raw.
    #[default]
    Auto,
}

/// A `format` that is not one of the six.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}: use json, line-protocol, number, text, raw or auto")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Ok(match text {
            "json" => Self::Json,
            "line-protocol" => Self::LineProtocol,
            "number" => Self::Number,
            "text" => Self::Text,
            "raw" => Self::Raw,
            "auto" => Self::Auto,
            other => return Err(UnknownFormat(other.chars().take(32).collect())),
        })
    }
}

/// What a decoder could not read, and where. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct DecodeError {
    /// The physical line.
    pub line: u64,
    /// The character within the line.
    pub column: u64,
    /// What was found or expected there.
    pub message: Cow<'static, str>,
}

impl DecodeError {
    fn at(line: u64, column: u64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { line, column, message: message.into() }
    }

    /// The error of a fault at a byte of `text`, which begins at physical line `first`.
    fn locate(text: &[u8], first: u64, fault: Fault) -> Self {
        let before = text.get(..fault.at).unwrap_or(text);
        let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let line = first + memchr::memchr_iter(b'\n', before).count() as u64;
        // Bytes that go on with a character do not begin a column.
        let column = before[start..].iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64 + 1;
        Self { line, column, message: fault.message }
    }
}

/// What is wrong at which byte of a line.
#[derive(Debug)]
struct Fault {
    at: usize,
    message: Cow<'static, str>,
}

impl Fault {
    fn new(at: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { at, message: message.into() }
    }
}

/// The text of `bytes`, or where it stops being UTF-8.
fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|e| {
        let byte = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
        Fault::new(e.valid_up_to(), format!("the byte 0x{byte:02x} is not UTF-8"))
    })
}

/// Takes what a streaming decoder could not read.
pub trait BadLines {
    /// One bad line: what is wrong, and its bytes (their beginning, if the line is over the limit).
    fn bad_line(&mut self, error: DecodeError, line: &[u8]);
}

impl<F: FnMut(DecodeError, &[u8])> BadLines for F {
    fn bad_line(&mut self, error: DecodeError, line: &[u8]) {
        self(error, line);
    }
}

/// Where records go and what they get besides their own values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target<'a> {
    /// The log. `None`: line protocol takes its measurement, everything else [`DEFAULT_LOG`].
    pub log: Option<&'a str>,
    /// Tags for every record, such as the captures of a route.
    pub tags: &'a [(&'a str, &'a str)],
}

/// The log of messages that no route names.
pub const DEFAULT_LOG: &str = "mqtt";

impl Target<'_> {
    fn log(&self) -> &str {
        self.log.unwrap_or(DEFAULT_LOG)
    }

    fn begin(&self, log: &str, records: &mut Records) {
        records.begin(log, None);
        for (name, value) in self.tags {
            records.push(name, Value::Tag(value));
        }
    }
}

/// Memory that decoders use again from message to message.
#[derive(Debug, Default)]
pub struct Scratch {
    name: String,
    text: String,
}

impl Scratch {
    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        self.name.capacity() + self.text.capacity()
    }
}

/// Decodes one whole message. On an error `records` may hold a part of the message: clear it.
pub fn decode(
    format: Format,
    payload: &[u8],
    options: &json::JsonOptions,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
) -> Result<(), DecodeError> {
    match format {
        Format::Json => json::decode(payload, options, target, records, scratch),
        Format::LineProtocol => line_protocol::decode(payload, options.precision(), target, records, scratch),
        Format::Number => scalar::number(payload, target, records),
        Format::Text => scalar::text(payload, target, records),
        Format::Raw => {
            scalar::raw(payload, target, records);
            Ok(())
        }
        Format::Auto => {
            auto(payload, options, target, records, scratch);
            Ok(())
        }
    }
}

/// Takes the first reading of the payload that makes sense; raw bytes always do.
fn auto(payload: &[u8], options: &json::JsonOptions, target: Target<'_>, records: &mut Records, scratch: &mut Scratch) {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'{' | b'[')) {
        if json::decode(payload, options, target, records, scratch).is_ok() {
            return;
        }
        records.clear();
    }
    if scalar::number(payload, target, records).is_ok() {
        return;
    }
    // The cheap look spares most texts the attempt.
    if memchr::memchr(b'=', payload).is_some() {
        let decoded = line_protocol::decode(payload, options.precision(), target, records, scratch);
        if decoded.is_ok() && !records.is_empty() {
            return;
        }
        records.clear();
    }
    if scalar::text(payload, target, records).is_err() {
        scalar::raw(payload, target, records);
    }
}

#[cfg(test)]
mod tests;

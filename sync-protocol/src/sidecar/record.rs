//! A record as firmware makes and buffers it.

use heapless::{Vec, VecView};

use super::frame::Full;
use crate::limits::{SIDECAR_MAX_NAME, SIDECAR_MAX_RECORD};
use crate::wire::{Reader, WireError};

/// The time of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The time of its arrival at the agent.
    Arrival,
    /// Unix nanoseconds.
    Unix(i64),
    /// Microseconds since the device started; the agent makes Unix time of it.
    SinceBoot(u64),
}

/// A tag or field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A tag: a short string that identifies the series.
    Tag(&'a str),
    /// A floating-point field.
    F64(f64),
    /// A signed integer field.
    I64(i64),
    /// An unsigned integer field.
    U64(u64),
    /// A boolean field.
    Bool(bool),
    /// A string field.
    Utf8(&'a str),
    /// A field of raw bytes.
    Binary(&'a [u8]),
}

const TAG: u8 = 1;
const F64: u8 = 2;
const I64: u8 = 3;
const U64: u8 = 4;
const UTF8: u8 = 6;
const BINARY: u8 = 7;
const FALSE: u8 = 8;
const TRUE: u8 = 9;

/// The record is too long for a frame, or one of its names is empty or longer than 64 bytes. Nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of more than {SIDECAR_MAX_RECORD} bytes, or with a name that is empty or longer than {SIDECAR_MAX_NAME} bytes"
)]
pub struct TooLong;

/// A record under construction.
///
/// What does not fit is remembered, and told by [`Producer::append`](super::Producer::append).
#[derive(Debug, Clone)]
pub struct RecordBuf {
    bytes: Vec<u8, SIDECAR_MAX_RECORD>,
    failed: bool,
}

impl RecordBuf {
    /// A record of `log` without values.
    pub fn new(log: &str, time: Time) -> Self {
        let mut record = Self::empty();
        record.begin(log, time);
        record
    }

    /// Nothing yet, not even a log.
    pub const fn empty() -> Self {
        Self { bytes: Vec::new(), failed: true }
    }

    /// Forgets what it holds and begins a record of `log`: [`new`](Self::new) where it stands, which spares a stack the copies.
    pub fn begin(&mut self, log: &str, time: Time) -> &mut Self {
        self.bytes.clear();
        self.failed = false;
        self.put(|out| {
            put_name(out, log)?;
            match time {
                Time::Arrival => put_u8(out, 0),
                Time::Unix(at) => put_u8(out, 1).and_then(|()| put_signed(out, at)),
                Time::SinceBoot(at) => put_u8(out, 2).and_then(|()| put_varint(out, at)),
            }
        });
        self
    }

    /// Adds a tag or field.
    pub fn with(&mut self, name: &str, value: Value<'_>) -> &mut Self {
        self.put(|out| {
            put_u8(out, code(value))?;
            put_name(out, name)?;
            match value {
                Value::Tag(text) | Value::Utf8(text) => put_bytes(out, text.as_bytes()),
                Value::F64(number) => out.extend_from_slice(&number.to_le_bytes()).map_err(|_| Full),
                Value::I64(number) => put_signed(out, number),
                Value::U64(number) => put_varint(out, number),
                Value::Bool(_) => Ok(()),
                Value::Binary(bytes) => put_bytes(out, bytes),
            }
        });
        self
    }

    /// The record as bytes, if all of it fits.
    pub fn bytes(&self) -> Result<&[u8], TooLong> {
        if self.failed { Err(TooLong) } else { Ok(&self.bytes) }
    }

    fn put(&mut self, put: impl FnOnce(&mut VecView<u8>) -> Result<(), Full>) {
        self.failed |= put(self.bytes.as_mut_view()).is_err();
    }
}

fn code(value: Value<'_>) -> u8 {
    match value {
        Value::Tag(_) => TAG,
        Value::F64(_) => F64,
        Value::I64(_) => I64,
        Value::U64(_) => U64,
        Value::Utf8(_) => UTF8,
        Value::Binary(_) => BINARY,
        Value::Bool(false) => FALSE,
        Value::Bool(true) => TRUE,
    }
}

/// A record as it came over the link.
#[derive(Debug, Clone)]
pub struct RecordView<'a> {
    /// The log it goes to.
    pub log: &'a str,
    /// Its time.
    pub time: Time,
    values: Reader<'a>,
}

impl<'a> RecordView<'a> {
    /// Reads the front of a record; [`values`](Self::values) reads the rest.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("sidecar record", body);
        let log = name(&mut reader)?;
        let time = match reader.byte()? {
            0 => Time::Arrival,
            1 => Time::Unix(reader.signed()?),
            2 => Time::SinceBoot(reader.varint()?),
            _ => return Err(reader.invalid()),
        };
        Ok(Self { log, time, values: reader })
    }

    /// Tags and fields in the order in which they were added; after an error comes nothing more.
    pub fn values(&self) -> Values<'a> {
        Values { reader: self.values.clone(), failed: false }
    }
}

/// The tags and fields of a [`RecordView`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<(&'a str, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.remaining() == 0 {
            return None;
        }
        let value = value(&mut self.reader);
        self.failed = value.is_err();
        Some(value)
    }
}

fn value<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, Value<'a>), WireError> {
    let code = reader.byte()?;
    let name = name(reader)?;
    let value = match code {
        TAG => Value::Tag(reader.text(SIDECAR_MAX_RECORD)?),
        F64 => Value::F64(f64::from_le_bytes(reader.array()?)),
        I64 => Value::I64(reader.signed()?),
        U64 => Value::U64(reader.varint()?),
        UTF8 => Value::Utf8(reader.text(SIDECAR_MAX_RECORD)?),
        BINARY => Value::Binary(reader.bytes(SIDECAR_MAX_RECORD)?),
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        _ => return Err(reader.invalid()),
    };
    Ok((name, value))
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let name = reader.text(SIDECAR_MAX_NAME)?;
    if name.is_empty() { Err(reader.invalid()) } else { Ok(name) }
}

fn put_name(out: &mut VecView<u8>, name: &str) -> Result<(), Full> {
    if name.is_empty() || name.len() > SIDECAR_MAX_NAME {
        return Err(Full);
    }
    put_bytes(out, name.as_bytes())
}

pub(super) fn put_u8(out: &mut VecView<u8>, byte: u8) -> Result<(), Full> {
    out.push(byte).map_err(|_| Full)
}

pub(super) fn put_varint(out: &mut VecView<u8>, mut value: u64) -> Result<(), Full> {
    while value >= 0x80 {
        put_u8(out, value as u8 | 0x80)?;
        value >>= 7;
    }
    put_u8(out, value as u8)
}

fn put_signed(out: &mut VecView<u8>, value: i64) -> Result<(), Full> {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64)
}

pub(super) fn put_bytes(out: &mut VecView<u8>, bytes: &[u8]) -> Result<(), Full> {
    put_varint(out, bytes.len() as u64)?;
    out.extend_from_slice(bytes).map_err(|_| Full)
}

#[cfg(test)]
mod tests;

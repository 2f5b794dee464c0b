//! JSON objects and arrays of objects, straight from the text into [`Records`] without a tree between.
//!
//! Nested objects flatten with dots, arrays with their index (`axes.0`). Numbers are f64, null is an absent value, strings
//! are fields unless their name is in `tags`; a name in `tags` makes a tag of any scalar.

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::time::{Precision, TimeUnit};
use super::{DecodeError, MAX_NAME, Scratch, Target};
use crate::records::{Records, Value};

/// How much larger than its text a message may become: a long key before a nested object counts once per member.
pub const MAX_GROWTH: usize = 16;

/// What a value costs besides its name and text.
const CELL: usize = 24;

/// The deepest nesting of objects and arrays inside one record.
pub const MAX_DEPTH: u32 = 32;

/// How the keys of a JSON object are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonOptions {
    /// The (flattened) key that holds the time.
    pub time_key: String,
    /// The unit of that time.
    pub time_unit: TimeUnit,
    /// The (flattened) keys whose values are tags.
    pub tags: Vec<String>,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { time_key: "time".to_owned(), time_unit: TimeUnit::default(), tags: Vec::new() }
    }
}

impl JsonOptions {
    /// The unit as line protocol wants it, for routes that may carry either.
    pub fn precision(&self) -> Precision {
        match self.time_unit {
            TimeUnit::Unix(precision) => precision,
            TimeUnit::Rfc3339 => Precision::default(),
        }
    }
}

/// Decodes an object or an array of objects. On an error `records` may hold records of the message: clear it.
pub fn decode(
    payload: &[u8],
    options: &JsonOptions,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
) -> Result<(), DecodeError> {
    run(payload, options, target, records, scratch, |context, json| json.deserialize_any(Document(context, None)))
}

/// Decodes as [`decode`] does, for bodies of many records: after each record `flush` may take those that `records` holds,
/// and says whether to go on. Each record may take `limit` bytes. On an error the records flushed so far are good, and so
/// are those that `records` still holds.
pub fn decode_each(
    payload: &[u8],
    options: &JsonOptions,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
    limit: usize,
    flush: &mut dyn FnMut(&mut Records) -> bool,
) -> Result<(), DecodeError> {
    let each = Each { limit, flush };
    let decoded = run(payload, options, target, records, scratch, |context, json| {
        json.deserialize_any(Document(context, Some(each)))
    });
    records.abandon();
    decoded
}

/// What happens after each record of a long body.
struct Each<'f> {
    limit: usize,
    flush: &'f mut dyn FnMut(&mut Records) -> bool,
}

/// Decodes exactly one object, as a line of NDJSON is; on an error it leaves at most an open record behind.
pub(super) fn decode_object(
    payload: &[u8],
    options: &JsonOptions,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
) -> Result<(), DecodeError> {
    let finish = run(payload, options, target, records, scratch, |context, json| {
        json.deserialize_any(Record { context, finish: false })
    });
    if finish.is_ok() {
        records.finish();
    }
    finish
}

type Json<'de> = serde_json::Deserializer<serde_json::de::SliceRead<'de>>;

fn run<'de>(
    payload: &'de [u8],
    options: &JsonOptions,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
    read: impl FnOnce(&mut Context<'_>, &mut Json<'de>) -> serde_json::Result<()>,
) -> Result<(), DecodeError> {
    scratch.name.clear();
    let room = payload.len().saturating_mul(MAX_GROWTH).saturating_add(4_096);
    let mut context = Context { options, target, records, scratch, time: None, room };
    let mut json = serde_json::Deserializer::from_slice(payload);
    read(&mut context, &mut json).and_then(|()| json.end()).map_err(|error| located(&error))
}

fn located(error: &serde_json::Error) -> DecodeError {
    let mut message = error.to_string();
    // serde_json ends its messages with the place, which has fields of its own here.
    if let Some(place) = message.rfind(" at line ") {
        message.truncate(place);
    }
    DecodeError::at((error.line() as u64).max(1), (error.column() as u64).max(1), message)
}

struct Context<'a> {
    options: &'a JsonOptions,
    target: Target<'a>,
    records: &'a mut Records,
    /// `scratch.name` is the flattened key of the value at hand.
    scratch: &'a mut Scratch,
    time: Option<i64>,
    /// Bytes that the records may still take.
    room: usize,
}

impl Context<'_> {
    fn is_time(&self) -> bool {
        self.scratch.name == self.options.time_key
    }

    fn is_tag(&self) -> bool {
        self.options.tags.contains(&self.scratch.name)
    }

    fn push<E: serde::de::Error>(&mut self, value: Value<'_>) -> Result<(), E> {
        let name = self.scratch.name.as_str();
        if name.is_empty() {
            return Err(E::custom("a key is empty, and a field needs a name"));
        }
        if name.len() > MAX_NAME {
            return Err(E::custom(format_args!(
                "a flattened key of {} bytes is over the limit of {MAX_NAME}",
                name.len()
            )));
        }
        let text = match value {
            Value::Tag(text) | Value::Utf8(text) => text.len(),
            _ => 0,
        };
        self.room = self.room.checked_sub(name.len() + text + CELL).ok_or_else(|| {
            E::custom("flattened it takes too much memory: use shorter keys, or send several smaller records")
        })?;
        self.records.push(name, value);
        Ok(())
    }

    fn scalar<E: serde::de::Error>(&mut self, value: Value<'_>, text: impl fmt::Display) -> Result<(), E> {
        if !self.is_tag() {
            return self.push(value);
        }
        let mut tag = std::mem::take(&mut self.scratch.text);
        tag.clear();
        // Writing to a String cannot fail.
        let _ = write!(tag, "{text}");
        let pushed = self.push(Value::Tag(&tag));
        self.scratch.text = tag;
        pushed
    }

    fn time<E: serde::de::Error>(&mut self, time: Option<i64>) -> Result<(), E> {
        if time.is_none() {
            let Self { options, .. } = self;
            return Err(E::custom(format_args!(
                "the key {:?} is no time: {}",
                options.time_key,
                options.time_unit.expected()
            )));
        }
        self.time = time;
        Ok(())
    }

    /// Reads the members of an object or array under the key `scratch.name`.
    fn members<'de, A: MapAccess<'de>>(&mut self, mut map: A, depth: u32) -> Result<(), A::Error> {
        let parent = self.scratch.name.len();
        while map.next_key_seed(Key(&mut self.scratch.name))?.is_some() {
            map.next_value_seed(Member { context: self, depth })?;
            self.scratch.name.truncate(parent);
        }
        Ok(())
    }
}

/// The whole message.
struct Document<'c, 'a, 'f>(&'c mut Context<'a>, Option<Each<'f>>);

impl<'de> Visitor<'de> for Document<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        if let Some(each) = &self.1 {
            self.0.room = self.0.room.min(each.limit);
        }
        Record { context: self.0, finish: true }.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(context, mut each) = self;
        let whole = context.room;
        loop {
            if let Some(each) = &each {
                context.room = whole.min(each.limit);
            }
            if seq.next_element_seed(Record { context: &mut *context, finish: true })?.is_none() {
                return Ok(());
            }
            if let Some(each) = &mut each
                && !(each.flush)(context.records)
            {
                return Err(A::Error::custom("stopped here"));
            }
        }
    }
}

/// One object that becomes one record.
struct Record<'c, 'a> {
    context: &'c mut Context<'a>,
    finish: bool,
}

impl<'de> DeserializeSeed<'de> for Record<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Record<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { context, finish } = self;
        context.time = None;
        context.target.begin(context.target.log(), context.records);
        context.members(map, 0)?;
        context.records.set_time(context.time);
        if finish {
            context.records.finish();
        }
        Ok(())
    }
}

/// Appends a key to the path.
struct Key<'k>(&'k mut String);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(key);
        Ok(())
    }
}

/// One value under the path.
struct Member<'c, 'a> {
    context: &'c mut Context<'a>,
    depth: u32,
}

impl Member<'_, '_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<u32, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        if self.context.is_time() {
            return self.context.time(None);
        }
        self.context.scalar(Value::Bool(value), value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        if self.context.is_time() {
            return self.context.time(self.context.options.time_unit.integer(value));
        }
        self.context.scalar(Value::F64(value as f64), value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        if self.context.is_time() {
            let unit = self.context.options.time_unit;
            return self.context.time(i64::try_from(value).ok().and_then(|count| unit.integer(count)));
        }
        self.context.scalar(Value::F64(value as f64), value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if self.context.is_time() {
            return self.context.time(self.context.options.time_unit.float(value));
        }
        self.context.scalar(Value::F64(value), value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.context.is_time() {
            return self.context.time(self.context.options.time_unit.text(text));
        }
        let value = if self.context.is_tag() { Value::Tag(text) } else { Value::Utf8(text) };
        self.context.push(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        self.context.members(map, depth)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let context = self.context;
        let parent = context.scratch.name.len();
        for index in 0_u32.. {
            // An array is an object whose keys are 0, 1, 2 …
            let _ = write!(context.scratch.name, ".{index}");
            let more = seq.next_element_seed(Member { context: &mut *context, depth })?;
            context.scratch.name.truncate(parent);
            if more.is_none() {
                return Ok(());
            }
        }
        Err(A::Error::custom("an array with more elements than 32 bits count"))
    }
}

#[cfg(test)]
mod tests;

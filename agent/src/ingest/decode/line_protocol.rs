//! InfluxDB line protocol: `measurement,tag=value field=1.5,count=3i,text="a b" 1700000000000000000`.
//!
//! A delimiter is escaped by the backslash right before it; any other backslash outside a string is itself. A tag that
//! comes twice is an error, as in InfluxDB; of a field that comes twice the later value counts.

use super::lines::{LineSink, Lines};
use super::scalar::parse_f64;
use super::time::Precision;
use super::{BadLines, DecodeError, Fault, MAX_LINE, MAX_NAME, Scratch, Target};
use crate::records::{Records, Value};

/// Tags of one line. The bound keeps the search for a tag that comes twice short.
pub const MAX_TAGS: usize = 256;

/// A streaming decoder: complete lines are decoded as their bytes come, the rest is carried over.
#[derive(Debug)]
pub struct LineProtocol {
    lines: Lines,
    precision: Precision,
    scratch: Scratch,
}

impl LineProtocol {
    /// A decoder for times in `precision` and lines of at most [`MAX_LINE`] bytes.
    pub fn new(precision: Precision) -> Self {
        Self::with_max_line(precision, MAX_LINE)
    }

    /// The same with another limit on the length of a line.
    pub fn with_max_line(precision: Precision, max_line: usize) -> Self {
        Self { lines: Lines::new(max_line, true), precision, scratch: Scratch::default() }
    }

    /// Decodes the lines that `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], target: Target<'_>, records: &mut Records, bad: &mut dyn BadLines) {
        let Self { lines, precision, scratch } = self;
        lines.feed(chunk, &mut Sink { precision: *precision, target, records, scratch, bad });
    }

    /// Decodes the last line, which may lack its line break.
    pub fn finish(&mut self, target: Target<'_>, records: &mut Records, bad: &mut dyn BadLines) {
        let Self { lines, precision, scratch } = self;
        lines.finish(&mut Sink { precision: *precision, target, records, scratch, bad });
    }

    /// Bytes of heap held between chunks.
    pub fn heap_bytes(&self) -> usize {
        self.lines.heap_bytes() + self.scratch.heap_bytes()
    }
}

/// Decodes a whole message; the first bad line is an error.
pub fn decode(
    payload: &[u8],
    precision: Precision,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
) -> Result<(), DecodeError> {
    let mut first = None;
    let mut bad = |error: DecodeError, _: &[u8]| {
        first.get_or_insert(error);
    };
    Lines::new(MAX_LINE, true).whole(payload, &mut Sink { precision, target, records, scratch, bad: &mut bad });
    first.map_or(Ok(()), Err)
}

struct Sink<'a> {
    precision: Precision,
    target: Target<'a>,
    records: &'a mut Records,
    scratch: &'a mut Scratch,
    bad: &'a mut dyn BadLines,
}

impl LineSink for Sink<'_> {
    fn line(&mut self, line: &[u8], number: u64) -> bool {
        let Self { precision, target, records, scratch, .. } = self;
        match decode_line(line, *precision, *target, records, scratch) {
            Ok(()) => true,
            Err(fault) => {
                records.abandon();
                self.bad.bad_line(DecodeError::locate(line, number, fault), line);
                false
            }
        }
    }

    fn too_long(&mut self, head: &[u8], limit: usize, number: u64) {
        let message = format!("the line is longer than {limit} bytes (or a quote is never closed)");
        self.bad.bad_line(DecodeError::at(number, 1, message), head);
    }
}

fn decode_line(
    line: &[u8],
    precision: Precision,
    target: Target<'_>,
    records: &mut Records,
    scratch: &mut Scratch,
) -> Result<(), Fault> {
    let mut cursor = Cursor { text: super::utf8(line)?, at: 0 };
    cursor.skip_blanks();
    if matches!(cursor.peek(), None | Some(b'#')) {
        return Ok(());
    }
    cursor.measurement(target, records, scratch)?;
    cursor.tags(records, scratch)?;
    cursor.fields(records, scratch)?;
    records.set_time(cursor.time(precision)?);
    records.finish();
    Ok(())
}

/// A place in one line.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn fault(&self, message: &'static str) -> Fault {
        Fault::new(self.at, message)
    }

    /// Moves to the next byte of `ends` that no backslash escapes, and returns what lies before it and whether it holds
    /// any backslash.
    fn until(&mut self, ends: [u8; 3]) -> (&'a str, bool) {
        let start = self.at;
        let mut escapes = false;
        let mut before = 0;
        for &byte in &self.text.as_bytes()[start..] {
            if before != b'\\' && ends.contains(&byte) {
                break;
            }
            escapes |= byte == b'\\';
            before = byte;
            self.at += 1;
        }
        (&self.text[start..self.at], escapes)
    }

    fn name(&mut self, ends: [u8; 3], missing: &'static str) -> Result<(&'a str, bool), Fault> {
        let start = self.at;
        let (raw, escapes) = self.until(ends);
        if raw.is_empty() {
            return Err(Fault::new(start, missing));
        }
        if raw.len() > MAX_NAME {
            return Err(Fault::new(start, format!("a name of {} bytes is over the limit of {MAX_NAME}", raw.len())));
        }
        Ok((raw, escapes))
    }

    fn measurement(&mut self, target: Target<'_>, records: &mut Records, scratch: &mut Scratch) -> Result<(), Fault> {
        let (raw, escapes) = self.name([b',', b' ', b' '], "expected a measurement name")?;
        let name = match escapes {
            false => raw,
            // In a measurement "=" is no delimiter.
            true => replace_escapes(raw, &mut scratch.name, |byte| matches!(byte, b',' | b' ')),
        };
        target.begin(target.log.unwrap_or(name), records);
        if target.log.is_some_and(|log| log != name) {
            records.push("measurement", Value::Tag(name));
        }
        Ok(())
    }

    fn tags(&mut self, records: &mut Records, scratch: &mut Scratch) -> Result<(), Fault> {
        let mut seen = [""; MAX_TAGS];
        let mut count = 0;
        while self.peek() == Some(b',') {
            self.at += 1;
            let start = self.at;
            let (key, key_escapes) = self.name([b'=', b',', b' '], "expected a tag name after the comma")?;
            if self.peek() != Some(b'=') {
                return Err(self.fault("expected \"=\" after the tag name"));
            }
            self.at += 1;
            let (value, value_escapes) = self.until([b',', b' ', b'=']);
            if value.is_empty() {
                return Err(self.fault("expected a tag value after \"=\"; leave the tag out if it has none"));
            }
            if self.peek() == Some(b'=') {
                return Err(self.fault("expected \",\" or a space after the tag value; write \"\\=\" for \"=\""));
            }
            if seen[..count].contains(&key) {
                return Err(Fault::new(start, format!("the tag {key:?} comes twice")));
            }
            let Some(slot) = seen.get_mut(count) else {
                return Err(Fault::new(start, format!("more than {MAX_TAGS} tags")));
            };
            *slot = key;
            count += 1;
            let key = unescape(key, key_escapes, &mut scratch.name);
            records.push(key, Value::Tag(unescape(value, value_escapes, &mut scratch.text)));
        }
        Ok(())
    }

    fn fields(&mut self, records: &mut Records, scratch: &mut Scratch) -> Result<(), Fault> {
        self.skip_blanks();
        loop {
            let (key, escapes) = self.name([b'=', b',', b' '], "expected a field, as in \"temp=21.5\"")?;
            if self.peek() != Some(b'=') {
                return Err(self.fault("expected \"=\" after the field name"));
            }
            self.at += 1;
            let key = unescape(key, escapes, &mut scratch.name);
            let value = self.value(&mut scratch.text)?;
            records.push(key, value);
            match self.peek() {
                Some(b',') => self.at += 1,
                None | Some(b' ') => return Ok(()),
                Some(_) => return Err(self.fault("expected \",\" or a space after the field value")),
            }
        }
    }

    fn value<'v>(&mut self, scratch: &'v mut String) -> Result<Value<'v>, Fault>
    where
        'a: 'v,
    {
        if self.peek() == Some(b'"') {
            return Ok(Value::Utf8(self.string(scratch)?));
        }
        let start = self.at;
        let bytes = &self.text.as_bytes()[start..];
        self.at += bytes.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(bytes.len());
        number(&self.text[start..self.at]).map_err(|message| Fault::new(start, message))
    }

    fn string<'v>(&mut self, scratch: &'v mut String) -> Result<&'v str, Fault>
    where
        'a: 'v,
    {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut escapes = false;
        loop {
            match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                None => return Err(Fault::new(start, "this quoted text is never closed")),
                Some(more) if bytes[at + more] == b'"' => {
                    at += more;
                    break;
                }
                Some(more) => {
                    escapes = true;
                    at += more + 2;
                }
            }
        }
        self.at = at + 1;
        Ok(unescape_string(&self.text[start + 1..at], escapes, scratch))
    }

    fn time(&mut self, precision: Precision) -> Result<Option<i64>, Fault> {
        self.skip_blanks();
        let start = self.at;
        let text = self.text[start..].trim_ascii_end();
        if text.is_empty() {
            return Ok(None);
        }
        let count = text
            .parse::<i64>()
            .map_err(|_| Fault::new(start, "expected the time as an integer, and nothing after it"))?;
        match precision.to_ns(count) {
            Some(time) => Ok(Some(time)),
            None => Err(Fault::new(start, "this time does not fit 64 bits of nanoseconds: check the precision")),
        }
    }
}

fn number(token: &str) -> Result<Value<'static>, &'static str> {
    match token {
        "" => return Err("expected a field value after \"=\""),
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(digits) = token.strip_suffix('i') {
        return digits.parse().map(Value::I64).map_err(|_| "expected an integer of 64 bits before \"i\"");
    }
    if let Some(digits) = token.strip_suffix('u') {
        return digits.parse().map(Value::U64).map_err(|_| "expected an unsigned integer of 64 bits before \"u\"");
    }
    parse_f64(token)
        .map(Value::F64)
        .ok_or("expected a number, an integer (3i or 3u), true or false, or a text in double quotes")
}

/// Takes the backslash away from every escaped delimiter.
fn unescape<'a>(raw: &'a str, escapes: bool, scratch: &'a mut String) -> &'a str {
    if !escapes {
        return raw;
    }
    replace_escapes(raw, scratch, |byte| matches!(byte, b',' | b'=' | b' '))
}

/// Inside quotes a backslash escapes a quote and itself.
fn unescape_string<'a>(raw: &'a str, escapes: bool, scratch: &'a mut String) -> &'a str {
    if !escapes {
        return raw;
    }
    replace_escapes(raw, scratch, |byte| matches!(byte, b'"' | b'\\'))
}

fn replace_escapes<'a>(raw: &str, scratch: &'a mut String, escaped: impl Fn(u8) -> bool) -> &'a str {
    scratch.clear();
    let bytes = raw.as_bytes();
    let mut rest = 0;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' && bytes.get(at + 1).is_some_and(|&byte| escaped(byte)) {
            scratch.push_str(&raw[rest..at]);
            rest = at + 1;
            at += 1;
        }
        at += 1;
    }
    scratch.push_str(&raw[rest..]);
    scratch
}

#[cfg(test)]
mod tests;

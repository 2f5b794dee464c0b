//! NDJSON: one JSON object a line. A bad line is named and left out; the others count.

use super::json::{self, JsonOptions};
use super::lines::{LineSink, Lines};
use super::{BadLines, DecodeError, MAX_LINE, Scratch, Target};
use crate::records::Records;

/// A streaming decoder, as [`LineProtocol`](super::line_protocol::LineProtocol) is.
#[derive(Debug)]
pub struct Ndjson {
    lines: Lines,
    options: JsonOptions,
    scratch: Scratch,
}

impl Ndjson {
    /// A decoder for lines of at most [`MAX_LINE`] bytes.
    pub fn new(options: JsonOptions) -> Self {
        Self::with_max_line(options, MAX_LINE)
    }

    /// The same with another limit on the length of a line.
    pub fn with_max_line(options: JsonOptions, max_line: usize) -> Self {
        Self { lines: Lines::new(max_line, false), options, scratch: Scratch::default() }
    }

    /// Decodes the lines that `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], target: Target<'_>, records: &mut Records, bad: &mut dyn BadLines) {
        let Self { lines, options, scratch } = self;
        lines.feed(chunk, &mut Sink { options, target, records, scratch, bad });
    }

    /// Decodes the last line, which may lack its line break.
    pub fn finish(&mut self, target: Target<'_>, records: &mut Records, bad: &mut dyn BadLines) {
        let Self { lines, options, scratch } = self;
        lines.finish(&mut Sink { options, target, records, scratch, bad });
    }

    /// Bytes of heap held between chunks.
    pub fn heap_bytes(&self) -> usize {
        self.lines.heap_bytes() + self.scratch.heap_bytes()
    }
}

struct Sink<'a> {
    options: &'a JsonOptions,
    target: Target<'a>,
    records: &'a mut Records,
    scratch: &'a mut Scratch,
    bad: &'a mut dyn BadLines,
}

impl LineSink for Sink<'_> {
    fn line(&mut self, line: &[u8], number: u64) -> bool {
        if line.trim_ascii().is_empty() {
            return true;
        }
        match json::decode_object(line, self.options, self.target, self.records, self.scratch) {
            Ok(()) => true,
            Err(error) => {
                self.records.abandon();
                self.bad.bad_line(DecodeError { line: number, ..error }, line);
                false
            }
        }
    }

    fn too_long(&mut self, head: &[u8], limit: usize, number: u64) {
        self.bad.bad_line(DecodeError::at(number, 1, format!("the line is longer than {limit} bytes")), head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Value;

    #[test]
    fn good_lines_are_kept_and_bad_ones_named_at_any_split() {
        let input = "{\"t\":1}\r\n\n{\"t\":2,}\n[{\"t\":9}]\n{\"t\":3} {\"t\":4}\n{\"t\":5,\"time\":7}";
        for step in 1..=input.len() {
            let mut decoder = Ndjson::new(JsonOptions::default());
            let mut records = Records::new();
            let mut errors = Vec::new();
            let mut bad = |error: DecodeError, _: &[u8]| errors.push((error.line, error.column));
            let target = Target { log: Some("room"), tags: &[] };
            for chunk in input.as_bytes().chunks(step) {
                decoder.feed(chunk, target, &mut records, &mut bad);
            }
            decoder.finish(target, &mut records, &mut bad);
            assert_eq!(errors, [(3, 8), (4, 1), (5, 9)], "chunks of {step}");
            let values: Vec<_> = records.iter().map(|r| (r.log(), r.time(), r.values().collect::<Vec<_>>())).collect();
            assert_eq!(
                values,
                [("room", None, vec![("t", Value::F64(1.0))]), ("room", Some(7), vec![("t", Value::F64(5.0))])]
            );
        }
    }
}

//! Cuts a stream of chunks into lines: whole lines go on at once, the rest is carried over.
//!
//! A line of line protocol may hold line breaks inside a quoted string, so its end is found by a small state machine
//! that resumes at any byte. When such a line turns out bad, a forgotten quote may have swallowed good lines behind it:
//! then only its first physical line is given up and the rest is cut again, within a budget of work that grows with the
//! input, so that no input costs more than a few times its length.

use memchr::{memchr, memchr_iter, memchr2};

/// Takes the lines that [`Lines`] finds.
pub(super) trait LineSink {
    /// One line without its line break; `number` counts physical lines from 1. `false` says that the line was bad.
    fn line(&mut self, line: &[u8], number: u64) -> bool;

    /// The line `number` is longer than `limit`; `head` is where it begins.
    fn too_long(&mut self, head: &[u8], limit: usize, number: u64);
}

/// The cutter. Invariants: `carry` holds at most `max + 1` bytes (the line, perhaps a CR) and no complete line, and
/// `state` is where the scan of `carry` stands.
#[derive(Debug)]
pub(super) struct Lines {
    quotes: bool,
    max: usize,
    number: u64,
    carry: Vec<u8>,
    spare: Vec<u8>,
    state: State,
    skipping: bool,
    /// Bytes that may still be cut a second time after a bad line with line breaks in it.
    rescan: usize,
}

impl Lines {
    /// Lines of at most `max` bytes; `quotes`: line breaks inside quoted field values do not end a line.
    pub(super) fn new(max: usize, quotes: bool) -> Self {
        let rescan = max.saturating_mul(4);
        Self {
            quotes,
            max,
            number: 1,
            carry: Vec::new(),
            spare: Vec::new(),
            state: State::Start,
            skipping: false,
            rescan,
        }
    }

    /// Bytes of heap held for the unfinished line.
    pub(super) fn heap_bytes(&self) -> usize {
        self.carry.capacity() + self.spare.capacity()
    }

    /// Takes the next chunk of the stream.
    pub(super) fn feed(&mut self, mut chunk: &[u8], sink: &mut dyn LineSink) {
        self.rescan = self.rescan.saturating_add(chunk.len());
        while !chunk.is_empty() {
            if self.skipping {
                let Some(at) = memchr(b'\n', chunk) else { return };
                self.skipping = false;
                self.number += 1;
                chunk = &chunk[at + 1..];
            } else if self.carry.is_empty() {
                return self.cut(chunk, sink);
            } else {
                let room = (self.max + 2).saturating_sub(self.carry.len()).min(chunk.len());
                let ended = self.state.scan(&chunk[..room], self.quotes);
                let taken = ended.map_or(room, |at| at + 1);
                self.carry.extend_from_slice(&chunk[..taken]);
                chunk = &chunk[taken..];
                if ended.is_some() || self.carry.len() > self.max + 1 {
                    let whole = std::mem::replace(&mut self.carry, std::mem::take(&mut self.spare));
                    self.cut(&whole, sink);
                    self.spare = whole;
                    self.spare.clear();
                }
            }
        }
    }

    /// Takes a message that lies in memory as a whole, without copying any of it.
    pub(super) fn whole(mut self, message: &[u8], sink: &mut dyn LineSink) {
        self.rescan = self.rescan.saturating_add(message.len());
        let mut rest = message;
        while !rest.is_empty() {
            let end = self.end_of_line(rest).unwrap_or(rest.len());
            let used = self.one(&rest[..end], sink);
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// The stream is at its end: what is carried is the last line.
    pub(super) fn finish(&mut self, sink: &mut dyn LineSink) {
        while !self.carry.is_empty() {
            let whole = std::mem::take(&mut self.carry);
            let used = self.one(&whole, sink);
            self.cut(whole.get(used..).unwrap_or_default(), sink);
        }
        self.skipping = false;
    }

    fn cut(&mut self, bytes: &[u8], sink: &mut dyn LineSink) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.end_of_line(rest) {
                Some(end) => self.one(&rest[..end], sink),
                None if rest.len() > self.max + 1 => self.endless(rest, sink),
                None => return self.carry.extend_from_slice(rest),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn end_of_line(&mut self, bytes: &[u8]) -> Option<usize> {
        self.state = State::Start;
        // Most lines hold no quote; then the first line break ends them.
        match memchr2(b'\n', b'"', bytes) {
            Some(at) if bytes[at] == b'\n' => Some(at),
            _ => self.state.scan(bytes, self.quotes),
        }
    }

    /// Hands on one line and returns how many bytes are done with, counting its line break.
    fn one(&mut self, line: &[u8], sink: &mut dyn LineSink) -> usize {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        let good = if text.len() > self.max {
            sink.too_long(&text[..self.max], self.max, self.number);
            false
        } else {
            sink.line(text, self.number)
        };
        let breaks = self.breaks(line);
        if !good && let Some(first) = self.retry(line) {
            return first;
        }
        self.number += breaks + 1;
        line.len() + 1
    }

    /// No end in sight and over the limit already.
    fn endless(&mut self, rest: &[u8], sink: &mut dyn LineSink) -> usize {
        sink.too_long(&rest[..self.max], self.max, self.number);
        if let Some(first) = self.retry(rest) {
            return first;
        }
        self.number += self.breaks(rest);
        self.skipping = true;
        rest.len()
    }

    /// After a bad line with line breaks in it: gives up its first physical line alone, if the budget allows.
    fn retry(&mut self, line: &[u8]) -> Option<usize> {
        let first = if self.quotes { memchr(b'\n', line)? } else { return None };
        self.rescan = self.rescan.checked_sub(line.len())?;
        self.number += 1;
        Some(first + 1)
    }

    fn breaks(&self, line: &[u8]) -> u64 {
        if self.quotes { memchr_iter(b'\n', line).count() as u64 } else { 0 }
    }
}

/// Where in a line of line protocol a byte stands, as far as the end of the line depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Comment,
    Head,
    HeadEscape,
    Key,
    KeyEscape,
    ValueStart,
    Value,
    Quoted,
    QuotedEscape,
    Tail,
}

impl State {
    /// Runs over `bytes` until the line break that ends the line, and returns its position.
    fn scan(&mut self, bytes: &[u8], quotes: bool) -> Option<usize> {
        if !quotes {
            return memchr(b'\n', bytes);
        }
        for (at, &byte) in bytes.iter().enumerate() {
            if byte == b'\n' && !matches!(self, Self::Quoted | Self::QuotedEscape) {
                return Some(at);
            }
            *self = self.next(byte);
        }
        None
    }

    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b' ' | b'\t' | b'\r') => Self::Start,
            (Self::Start, b'#') | (Self::Comment, _) => Self::Comment,
            (Self::Start | Self::Head | Self::HeadEscape, b'\\') => Self::HeadEscape,
            (Self::Head, b' ') => Self::Key,
            (Self::Start | Self::Head | Self::HeadEscape, _) => Self::Head,
            (Self::Key | Self::KeyEscape, b'\\') => Self::KeyEscape,
            (Self::Key, b'=') => Self::ValueStart,
            (Self::Key | Self::KeyEscape, _) => Self::Key,
            (Self::ValueStart, b'"') => Self::Quoted,
            (Self::ValueStart | Self::Value, b',') => Self::Key,
            (Self::ValueStart | Self::Value, b' ') => Self::Tail,
            // After a closing quote comes what comes after any value.
            (Self::ValueStart | Self::Value, _) | (Self::Quoted, b'"') => Self::Value,
            (Self::Quoted, b'\\') => Self::QuotedEscape,
            (Self::Quoted | Self::QuotedEscape, _) => Self::Quoted,
            (Self::Tail, _) => Self::Tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<(u64, String)>);

    impl LineSink for Seen {
        fn line(&mut self, line: &[u8], number: u64) -> bool {
            let text = String::from_utf8_lossy(line).into_owned();
            let good = !text.contains("BAD");
            self.0.push((number, text));
            good
        }

        fn too_long(&mut self, _: &[u8], limit: usize, number: u64) {
            self.0.push((number, format!("over {limit}")));
        }
    }

    fn lines(input: &str, max: usize, step: usize) -> Vec<(u64, String)> {
        let mut lines = Lines::new(max, true);
        let mut seen = Seen::default();
        for chunk in input.as_bytes().chunks(step) {
            lines.feed(chunk, &mut seen);
        }
        lines.finish(&mut seen);
        seen.0
    }

    #[test]
    fn any_split_gives_the_same_lines() {
        let input = "a f=1\r\n\nb f=\"x\ny\",g=\"\\\"\n\" 5\n# \"no quote\na\"b f=1\nm f=\"BAD\nc f=2\nd\\ e f=\"z\"\n\
                     this line is far too long for the cutter f=1\ne f=\"far too long\nbecause of the quote\nlast";
        let whole = lines(input, 24, input.len());
        assert_eq!(whole[2], (3, "b f=\"x\ny\",g=\"\\\"\n\" 5".to_owned()));
        assert!(whole.contains(&(9, "c f=2".to_owned())), "a forgotten quote costs its own line alone: {whole:?}");
        for step in 1..input.len() {
            assert_eq!(lines(input, 24, step), whole, "chunks of {step}");
        }
        let mut seen = Seen::default();
        Lines::new(24, true).whole(input.as_bytes(), &mut seen);
        assert_eq!(seen.0, whole, "in one piece, not fed");
    }

    #[test]
    fn a_line_over_the_limit_is_named_once_and_never_held() {
        let mut lines = Lines::new(100, false);
        let mut seen = Seen::default();
        for _ in 0..1_000 {
            lines.feed(&[b'x'; 1_000], &mut seen);
        }
        lines.feed(b"\nshort\n", &mut seen);
        assert_eq!(seen.0, [(1, "over 100".to_owned()), (2, "short".to_owned())]);
        assert!(lines.heap_bytes() < 4_096);
    }

    #[test]
    fn hostile_quotes_cost_a_bounded_amount_of_work() {
        // Every line opens a quote that never closes in a way that makes sense; each would be cut again and again.
        let input = "BAD\"k=\"\n".repeat(20_000);
        let seen = lines(&input, 1 << 16, 999);
        let bytes: usize = seen.iter().map(|(_, line)| line.len()).sum();
        assert!(bytes < 8 * input.len(), "{bytes}");
    }
}

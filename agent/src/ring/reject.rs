//! The log `_rejected`: what could not be taken as it came, kept as it came.

use std::fmt::Write;

use super::append::Appended;
use super::config::Now;
use super::state::{REJECTED, State};
use crate::records::{RecordRef, Records, Value};

/// Longest rendering of a record or its cells.
const MAX_RENDERED: usize = 4096;

impl State {
    /// Adds a row to `_rejected`. If there is no memory for it, it is counted as not kept.
    pub(super) fn reject(&mut self, topic: &str, reason: &str, payload: &[u8], now: Now) {
        self.totals.rejected += 1;
        let most = self.limits.bytes / 4;
        let payload = payload.get(..most).unwrap_or(payload);
        let mut row = Records::new();
        row.begin(REJECTED, None);
        row.push("topic", Value::Utf8(cut(topic, most)));
        row.push("reason", Value::Utf8(cut(reason, most)));
        row.push("payload", Value::Binary(payload));
        row.finish();
        let mut done = Appended::default();
        let kept = row.iter().try_for_each(|record| self.append_record(record, now, &mut done));
        if kept.is_err() || done.rows == 0 {
            self.totals.rejected_unkept += 1;
        }
    }

    /// Keeps a whole record that no log could take.
    pub(super) fn reject_record(&mut self, record: RecordRef<'_>, reason: &str, now: Now) {
        if self.is_nested(record) {
            return;
        }
        let text = render(record, |_| true);
        self.reject(record.log(), reason, text.as_bytes(), now);
    }

    /// Keeps the cells of a record for which `chosen` holds: those for which its log has no column.
    pub(super) fn reject_cells(&mut self, record: RecordRef<'_>, chosen: impl Fn(usize) -> bool, now: Now) {
        if self.is_nested(record) {
            return;
        }
        let text = render(record, chosen);
        let reason = "the log has no column for these values, and no room for another (max_columns, max_memory), or a \
                      name is empty or too long";
        self.reject(record.log(), reason, text.as_bytes(), now);
    }

    /// Whether the record is one of `_rejected` itself, which is not rejected again but counted.
    fn is_nested(&mut self, record: RecordRef<'_>) -> bool {
        let nested = record.log() == REJECTED;
        self.totals.rejected_unkept += u64::from(nested);
        nested
    }
}

/// The time and the chosen cells of a record as one line of text.
fn render(record: RecordRef<'_>, chosen: impl Fn(usize) -> bool) -> String {
    let mut text = String::new();
    if let Some(time) = record.time() {
        let _ = write!(text, "time={time}");
    }
    for (_, (name, value)) in record.values().enumerate().filter(|(i, _)| chosen(*i)) {
        if text.len() >= MAX_RENDERED {
            text.push_str(" ...");
            break;
        }
        let gap = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{gap}{}=", cut(name, MAX_RENDERED));
        let _ = match value {
            Value::Tag(s) | Value::Utf8(s) => write!(text, "{:?}", cut(s, MAX_RENDERED)),
            Value::F64(x) => write!(text, "{x:?}"),
            Value::I64(x) => write!(text, "{x}i"),
            Value::U64(x) => write!(text, "{x}u"),
            Value::Bool(x) => write!(text, "{x}"),
            Value::Binary(bytes) => {
                let shown = bytes.get(..MAX_RENDERED / 2).unwrap_or(bytes);
                write!(text, "{}", shown.escape_ascii())
            }
        };
    }
    text
}

/// At most `most` bytes of a text, cut between characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

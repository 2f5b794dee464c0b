//! Decoded records on their way into the ring.
//!
//! Every decoder writes into a [`Records`] and every server keeps one per connection, so that after warm-up a message
//! costs no allocation: names and values lie in two arenas, of text and of bytes, that `clear` empties but does not free.

use std::ops::Range;

use pyralog_segment::ColumnType;

/// One value of a record, borrowed from the buffer that holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A tag: a short string that identifies the series (dictionary-encoded in the ring).
    Tag(&'a str),
    /// A floating-point field; NaN and infinities are kept bit for bit.
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

impl Value<'_> {
    /// The type of the column that holds such values.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Tag(_) => ColumnType::Tag,
            Self::F64(_) => ColumnType::F64,
            Self::I64(_) => ColumnType::I64,
            Self::U64(_) => ColumnType::U64,
            Self::Bool(_) => ColumnType::Bool,
            Self::Utf8(_) => ColumnType::Utf8,
            Self::Binary(_) => ColumnType::Binary,
        }
    }

    /// Bytes of text or raw data in it.
    pub fn data_len(&self) -> usize {
        match self {
            Self::Tag(text) | Self::Utf8(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::F64(_) | Self::I64(_) | Self::U64(_) | Self::Bool(_) => 0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Stored {
    Tag(u32, u32),
    F64(f64),
    I64(i64),
    U64(u64),
    Bool(bool),
    Utf8(u32, u32),
    Binary(u32, u32),
}

#[derive(Debug, Clone)]
struct Cell {
    name: (u32, u32),
    value: Stored,
}

#[derive(Debug, Clone)]
struct Head {
    log: (u32, u32),
    time: Option<i64>,
    cells: Range<u32>,
}

/// A reusable buffer of decoded records.
///
/// A record is opened by [`begin`](Self::begin), filled by the value methods, and counts once [`finish`](Self::finish)
/// is called; [`abandon`](Self::abandon) takes back an unfinished one. Invariant: `cells` and the arenas hold what the
/// finished records (and at most one open record) refer to. Sizes are 32-bit: callers keep one buffer under 4 GiB,
/// which every ingest limit does by orders of magnitude.
#[derive(Debug, Default, Clone)]
pub struct Records {
    heads: Vec<Head>,
    cells: Vec<Cell>,
    text: String,
    bytes: Vec<u8>,
    open: Option<Head>,
    /// Where the last log name lies, so that a run of records of one log stores it once.
    last_log: Option<(u32, u32)>,
}

/// One finished record of a [`Records`] buffer.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    owner: &'a Records,
    head: &'a Head,
}

impl Records {
    /// An empty buffer; it allocates on first use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.cells.clear();
        self.text.clear();
        self.bytes.clear();
        self.open = None;
        self.last_log = None;
    }

    /// Number of finished records.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether no record is finished.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of heap this buffer holds, for the memory budget.
    pub fn heap_bytes(&self) -> usize {
        let arenas = self.text.capacity() + self.bytes.capacity();
        self.heads.capacity() * size_of::<Head>() + self.cells.capacity() * size_of::<Cell>() + arenas
    }

    /// Gives memory beyond `bytes` back, so that one huge message does not stay charged to its connection for ever.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.heap_bytes() > bytes {
            *self = Self::default();
        }
    }

    /// Opens a record of `log`. `time` is Unix nanoseconds; `None` means the time of arrival. An unfinished record is dropped.
    pub fn begin(&mut self, log: &str, time: Option<i64>) {
        self.abandon();
        let log = match self.last_log {
            Some(at) if self.text(at) == log => at,
            _ => self.intern(log),
        };
        self.last_log = Some(log);
        let start = self.cells.len() as u32;
        self.open = Some(Head { log, time, cells: start..start });
    }

    /// Sets the time of the open record (formats whose time comes after the values).
    pub fn set_time(&mut self, time: Option<i64>) {
        if let Some(head) = &mut self.open {
            head.time = time;
        }
    }

    /// Adds a value to the open record. A name that comes twice: the ring keeps the later one.
    pub fn push(&mut self, name: &str, value: Value<'_>) {
        let name = self.intern(name);
        let value = match value {
            Value::Tag(text) => {
                let (at, len) = self.intern(text);
                Stored::Tag(at, len)
            }
            Value::F64(v) => Stored::F64(v),
            Value::I64(v) => Stored::I64(v),
            Value::U64(v) => Stored::U64(v),
            Value::Bool(v) => Stored::Bool(v),
            Value::Utf8(text) => {
                let (at, len) = self.intern(text);
                Stored::Utf8(at, len)
            }
            Value::Binary(bytes) => {
                let at = self.bytes.len() as u32;
                self.bytes.extend_from_slice(bytes);
                Stored::Binary(at, bytes.len() as u32)
            }
        };
        self.cells.push(Cell { name, value });
    }

    /// Closes the open record; without one it does nothing.
    pub fn finish(&mut self) {
        if let Some(mut head) = self.open.take() {
            head.cells.end = self.cells.len() as u32;
            self.heads.push(head);
        }
    }

    /// Drops the open record and its values; without one it does nothing.
    pub fn abandon(&mut self) {
        if let Some(head) = self.open.take() {
            self.cells.truncate(head.cells.start as usize);
        }
    }

    /// The finished records, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> + Clone {
        self.heads.iter().map(|head| RecordRef { owner: self, head })
    }

    fn intern(&mut self, text: &str) -> (u32, u32) {
        let at = self.text.len() as u32;
        self.text.push_str(text);
        (at, text.len() as u32)
    }

    fn bytes(&self, (at, len): (u32, u32)) -> &[u8] {
        &self.bytes[at as usize..at as usize + len as usize]
    }

    fn text(&self, (at, len): (u32, u32)) -> &str {
        &self.text[at as usize..at as usize + len as usize]
    }
}

impl<'a> RecordRef<'a> {
    /// Name of the log this record goes to.
    pub fn log(&self) -> &'a str {
        self.owner.text(self.head.log)
    }

    /// Unix nanoseconds, or `None` for the time of arrival.
    pub fn time(&self) -> Option<i64> {
        self.head.time
    }

    /// Names and values in the order in which they came.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let owner = self.owner;
        let cells = self.head.cells.start as usize..self.head.cells.end as usize;
        owner.cells[cells].iter().map(move |cell| {
            let value = match cell.value {
                Stored::Tag(at, len) => Value::Tag(owner.text((at, len))),
                Stored::F64(v) => Value::F64(v),
                Stored::I64(v) => Value::I64(v),
                Stored::U64(v) => Value::U64(v),
                Stored::Bool(v) => Value::Bool(v),
                Stored::Utf8(at, len) => Value::Utf8(owner.text((at, len))),
                Stored::Binary(at, len) => Value::Binary(owner.bytes((at, len))),
            };
            (owner.text(cell.name), value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_records_come_back_in_order_with_their_values() {
        let mut records = Records::new();
        records.begin("climate", Some(7));
        records.push("station", Value::Tag("north"));
        records.push("temp", Value::F64(-0.0));
        records.finish();
        records.begin("climate", None);
        records.push("raw", Value::Binary(&[0xff, 0]));
        records.finish();

        let all: Vec<_> = records.iter().map(|r| (r.log(), r.time(), r.values().collect::<Vec<_>>())).collect();
        assert_eq!(all[0], ("climate", Some(7), vec![("station", Value::Tag("north")), ("temp", Value::F64(-0.0))]));
        assert_eq!(all[1], ("climate", None, vec![("raw", Value::Binary(&[0xff, 0]))]));
    }

    #[test]
    fn an_abandoned_record_leaves_nothing_behind() {
        let mut records = Records::new();
        records.begin("a", None);
        records.push("x", Value::I64(1));
        records.abandon();
        records.finish();
        assert!(records.is_empty());
        records.begin("b", None);
        records.finish();
        assert_eq!(records.iter().next().map(|r| r.values().len()), Some(0));
    }
}

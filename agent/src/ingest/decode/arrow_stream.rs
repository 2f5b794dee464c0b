//! Arrow IPC streams: column batches in, columns of our types out, one batch at a time.
//!
//! The messages are walked here, and every length in them is checked against the bytes that are there before arrow-ipc
//! may read it; what a message will take in memory is known, and asked for, before it is decoded.

use std::collections::HashMap;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::Bytes;

mod check;
mod columns;

use columns::Plan;

/// Records of one batch: a writer that wants more sends more batches.
pub const MAX_ROWS: usize = 1 << 20;

/// Delta dictionaries of one stream: each costs a copy of all before it.
pub const MAX_DELTAS: u32 = 1_024;

const CONTINUATION: [u8; 4] = [0xff; 4];

/// Why a stream, or the rest of it, was not taken. What came before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The bytes end in the middle of a message.
    #[error("the stream is cut off in message {message}: send it again")]
    Truncated {
        /// Number of the message, from 1.
        message: u64,
    },
    /// The bytes are no Arrow stream, or a length or value in them is impossible.
    #[error("message {message} of the stream is not valid: {detail}")]
    Invalid {
        /// Number of the message, from 1.
        message: u64,
        /// What is wrong.
        detail: String,
    },
    /// A column of a type that has no place in a log.
    #[error(
        "column {column:?} is of type {data_type}, which a log cannot hold: send integers, floats, booleans, strings, \
         dictionaries of strings, binary or timestamps"
    )]
    Unsupported {
        /// Name of the column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// The memory for a message is not there.
    #[error("no memory for {bytes} bytes of message {message}: send smaller batches, or later")]
    NoMemory {
        /// Number of the message, from 1.
        message: u64,
        /// What it takes.
        bytes: u64,
    },
}

/// Memory that a message is about to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Bytes until the next batch is decoded.
    Batch(u64),
    /// Bytes until the stream ends.
    Dictionary(u64),
}

/// A decoded batch in the types of a log.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Unix nanoseconds of each record.
    pub times: Vec<i64>,
    /// Names and values; each array is of a type that `pyralog_segment::ColumnType::from_arrow` knows.
    pub columns: Vec<(String, ArrayRef)>,
}

/// What to make of the columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// The column of times; `None` for `time`.
    pub time_key: Option<String>,
    /// String columns that are tags (dictionary columns always are).
    pub tags: Vec<String>,
}

/// Reads a whole stream that lies in memory.
#[derive(Debug)]
pub struct ArrowStream {
    rest: Buffer,
    options: StreamOptions,
    message: u64,
    deltas: u32,
    schema: Option<(SchemaRef, Plan)>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl ArrowStream {
    /// A reader of `body`.
    pub fn new(body: Bytes, options: StreamOptions) -> Self {
        Self { rest: Buffer::from(body), options, message: 0, deltas: 0, schema: None, dictionaries: HashMap::new() }
    }

    /// The next batch, or `None` at the end. Records without a time get `now` (Unix nanoseconds); `room` is asked before a
    /// message is decoded and says whether its memory is there.
    pub fn next_batch(&mut self, now: i64, room: &mut dyn FnMut(Need) -> bool) -> Result<Option<Columns>, StreamError> {
        loop {
            let Some((metadata, body)) = self.next_message()? else { return Ok(None) };
            let message = root_as_message(&metadata).map_err(|error| self.invalid(error))?;
            let version = message.version();
            match message.header_type() {
                MessageHeader::Schema => {
                    let schema = message.header_as_schema().ok_or_else(|| self.invalid("no schema in it"))?;
                    self.set_schema(schema)?;
                }
                MessageHeader::DictionaryBatch => {
                    let batch = message.header_as_dictionary_batch().ok_or_else(|| self.invalid("no dictionary"))?;
                    let data = batch.data().ok_or_else(|| self.invalid("a dictionary without values"))?;
                    let (schema, _) =
                        self.schema.as_ref().ok_or_else(|| self.invalid("a dictionary before the schema"))?;
                    let values = dictionary_values(schema, batch.id());
                    let mut bytes =
                        check::batch(&data, &body, values.into_iter()).map_err(|detail| self.invalid(detail))?;
                    if batch.isDelta() {
                        self.deltas += 1;
                        if self.deltas > MAX_DELTAS {
                            return Err(self.invalid("too many delta dictionaries: send replacements"));
                        }
                        let before =
                            self.dictionaries.get(&batch.id()).map_or(0, |values| values.get_array_memory_size());
                        bytes = bytes.saturating_add(before as u64);
                    }
                    self.ask(room, Need::Dictionary(bytes), bytes)?;
                    read_dictionary(&body, batch, schema, &mut self.dictionaries, &version)
                        .map_err(|error| self.refused(&error))?;
                }
                MessageHeader::RecordBatch => {
                    let batch = message.header_as_record_batch().ok_or_else(|| self.invalid("no records in it"))?;
                    let (schema, plan) =
                        self.schema.as_ref().ok_or_else(|| self.invalid("records before the schema"))?;
                    let types = schema.fields().iter().map(|field| field.data_type());
                    let bytes = check::batch(&batch, &body, types).map_err(|detail| self.invalid(detail))?;
                    // Decoded once as it came, and once more in our types, none of which is over 16 bytes a value.
                    let cells = batch.nodes().map_or(0, |nodes| nodes.len() as u64 + 1) * batch.length() as u64;
                    let bytes = bytes.saturating_mul(2).saturating_add(cells * 16);
                    self.ask(room, Need::Batch(bytes), bytes)?;
                    let schema = SchemaRef::clone(schema);
                    let decoded: RecordBatch =
                        read_record_batch(&body, batch, schema, &self.dictionaries, None, &version)
                            .map_err(|error| self.refused(&error))?;
                    return plan.columns(&decoded, now, bytes).map(Some).map_err(|detail| self.invalid(detail));
                }
                other => return Err(self.invalid(format_args!("messages of kind {other:?} are not for streams"))),
            }
        }
    }

    /// Number of the message read last, from 1.
    pub fn message(&self) -> u64 {
        self.message
    }

    fn set_schema(&mut self, schema: arrow_ipc::Schema<'_>) -> Result<(), StreamError> {
        if self.schema.is_some() {
            return Err(self.invalid("a second schema"));
        }
        if schema.endianness() != arrow_ipc::Endianness::Little {
            return Err(self.invalid("big-endian data: send little-endian"));
        }
        let schema = try_fb_to_schema(schema).map_err(|error| self.refused(&error))?;
        let plan = Plan::new(&schema, &self.options)?;
        self.schema = Some((SchemaRef::new(schema), plan));
        Ok(())
    }

    /// The metadata and body of the next message; `None` at the end of the stream.
    fn next_message(&mut self) -> Result<Option<(Buffer, Buffer)>, StreamError> {
        if self.rest.is_empty() {
            return match self.schema {
                Some(_) => Ok(None),
                None => Err(StreamError::Invalid { message: 1, detail: "the stream is empty".to_owned() }),
            };
        }
        self.message += 1;
        let mut word = self.take(4)?;
        if *word == CONTINUATION {
            word = self.take(4)?;
        }
        let size = word.as_slice().try_into().map_or(0, u32::from_le_bytes);
        if size == 0 {
            self.rest = Buffer::default();
            return self.next_message_at_end();
        }
        let metadata = self.take(size as usize)?;
        let message = root_as_message(&metadata).map_err(|error| self.invalid(error))?;
        let length = usize::try_from(message.bodyLength()).map_err(|_| self.invalid("a body of negative length"))?;
        let body = self.take(length)?;
        Ok(Some((metadata, body)))
    }

    fn next_message_at_end(&self) -> Result<Option<(Buffer, Buffer)>, StreamError> {
        if self.schema.is_none() { Err(self.invalid("the stream ends before its schema")) } else { Ok(None) }
    }

    fn take(&mut self, length: usize) -> Result<Buffer, StreamError> {
        if length > self.rest.len() {
            return Err(StreamError::Truncated { message: self.message });
        }
        let taken = self.rest.slice_with_length(0, length);
        self.rest.advance(length);
        Ok(taken)
    }

    fn ask(&self, room: &mut dyn FnMut(Need) -> bool, need: Need, bytes: u64) -> Result<(), StreamError> {
        if room(need) { Ok(()) } else { Err(StreamError::NoMemory { message: self.message, bytes }) }
    }

    fn invalid(&self, detail: impl std::fmt::Display) -> StreamError {
        StreamError::Invalid { message: self.message, detail: detail.to_string() }
    }

    fn refused(&self, error: &ArrowError) -> StreamError {
        self.invalid(error)
    }
}

/// The type of the values of a dictionary; without one arrow-ipc refuses the message.
fn dictionary_values(schema: &SchemaRef, id: i64) -> Option<&DataType> {
    // Arrow would rather have dictionaries numbered by its writers; a reader still needs the number.
    #[expect(deprecated)]
    let field = schema.fields().iter().find(|field| field.dict_id() == Some(id))?;
    match field.data_type() {
        DataType::Dictionary(_, values) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! The `arrow-zstd` encoding: Arrow IPC with zstd-compressed buffers.
//!
//! The bytes are the encapsulated messages of an IPC stream without its schema message: one dictionary batch per tag column
//! (ids from 0, in column order), then one record batch. So a schema message before them and an end-of-stream mark behind
//! them make a stream that any Arrow client opens, while a reader that knows the schema need not store it per segment.
//!
//! Decoding is our own, from the verified flatbuffer to the arrays: the reader of `arrow-ipc` trusts lengths in the metadata.

use arrow_array::{ArrayRef, RecordBatch, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message};
use arrow_ipc::{CompressionType, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, DataType};

use crate::codec::{DecodeError, DecodeLimits, EncodeError, Meter};
use crate::schema::{ColumnType, Schema};

/// Every message of an IPC stream begins with this.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The length before a compressed buffer that says "stored as it is".
const UNCOMPRESSED: i64 = -1;

pub(crate) fn encode(batch: &RecordBatch, schema: &Schema, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write(batch, schema, out).map_err(|error| EncodeError::Library { library: "arrow-ipc", message: error.to_string() })
}

fn write(batch: &RecordBatch, schema: &Schema, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let options =
        IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?.try_with_compression(Some(CompressionType::ZSTD))?;
    let mut tracker = DictionaryTracker::new(false);
    let generator = IpcDataGenerator {};
    // Not written: it makes the tracker number the dictionaries.
    generator.schema_to_bytes_with_dictionary_tracker(&schema.arrow(), &mut tracker, &options);
    let (dictionaries, records) = generator.encode(batch, &mut tracker, &options, &mut IpcWriteContext::default())?;
    for message in dictionaries.into_iter().chain([records]) {
        write_message(&mut *out, message, &options)?;
    }
    Ok(())
}

pub(crate) fn decode(
    bytes: &[u8],
    schema: &Schema,
    rows: usize,
    limits: &DecodeLimits,
) -> Result<RecordBatch, DecodeError> {
    let mut meter = Meter::new(limits);
    let mut messages = Messages { rest: bytes };
    let mut dictionaries = Vec::new();
    for _ in schema.columns().iter().filter(|c| c.ty == ColumnType::Tag) {
        dictionaries.push(read_dictionary(messages.next()?, dictionaries.len(), &mut meter)?);
    }
    let message = messages.next()?;
    if !messages.rest.is_empty() {
        return Err(DecodeError::Trailing);
    }
    let records = message.records.ok_or(DecodeError::corrupt("a dictionary where the record batch should be"))?;
    if usize::try_from(records.length()) != Ok(rows) {
        return Err(DecodeError::corrupt("the record batch has another number of rows"));
    }
    let mut parts = Parts::new(records, message.body, &mut meter)?;
    let mut dictionaries = dictionaries.into_iter();
    let mut columns = Vec::with_capacity(schema.columns().len() + 1);
    for field in schema.arrow().fields() {
        let dictionary = match field.data_type() {
            DataType::Dictionary(..) => dictionaries.next(),
            _ => None,
        };
        columns.push(parts.array(field.data_type(), rows, dictionary)?);
    }
    parts.finish()?;
    RecordBatch::try_new(schema.arrow(), columns).map_err(|_| DecodeError::corrupt("columns do not fit the schema"))
}

fn read_dictionary(message: Message<'_>, id: usize, meter: &mut Meter) -> Result<ArrayData, DecodeError> {
    let dictionary = message.dictionary.ok_or(DecodeError::corrupt("a dictionary is missing"))?;
    if usize::try_from(dictionary.id()) != Ok(id) || dictionary.isDelta() {
        return Err(DecodeError::corrupt("dictionaries are out of order"));
    }
    let values = dictionary.data().ok_or(DecodeError::corrupt("a dictionary has no values"))?;
    let length = usize::try_from(values.length()).map_err(|_| DecodeError::corrupt("a negative length"))?;
    let mut parts = Parts::new(values, message.body, meter)?;
    let values = parts.array(&DataType::Utf8, length, None)?;
    parts.finish()?;
    // Where a tag is missing its key is null: a null in the dictionary would be a second way to say so, which `packed` does not have.
    match values.null_count() {
        0 => Ok(values.to_data()),
        _ => Err(DecodeError::corrupt("a dictionary holds a null")),
    }
}

/// The messages that are left of the segment.
struct Messages<'a> {
    rest: &'a [u8],
}

/// One message: either header, and the body that it describes.
struct Message<'a> {
    records: Option<arrow_ipc::RecordBatch<'a>>,
    dictionary: Option<arrow_ipc::DictionaryBatch<'a>>,
    body: &'a [u8],
}

impl<'a> Messages<'a> {
    fn next(&mut self) -> Result<Message<'a>, DecodeError> {
        let (mark, rest) = self.rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        if *mark != CONTINUATION {
            return Err(DecodeError::corrupt("no IPC message where one should begin"));
        }
        let (head, rest) = take(rest, i32::from_le_bytes(*length).into())?;
        let head = arrow_ipc::root_as_message(head).map_err(|_| DecodeError::corrupt("an IPC message is malformed"))?;
        if head.version() != MetadataVersion::V5 {
            return Err(DecodeError::corrupt("an IPC message is not of version 5"));
        }
        let (body, rest) = take(rest, head.bodyLength())?;
        self.rest = rest;
        let records = (head.header_type() == MessageHeader::RecordBatch).then(|| head.header_as_record_batch());
        let dictionary =
            (head.header_type() == MessageHeader::DictionaryBatch).then(|| head.header_as_dictionary_batch());
        Ok(Message { records: records.flatten(), dictionary: dictionary.flatten(), body })
    }
}

fn take(bytes: &[u8], length: i64) -> Result<(&[u8], &[u8]), DecodeError> {
    let length = usize::try_from(length).map_err(|_| DecodeError::corrupt("a negative length"))?;
    bytes.split_at_checked(length).ok_or(DecodeError::Truncated)
}

/// Hands out the nodes and buffers of one record batch in order.
struct Parts<'a, 'm> {
    nodes: Vec<arrow_ipc::FieldNode>,
    buffers: Vec<arrow_ipc::Buffer>,
    next_node: usize,
    next_buffer: usize,
    compressed: bool,
    body: &'a [u8],
    meter: &'m mut Meter,
}

impl<'a, 'm> Parts<'a, 'm> {
    fn new(batch: arrow_ipc::RecordBatch<'a>, body: &'a [u8], meter: &'m mut Meter) -> Result<Self, DecodeError> {
        let compressed = match batch.compression() {
            None => false,
            Some(how) if how.codec() == CompressionType::ZSTD => true,
            Some(_) => return Err(DecodeError::corrupt("buffers are compressed otherwise than by zstd")),
        };
        let missing = DecodeError::corrupt("an IPC message is malformed");
        let nodes = batch.nodes().ok_or(missing.clone())?;
        let buffers = batch.buffers().ok_or(missing)?;
        meter.charge(nodes.len() + buffers.len(), size_of::<arrow_ipc::Buffer>())?;
        let (nodes, buffers) = (nodes.iter().copied().collect(), buffers.iter().copied().collect());
        Ok(Self { nodes, buffers, next_node: 0, next_buffer: 0, compressed, body, meter })
    }

    /// The next array, checked in full.
    fn array(
        &mut self,
        data_type: &DataType,
        rows: usize,
        dictionary: Option<ArrayData>,
    ) -> Result<ArrayRef, DecodeError> {
        let node = self.nodes.get(self.next_node).ok_or(DecodeError::corrupt("a column is missing"))?;
        if usize::try_from(node.length()) != Ok(rows) {
            return Err(DecodeError::corrupt("a column has another number of rows"));
        }
        self.next_node += 1;
        let validity = self.buffer()?;
        let nulls = match validity.len() {
            0 => None,
            length if length >= rows.div_ceil(8) => Some(NullBuffer::new(BooleanBuffer::new(validity, 0, rows))),
            _ => return Err(DecodeError::corrupt("a validity bitmap is too short")),
        };
        let values = self.values(data_type, rows)?;
        let mut array = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls).add_buffer(values);
        if matches!(data_type, DataType::Utf8 | DataType::Binary) {
            array = array.add_buffer(self.buffer()?);
        }
        if let Some(dictionary) = dictionary {
            array = array.add_child_data(dictionary);
        }
        let array = array.align_buffers(true).build();
        Ok(make_array(array.map_err(|_| DecodeError::corrupt("a column is malformed"))?))
    }

    /// The values or offsets of an array, cut to exactly what its rows need: Arrow's checks panic on a part of a value.
    fn values(&mut self, data_type: &DataType, rows: usize) -> Result<Buffer, DecodeError> {
        let buffer = self.buffer()?;
        let length = match data_type {
            DataType::Boolean => Some(rows.div_ceil(8)),
            DataType::Dictionary(..) => rows.checked_mul(4),
            // An array without rows may come without its one offset.
            DataType::Utf8 | DataType::Binary if rows == 0 => return Ok(Buffer::from_vec(vec![0i32])),
            DataType::Utf8 | DataType::Binary => rows.checked_add(1).and_then(|offsets| offsets.checked_mul(4)),
            _ => rows.checked_mul(8),
        };
        match length {
            Some(length) if length <= buffer.len() => Ok(buffer.slice_with_length(0, length)),
            _ => Err(DecodeError::corrupt("a column is shorter than its rows")),
        }
    }

    fn buffer(&mut self) -> Result<Buffer, DecodeError> {
        let at = self.buffers.get(self.next_buffer).ok_or(DecodeError::corrupt("a buffer is missing"))?;
        self.next_buffer += 1;
        let start = usize::try_from(at.offset()).map_err(|_| DecodeError::corrupt("a negative offset"))?;
        let (bytes, _) = take(self.body.get(start..).ok_or(DecodeError::Truncated)?, at.length())?;
        if bytes.is_empty() {
            return Ok(Buffer::default());
        }
        if !self.compressed {
            return self.stored(bytes);
        }
        let (length, bytes) = bytes.split_first_chunk::<8>().ok_or(DecodeError::Truncated)?;
        match i64::from_le_bytes(*length) {
            UNCOMPRESSED => self.stored(bytes),
            length => {
                let length = usize::try_from(length).map_err(|_| DecodeError::corrupt("a negative length"))?;
                self.meter.charge(length, 1)?;
                let plain = zstd::bulk::decompress(bytes, length);
                let plain = plain.map_err(|_| DecodeError::corrupt("a buffer does not decompress"))?;
                if plain.len() != length {
                    return Err(DecodeError::corrupt("a buffer has another length than it claims"));
                }
                Ok(Buffer::from_vec(plain))
            }
        }
    }

    fn stored(&mut self, bytes: &[u8]) -> Result<Buffer, DecodeError> {
        self.meter.charge(bytes.len(), 1)?;
        Ok(Buffer::from(bytes))
    }

    fn finish(self) -> Result<(), DecodeError> {
        let all = self.next_node == self.nodes.len() && self.next_buffer == self.buffers.len();
        if all { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

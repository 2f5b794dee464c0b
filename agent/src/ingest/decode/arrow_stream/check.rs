//! Checks the numbers in a record batch's header against the schema and the bytes that are there, before arrow-ipc makes
//! anything of them: it takes some of them on trust.

use arrow_buffer::Buffer;
use arrow_ipc::{CompressionType, RecordBatch};
use arrow_schema::DataType;

use super::MAX_ROWS;

/// Bytes in front of a compressed buffer: its unpacked length, or -1 for a buffer that is not compressed after all.
const LENGTH_PREFIX: usize = 8;

/// Bytes that the batch will take when its buffers are unpacked, or what is impossible about it. `types` are those of its
/// columns, all of them flat.
pub(super) fn batch<'t>(
    batch: &RecordBatch<'_>,
    body: &Buffer,
    types: impl Iterator<Item = &'t DataType>,
) -> Result<u64, String> {
    let rows = batch.length();
    if !(0..=MAX_ROWS as i64).contains(&rows) {
        return Err(format!("{rows} rows in one batch; at most {MAX_ROWS} are taken"));
    }
    for node in batch.nodes().iter().flat_map(|nodes| nodes.iter()) {
        if node.length() != rows || !(0..=rows).contains(&node.null_count()) {
            let (length, nulls) = (node.length(), node.null_count());
            return Err(format!("a column of {length} rows with {nulls} nulls in a batch of {rows}"));
        }
    }
    let compressed = match batch.compression().map(|compression| compression.codec()) {
        None => false,
        Some(CompressionType::ZSTD) => true,
        Some(_) => return Err("its buffers are compressed with lz4: send zstd, or none and gzip the body".to_owned()),
    };
    let mut total = 0_u64;
    let mut buffers = batch.buffers().into_iter().flat_map(|buffers| buffers.iter()).map(|buffer| {
        let length = length(buffer, body, compressed)?;
        total = total.saturating_add(length);
        Ok::<_, String>(length)
    });
    let mut variadic = batch.variadicBufferCounts().into_iter().flat_map(|counts| counts.iter());
    for data_type in types {
        column(data_type, &mut buffers, &mut variadic)?;
    }
    // Buffers that belong to no column are not decoded, but counted all the same.
    buffers.try_for_each(|buffer| buffer.map(|_| ()))?;
    Ok(total)
}

/// Reads off the buffers of one column and checks that those of fixed width hold whole values.
fn column(
    data_type: &DataType,
    buffers: &mut impl Iterator<Item = Result<u64, String>>,
    variadic: &mut impl Iterator<Item = i64>,
) -> Result<(), String> {
    let mut next = || buffers.next().unwrap_or_else(|| Err("fewer buffers than its columns need".to_owned()));
    if *data_type == DataType::Null {
        return Ok(());
    }
    let _validity = next()?;
    let width = width(data_type);
    let values = next()?;
    if values.checked_rem(width).is_some_and(|rest| rest != 0) {
        return Err(format!("a buffer of {values} bytes for {data_type}, whose values take {width}"));
    }
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => drop(next()?),
        DataType::Utf8View | DataType::BinaryView => {
            let count = variadic.next().ok_or("fewer buffer counts than its columns need")?;
            for _ in 0..count {
                next()?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Bytes of one value in the first buffer after the validity: of values, offsets, views or keys.
fn width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Utf8 | DataType::Binary => 4,
        DataType::LargeUtf8 | DataType::LargeBinary => 8,
        DataType::Utf8View | DataType::BinaryView => 16,
        DataType::FixedSizeBinary(bytes) => u64::try_from(*bytes).unwrap_or(0),
        DataType::Dictionary(keys, _) => width(keys),
        other => other.primitive_width().map_or(1, |bytes| bytes as u64),
    }
}

/// The unpacked length of a buffer that lies within `body`.
fn length(buffer: &arrow_ipc::Buffer, body: &Buffer, compressed: bool) -> Result<u64, String> {
    let (Ok(offset), Ok(length)) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length())) else {
        return Err("a buffer with a negative offset or length".to_owned());
    };
    let bytes = offset.checked_add(length).and_then(|end| body.get(offset..end));
    let bytes = bytes.ok_or("a buffer that lies outside the message")?;
    if !compressed || bytes.is_empty() {
        return Ok(length as u64);
    }
    let (prefix, rest) = bytes.split_first_chunk::<LENGTH_PREFIX>().ok_or("a compressed buffer without its length")?;
    match i64::from_le_bytes(*prefix) {
        -1 => Ok(rest.len() as u64),
        length => u64::try_from(length).map_err(|_| "a compressed buffer of negative length".to_owned()),
    }
}

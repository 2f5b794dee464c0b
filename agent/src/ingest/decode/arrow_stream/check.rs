//! Checks the numbers in a record batch's header against the bytes that are there, before anything is made of them.

use arrow_buffer::Buffer;
use arrow_ipc::{CompressionType, RecordBatch};

use super::MAX_ROWS;

/// Bytes in front of a compressed buffer: its unpacked length, or -1 for a buffer that is not compressed after all.
const LENGTH_PREFIX: usize = 8;

/// Bytes that the batch will take when its buffers are unpacked, or what is impossible about it.
pub(super) fn batch(batch: &RecordBatch<'_>, body: &Buffer) -> Result<u64, String> {
    let rows = batch.length();
    if !(0..=MAX_ROWS as i64).contains(&rows) {
        return Err(format!("{rows} rows in one batch; at most {MAX_ROWS} are taken"));
    }
    // Flat columns only (the schema was checked), so every node is as long as the batch.
    for node in batch.nodes().iter().flat_map(|nodes| nodes.iter()) {
        if node.length() != rows || !(0..=rows).contains(&node.null_count()) {
            return Err(format!(
                "a column of {} rows with {} nulls in a batch of {rows}",
                node.length(),
                node.null_count()
            ));
        }
    }
    let compressed = match batch.compression().map(|compression| compression.codec()) {
        None => false,
        Some(CompressionType::ZSTD) => true,
        Some(_) => return Err("its buffers are compressed with lz4: send zstd, or none and gzip the body".to_owned()),
    };
    let mut total = 0_u64;
    for buffer in batch.buffers().iter().flat_map(|buffers| buffers.iter()) {
        let (Ok(offset), Ok(length)) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length())) else {
            return Err("a buffer with a negative offset or length".to_owned());
        };
        let bytes = offset.checked_add(length).and_then(|end| body.get(offset..end));
        let bytes = bytes.ok_or("a buffer that lies outside the message")?;
        total = total.saturating_add(if compressed { unpacked(bytes)? } else { length as u64 });
    }
    Ok(total)
}

fn unpacked(bytes: &[u8]) -> Result<u64, String> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let (prefix, rest) = bytes.split_first_chunk::<LENGTH_PREFIX>().ok_or("a compressed buffer without its length")?;
    match i64::from_le_bytes(*prefix) {
        -1 => Ok(rest.len() as u64),
        length => u64::try_from(length).map_err(|_| "a compressed buffer of negative length".to_owned()),
    }
}

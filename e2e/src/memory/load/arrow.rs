//! Arrow streams whose numbers lie.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};

use super::many;
use crate::Result;
use crate::memory::target::{self, Target};

const CONNECTIONS: usize = 16;
const ROWS: usize = 1_000;

/// What is written over lengths, counts and offsets: a little too much, far too much, negative.
const LIES: [i64; 10] =
    [i64::MAX, i64::MIN, -1, 1 << 40, 1 << 31, (1 << 31) - 1, 1 << 28, 1 << 22, 1 << 20, ROWS as i64 * 8 + 64];

/// Posts streams with a number changed somewhere: in the metadata, in front of compressed buffers, anywhere.
///
/// # Errors
/// When no stream can be made.
pub async fn forged(target: &Target) -> Result<()> {
    let streams = Arc::new([stream(None)?, stream(Some(CompressionType::ZSTD))?]);
    many(target, CONNECTIONS, |target, connection| {
        let streams = Arc::clone(&streams);
        async move {
            let mut number = connection;
            while !target.is_over() {
                let forged = forge(&streams[number % 2], number);
                number += CONNECTIONS;
                let headers = "content-type: application/vnd.apache.arrow.stream\r\n";
                let request = target::post("/v1/logs/forged/records", headers, &forged);
                match target.exchange(&request).await {
                    Ok(status) => target.note(&status.to_string()),
                    Err(_) => target.note("hung up on"),
                }
            }
            Ok(())
        }
    })
    .await
}

/// The stream with one lie in it. Lengths that are there (of columns, buffers, compressed buffers) are searched and replaced
/// most of the time, else any eight bytes.
fn forge(stream: &[u8], number: usize) -> Vec<u8> {
    let mut out = stream.to_vec();
    let lie = LIES[number / 2 % LIES.len()];
    let round = number / 2 / LIES.len();
    let known = [ROWS as i64, ROWS as i64 * 8, ROWS as i64 * 4, (ROWS as i64 + 1) * 4];
    let places: Vec<usize> = out
        .windows(8)
        .enumerate()
        .filter(|(_, word)| known.iter().any(|length| *word == length.to_le_bytes()))
        .map(|(at, _)| at)
        .collect();
    let at = match places.get(round % (places.len() + 4).max(1)) {
        Some(place) => *place,
        None => round.wrapping_mul(2_654_435_761) % (out.len() - 8),
    };
    let wide = round.is_multiple_of(2) || places.contains(&at);
    let bytes = lie.to_le_bytes();
    let bytes = if wide { &bytes[..] } else { &bytes[..4] };
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    out
}

fn stream(compression: Option<CompressionType>) -> Result<Vec<u8>> {
    let tag = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = Schema::new(vec![
        Field::new("value", DataType::Float64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("tag", tag, true),
    ]);
    let words: Vec<String> = (0..ROWS).map(|row| format!("word {}", row % 100)).collect();
    let tags: DictionaryArray<Int32Type> = words.iter().map(String::as_str).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| row as f64 / 3.0))),
        Arc::new(StringArray::from_iter_values(&words)),
        Arc::new(tags),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
    writer.write(&batch)?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_streams_differ_from_the_true_one_and_from_each_other() {
        let stream = stream(Some(CompressionType::ZSTD)).unwrap();
        let mut forged: Vec<Vec<u8>> = (0..400).map(|number| forge(&stream, number * 2)).collect();
        assert!(forged.iter().filter(|one| **one != stream).count() > 300);
        forged.sort();
        forged.dedup();
        assert!(forged.len() > 200, "{} different", forged.len());
    }
}

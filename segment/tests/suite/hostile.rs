//! Bytes that nobody wrote: decoders give an error or a valid batch, within their limit, and never panic.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{DictionaryArray, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray};
use proptest::prelude::*;
use pyralog_segment::{Column, ColumnType, DecodeError, DecodeLimits, Encoding, Schema, decode, encode};

use crate::batches::{Random, all_types, random};

const ENCODINGS: [Encoding; 2] = [Encoding::Packed, Encoding::ArrowZstd];

const LIMITS: DecodeLimits = DecodeLimits { max_bytes: 4 << 20 };

/// Decodes; a batch that comes out must be whole.
fn try_decode(bytes: &[u8], schema: &Schema, rows: usize, encoding: Encoding) {
    if let Ok(batch) = decode(bytes, schema, rows, encoding, &LIMITS) {
        assert_eq!(batch.num_rows(), rows);
        assert_eq!(batch.schema(), schema.arrow());
        for column in batch.columns() {
            column.to_data().validate_full().unwrap();
        }
        assert!(batch.get_array_memory_size() <= 2 * LIMITS.max_bytes);
    }
}

#[test]
fn a_segment_cut_anywhere_is_refused() {
    for seed in 0..40 {
        let (schema, batch) = if seed == 0 { all_types() } else { random(seed, 70) };
        for encoding in ENCODINGS {
            let mut bytes = Vec::new();
            encode(&batch, encoding, &mut bytes).unwrap();
            for end in 0..bytes.len() {
                let cut = decode(&bytes[..end], &schema, batch.num_rows(), encoding, &LIMITS);
                assert!(cut.is_err(), "seed {seed}, {encoding} cut at {end} of {}", bytes.len());
            }
            bytes.push(0);
            let longer = decode(&bytes, &schema, batch.num_rows(), encoding, &LIMITS);
            assert!(longer.is_err(), "seed {seed}, {encoding} with a byte more");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for seed in 0..60 {
        let (schema, batch) = if seed == 0 { all_types() } else { random(seed, [3, 70, 300][seed as usize % 3]) };
        let mut random = Random(seed);
        for encoding in ENCODINGS {
            let mut bytes = Vec::new();
            encode(&batch, encoding, &mut bytes).unwrap();
            for _ in 0..200 {
                let mut bad = bytes.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(bad.len());
                    bad[at] = [bad[at] ^ (1 << random.below(8)), random.next() as u8, 0xff, 0][random.below(4)];
                }
                try_decode(&bad, &schema, batch.num_rows(), encoding);
            }
        }
    }
}

#[test]
fn every_bit_of_the_head_may_flip() {
    for seed in 0..30 {
        let (schema, batch) = random(seed, 80);
        for encoding in ENCODINGS {
            let mut bytes = Vec::new();
            encode(&batch, encoding, &mut bytes).unwrap();
            for bit in 0..(bytes.len() * 8).min(1200) {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                try_decode(&bad, &schema, batch.num_rows(), encoding);
            }
        }
    }
}

#[test]
fn another_schema_or_row_count_is_refused_or_gives_a_valid_batch() {
    for seed in 0..60 {
        let (_, batch) = random(seed, 50);
        let (other, _) = random(seed + 1, 0);
        for encoding in ENCODINGS {
            let mut bytes = Vec::new();
            encode(&batch, encoding, &mut bytes).unwrap();
            for rows in [0, 1, 49, 50, 51, 100_000] {
                try_decode(&bytes, &other, rows, encoding);
            }
        }
    }
}

#[test]
fn a_row_count_that_exceeds_the_limit_is_refused_before_memory_is_taken() {
    let schema = Schema::new((0..100).map(|i| Column::new(format!("c{i}"), ColumnType::F64)).collect()).unwrap();
    let empty = RecordBatch::new_empty(schema.arrow());
    let mut bytes = Vec::new();
    encode(&empty, Encoding::Packed, &mut bytes).unwrap();
    // Zeros say "constant" in most places, which is the cheapest way to claim rows.
    for bytes in [&bytes[..], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x01; 200], &[0xff; 200]] {
        for rows in [1 << 20, 1 << 24, 1_usize.checked_shl(40).unwrap_or(1 << 30), usize::MAX] {
            assert!(decode(bytes, &schema, rows, Encoding::Packed, &LIMITS).is_err());
            assert!(decode(bytes, &schema, rows, Encoding::ArrowZstd, &LIMITS).is_err());
        }
    }
}

#[test]
fn a_segment_larger_than_the_limit_is_refused_by_name() {
    let (schema, batch) = random(7, 5000);
    for encoding in ENCODINGS {
        let mut bytes = Vec::new();
        encode(&batch, encoding, &mut bytes).unwrap();
        let limits = DecodeLimits { max_bytes: 5000 };
        let error = decode(&bytes, &schema, 5000, encoding, &limits).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { max_bytes: 5000 });
    }
}

#[test]
fn an_unknown_layout_is_refused_by_its_number() {
    let error = decode(&[0x0f], &Schema::empty(), 0, Encoding::Packed, &LIMITS).unwrap_err();
    assert_eq!(error, DecodeError::Version { version: 15 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        seed in any::<u64>(),
        rows in 0usize..3000,
    ) {
        let (schema, _) = random(seed, 0);
        try_decode(&bytes, &schema, rows, Encoding::ArrowZstd);
        try_decode(&bytes, &schema, rows, Encoding::Packed);
        if let Some(first) = bytes.first_mut() {
            // The layout number, so that what follows is looked at.
            *first = *first & 0xf0 | 1;
        }
        try_decode(&bytes, &schema, rows, Encoding::Packed);
    }
}

#[test]
fn a_dictionary_with_a_null_is_refused_as_no_batch_of_ours_has_one() {
    let schema = Schema::new(vec![Column::new("station", ColumnType::Tag)]).unwrap();
    let values = StringArray::from(vec![Some("north"), None]);
    let station = DictionaryArray::<Int32Type>::try_new(Int32Array::from(vec![0, 1]), Arc::new(values)).unwrap();
    let time = TimestampNanosecondArray::from(vec![1, 2]).with_timezone("UTC");
    let batch = RecordBatch::try_new(schema.arrow(), vec![Arc::new(time), Arc::new(station)]).unwrap();
    let mut bytes = Vec::new();
    encode(&batch, Encoding::ArrowZstd, &mut bytes).unwrap();
    let error = decode(&bytes, &schema, 2, Encoding::ArrowZstd, &DecodeLimits::default()).unwrap_err();
    assert!(error.to_string().contains("a dictionary holds a null"), "{error}");
}

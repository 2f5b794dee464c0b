//! What goes in comes out, bit for bit, in both encodings.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray};
use proptest::prelude::*;
use pyralog_segment::{Column, ColumnType, DecodeLimits, EncodeError, Encoding, Schema, decode, encode, scratch_bytes};

use crate::batches::{all_types, random, times};

const ENCODINGS: [Encoding; 2] = [Encoding::Packed, Encoding::ArrowZstd];

fn round_trip(schema: &Schema, batch: &RecordBatch) {
    for encoding in ENCODINGS {
        let mut bytes = vec![1, 2, 3];
        encode(batch, encoding, &mut bytes).unwrap();
        assert_eq!(bytes[..3], [1, 2, 3], "what was there stays");
        let back = decode(&bytes[3..], schema, batch.num_rows(), encoding, &DecodeLimits::default()).unwrap();
        // Arrow compares floats by their bits.
        assert_eq!(back, *batch, "{encoding}");
    }
}

#[test]
fn every_type_comes_back_in_both_encodings() {
    let (schema, batch) = all_types();
    round_trip(&schema, &batch);
    for start in 0..3 {
        round_trip(&schema, &batch.slice(start, 3 - start));
        round_trip(&schema, &batch.slice(start, 0));
    }
}

#[test]
fn a_log_of_nothing_but_times_comes_back() {
    for rows in [0, 1, 2, 10_000] {
        let batch = RecordBatch::try_new(Schema::empty().arrow(), vec![times((0..rows).collect())]).unwrap();
        round_trip(&Schema::empty(), &batch);
    }
}

#[test]
fn a_dictionary_with_unused_doubled_and_null_values_comes_back_by_its_meaning() {
    let schema = Schema::new(vec![Column::new("t", ColumnType::Tag)]).unwrap();
    let keys = Int32Array::from(vec![Some(3), Some(1), None, Some(2), Some(3)]);
    let values = StringArray::from(vec![Some("unused"), None, Some("x"), Some("x")]);
    let tags = DictionaryArray::new(keys, Arc::new(values));
    let batch = RecordBatch::try_new(schema.arrow(), vec![times(vec![1, 2, 3, 4, 5]), Arc::new(tags)]).unwrap();
    let mut bytes = Vec::new();
    encode(&batch, Encoding::Packed, &mut bytes).unwrap();
    let back = decode(&bytes, &schema, 5, Encoding::Packed, &DecodeLimits::default()).unwrap();
    let tags = back.column(1).as_any().downcast_ref::<DictionaryArray<arrow_array::types::Int32Type>>().unwrap();
    let texts: Vec<_> = tags.downcast_dict::<StringArray>().unwrap().into_iter().collect();
    assert_eq!(texts, [Some("x"), None, None, Some("x"), Some("x")]);
    assert_eq!(tags.values().len(), 2, "the unused value is left out");
}

#[test]
fn interleaved_series_come_back_in_their_order_and_cost_less() {
    let schema = Schema::new(vec![Column::new("t", ColumnType::Tag), Column::new("v", ColumnType::F64)]).unwrap();
    let size = |interleaved: bool| {
        let series = |row: usize| if interleaved { row % 4 } else { 0 };
        let tags: DictionaryArray<arrow_array::types::Int32Type> =
            (0..2000).map(|row| Some(["a", "b", "c", "d"][series(row)])).collect();
        let wave = |row: usize| ((row / 4) as f64 / 50.0 + (row % 4) as f64 * 9.0).sin();
        let values: Float64Array = (0..2000).map(|row| Some((wave(row) * 1e4).round() / 10.0)).collect();
        let columns: Vec<ArrayRef> = vec![times((0..2000).collect()), Arc::new(tags), Arc::new(values)];
        let batch = RecordBatch::try_new(schema.arrow(), columns).unwrap();
        round_trip(&schema, &batch);
        let mut bytes = Vec::new();
        encode(&batch, Encoding::Packed, &mut bytes).unwrap();
        bytes.len()
    };
    assert!(size(true) * 3 < size(false) * 2, "{} against {}", size(true), size(false));
}

#[test]
fn a_batch_without_the_shape_of_a_log_is_refused_and_leaves_no_bytes() {
    let schema = arrow_schema::Schema::new(vec![arrow_schema::Field::new("v", arrow_schema::DataType::Float64, true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Float64Array::from(vec![1.0]))]).unwrap();
    for encoding in ENCODINGS {
        let mut bytes = vec![9];
        assert!(matches!(encode(&batch, encoding, &mut bytes), Err(EncodeError::Schema(_))));
        assert_eq!(bytes, [9]);
    }
}

#[test]
fn scratch_memory_hardly_grows_with_the_columns() {
    let wide = Schema::new((0..512).map(|i| Column::new(format!("c{i}"), ColumnType::F64)).collect()).unwrap();
    assert!(scratch_bytes(8192, &wide) < 2 << 20);
    assert!(scratch_bytes(8192, &Schema::empty()) > 1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_batch_comes_back_bit_for_bit(seed in any::<u64>(), rows in 0usize..160) {
        let (schema, batch) = random(seed, rows);
        round_trip(&schema, &batch);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_long_batch_comes_back_bit_for_bit(seed in any::<u64>(), rows in 1000usize..9000) {
        let (schema, batch) = random(seed, rows);
        round_trip(&schema, &batch);
    }
}

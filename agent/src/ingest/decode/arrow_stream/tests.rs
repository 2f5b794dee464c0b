use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::{Int32Type, UInt16Type};
use arrow_array::{
    BinaryViewArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray,
    ListArray, NullArray, StringArray, StringViewArray, TimestampMillisecondArray, UInt32Array,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use pyralog_segment::ColumnType;

use super::*;

fn stream(batches: &[RecordBatch], compressed: bool) -> Vec<u8> {
    let codec = compressed.then_some(CompressionType::ZSTD);
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn read(bytes: &[u8], options: StreamOptions) -> Result<Vec<Columns>, StreamError> {
    let mut stream = ArrowStream::new(Bytes::copy_from_slice(bytes), options);
    let mut all = Vec::new();
    // What these streams need is far below; a forged length that asks for more is refused.
    while let Some(columns) = stream.next_batch(77, &mut |need| match need {
        Need::Batch(bytes) | Need::Dictionary(bytes) => bytes < 1 << 20,
    })? {
        all.push(columns);
    }
    Ok(all)
}

fn sample() -> RecordBatch {
    let mut stations = StringDictionaryBuilder::<UInt16Type>::new();
    stations.extend([Some("north"), None, Some("south"), Some("north")]);
    let long = "a text longer than a view holds in place";
    RecordBatch::try_from_iter_with_nullable([
        ("time", Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef, true),
        ("station", Arc::new(stations.finish()), true),
        ("small", Arc::new(Int8Array::from(vec![Some(-1), None, Some(3), Some(4)])), true),
        ("count", Arc::new(UInt32Array::from(vec![1, 2, 3, u32::MAX])), true),
        ("temp", Arc::new(Float32Array::from(vec![Some(0.5), None, Some(f32::NAN), Some(-0.0)])), true),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None])), true),
        ("note", Arc::new(LargeStringArray::from(vec![Some("x"), None, Some(""), Some("é")])), true),
        ("view", Arc::new(StringViewArray::from(vec![Some(long), None, Some("b"), Some("c")])), true),
        ("raw", Arc::new(BinaryViewArray::from(vec![Some(&b"\xff"[..]), None, Some(b""), Some(b"z")])), true),
        ("day", Arc::new(Date32Array::from(vec![Some(1), None, Some(-1), Some(0)])), true),
        ("nothing", Arc::new(NullArray::new(4)), true),
    ])
    .unwrap()
}

#[test]
fn every_type_becomes_one_of_ours() {
    for compressed in [false, true] {
        let options = StreamOptions { tags: vec!["note".into()], ..StreamOptions::default() };
        let all = read(&stream(&[sample(), sample()], compressed), options).unwrap();
        assert_eq!(all.len(), 2);
        let Columns { times, columns } = &all[1];
        assert_eq!(times, &[1_000_000, 77, 3_000_000, 4_000_000]);
        let types: Vec<_> = columns
            .iter()
            .map(|(name, array)| (name.as_str(), ColumnType::from_arrow(array.data_type()).unwrap()))
            .collect();
        assert_eq!(
            types,
            [
                ("station", ColumnType::Tag),
                ("small", ColumnType::I64),
                ("count", ColumnType::U64),
                ("temp", ColumnType::F64),
                ("ok", ColumnType::Bool),
                ("note", ColumnType::Tag),
                ("view", ColumnType::Utf8),
                ("raw", ColumnType::Binary),
                ("day", ColumnType::I64),
            ]
        );
        let stations = columns[0].1.as_any().downcast_ref::<arrow_array::DictionaryArray<Int32Type>>().unwrap();
        let stations: Vec<_> = stations.downcast_dict::<StringArray>().unwrap().into_iter().collect();
        assert_eq!(stations, [Some("north"), None, Some("south"), Some("north")]);
        let temps = columns[3].1.as_any().downcast_ref::<Float64Array>().unwrap();
        assert_eq!(temps.value(3).to_bits(), (-0.0_f64).to_bits());
        assert!(temps.value(2).is_nan());
        let days = columns[8].1.as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(days.value(2), -86_400_000_000_000);
    }
}

#[test]
fn a_column_of_another_type_is_named() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)])]);
    let batch = RecordBatch::try_from_iter([("axes", Arc::new(list) as ArrayRef)]).unwrap();
    let error = read(&stream(&[batch], false), StreamOptions::default()).unwrap_err();
    assert!(matches!(&error, StreamError::Unsupported { column, .. } if column == "axes"), "{error}");

    let text = RecordBatch::try_from_iter([("time", Arc::new(StringArray::from(vec!["now"])) as ArrayRef)]).unwrap();
    assert!(matches!(read(&stream(&[text], false), StreamOptions::default()), Err(StreamError::Unsupported { .. })));

    let nulls = RecordBatch::try_from_iter([("n", Arc::new(NullArray::new(1)) as ArrayRef)]).unwrap();
    assert!(matches!(read(&stream(&[nulls], false), StreamOptions::default()), Err(StreamError::Invalid { .. })));
}

#[test]
fn times_out_of_range_are_an_error_and_integers_are_nanoseconds() {
    let batch = |array: ArrayRef| RecordBatch::try_from_iter([("time", array)]).unwrap();
    let far = batch(Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])));
    let error = read(&stream(&[far], false), StreamOptions::default()).unwrap_err();
    assert!(error.to_string().contains("1677"), "{error}");
    let plain = batch(Arc::new(Int64Array::from(vec![5])));
    assert_eq!(read(&stream(&[plain], false), StreamOptions::default()).unwrap()[0].times, [5]);
}

#[test]
fn a_stream_cut_at_any_byte_is_an_error_or_the_whole() {
    let bytes = stream(&[sample()], false);
    for end in 0..bytes.len() {
        match read(&bytes[..end], StreamOptions::default()) {
            // Without the end marker the stream still ends between two messages.
            Ok(all) => assert!(end == bytes.len() - 8 || all.is_empty(), "cut at {end}"),
            Err(StreamError::Truncated { .. } | StreamError::Invalid { .. }) => {}
            Err(other) => panic!("cut at {end}: {other}"),
        }
    }
}

#[test]
fn no_forged_byte_makes_the_reader_panic_or_take_memory() {
    for compressed in [false, true] {
        let bytes = stream(&[sample()], compressed);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut forged = bytes.clone();
                forged[at] ^= change;
                let _ = read(&forged, StreamOptions::default());
            }
        }
    }
}

#[test]
fn a_view_that_names_one_long_value_many_times_takes_no_more_than_was_asked_for() {
    let mut builder = arrow_array::builder::StringViewBuilder::new().with_deduplicate_strings();
    let long = "x".repeat(50_000);
    (0..1_000).for_each(|_| builder.append_value(&long));
    let batch = RecordBatch::try_from_iter([("s", Arc::new(builder.finish()) as ArrayRef)]).unwrap();
    let error = read(&stream(&[batch], false), StreamOptions::default()).unwrap_err();
    assert!(error.to_string().contains("dictionary"), "{error}");
}

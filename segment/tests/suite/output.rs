//! Records as NDJSON, CSV and Arrow streams.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt64Type};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use pyralog_segment::{Column, ColumnType, Format, OutputError, RecordsWriter, Schema};

use crate::batches::all_types;

fn written(format: Format, with_epoch: bool, union: &Schema, parts: &[(&RecordBatch, &Schema, u64)]) -> Vec<u8> {
    let mut writer = RecordsWriter::new(format, union, with_epoch);
    let mut out = Vec::new();
    writer.header(&mut out).unwrap();
    for (batch, schema, base) in parts {
        writer.batch(3, *base, batch, schema, 0..batch.num_rows(), &mut out).unwrap();
    }
    writer.finish(&mut out).unwrap();
    out
}

#[test]
fn ndjson_has_every_column_in_every_row() {
    let (schema, batch) = all_types();
    let out = String::from_utf8(written(Format::Ndjson, true, &schema, &[(&batch, &schema, 40)])).unwrap();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"epoch":3,"offset":40,"time":1700000000000000000,"room":"a","temp":20.5,"n":null,"up":18446744073709551615,"on":true,"note":"","raw":"AP8="}"#,
            r#"{"epoch":3,"offset":41,"time":1700000060000000000,"room":null,"temp":"NaN","n":-9223372036854775808,"up":null,"on":null,"note":"line\nend","raw":null}"#,
            r#"{"epoch":3,"offset":42,"time":1700000120000000000,"room":"b\"c,d","temp":null,"n":7,"up":0,"on":false,"note":null,"raw":""}"#,
        ]
    );
    for line in lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn csv_tells_null_from_the_empty_string() {
    let (schema, batch) = all_types();
    let out = String::from_utf8(written(Format::Csv, false, &schema, &[(&batch, &schema, 40)])).unwrap();
    assert_eq!(
        out,
        "offset,time,room,temp,n,up,on,note,raw\n\
         40,1700000000000000000,a,20.5,,18446744073709551615,true,\"\",AP8=\n\
         41,1700000060000000000,,NaN,-9223372036854775808,,,\"line\nend\",\n\
         42,1700000120000000000,\"b\"\"c,d\",,7,0,false,,\"\"\n"
    );
}

#[test]
fn rows_of_several_schemas_come_out_under_their_union() {
    let (schema, batch) = all_types();
    let narrow = Schema::new(vec![Column::new("temp", ColumnType::Utf8)]).unwrap();
    let texts = std::sync::Arc::new(StringArray::from(vec!["hot", "cold"]));
    let times = crate::batches::times(vec![1, 2]);
    let second = RecordBatch::try_new(narrow.arrow(), vec![times, texts]).unwrap();
    let union = schema.union(&narrow);
    let parts = [(&batch, &schema, 0), (&second, &narrow, 3)];
    let out = String::from_utf8(written(Format::Ndjson, false, &union, &parts)).unwrap();
    assert_eq!(
        out.lines().last(),
        Some(
            r#"{"offset":4,"time":2,"room":null,"temp":null,"n":null,"up":null,"on":null,"note":null,"raw":null,"temp__utf8":"cold"}"#
        )
    );

    let stream = written(Format::ArrowStream, true, &union, &parts);
    let batches: Vec<_> = StreamReader::try_new(&stream[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].schema().field(0).name(), "epoch");
    assert_eq!(batches[1].column(1).as_primitive::<UInt64Type>().values()[..], [3, 4]);
    assert_eq!(batches[0].column(3).as_dictionary::<Int32Type>().values().len(), 2);
    assert_eq!(batches[1].column(3).null_count(), 2);
}

#[test]
fn a_part_of_a_batch_keeps_its_offsets() {
    let (schema, batch) = all_types();
    let mut writer = RecordsWriter::new(Format::Csv, &Schema::empty().union(&schema), false);
    let mut out = Vec::new();
    writer.batch(0, 100, &batch, &schema, 2..3, &mut out).unwrap();
    assert!(out.starts_with(b"102,"), "{}", String::from_utf8_lossy(&out));
    writer.batch(0, 100, &batch, &schema, 2..2, &mut out).unwrap();
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    let beyond = writer.batch(0, 100, &batch, &schema, 2..4, &mut out);
    assert_eq!(beyond, Err(OutputError::Rows { rows: 3 }));
    assert_eq!(writer.batch(0, u64::MAX, &batch, &schema, 1..2, &mut out), Err(OutputError::Offset));
}

#[test]
fn a_column_outside_of_the_writers_schema_is_an_error() {
    let (schema, batch) = all_types();
    let mut writer = RecordsWriter::new(Format::Ndjson, &Schema::empty(), false);
    let result = writer.batch(0, 0, &batch, &schema, 0..1, &mut Vec::new());
    assert_eq!(result, Err(OutputError::NotCovered { name: "room".into() }));
}

#[test]
fn a_stream_without_records_is_a_valid_stream() {
    let (schema, _) = all_types();
    let out = written(Format::ArrowStream, false, &schema, &[]);
    assert_eq!(StreamReader::try_new(&out[..], None).unwrap().count(), 0);
    assert_eq!(written(Format::Ndjson, false, &schema, &[]), b"");
}

#[test]
fn formats_go_by_accept_header_and_by_name() {
    assert_eq!(Format::from_accept("application/vnd.apache.arrow.stream"), Some(Format::ArrowStream));
    assert_eq!(Format::from_accept("text/html, text/csv;q=0.9, */*"), Some(Format::Csv));
    assert_eq!(Format::from_accept("*/*"), Some(Format::Ndjson));
    assert_eq!(Format::from_accept(""), Some(Format::Ndjson));
    assert_eq!(Format::from_accept("image/png"), None);
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        assert_eq!(Format::from_accept(format.content_type()), Some(format));
    }
    assert!("xml".parse::<Format>().is_err());
}

//! What happens to records on their way in.

use super::*;
use pyralog_segment::ColumnType;

fn names(ring: &Ring, log: &str) -> Vec<String> {
    ring.log(log).unwrap().schema.columns().iter().map(|c| c.name.clone()).collect()
}

#[test]
fn records_get_dense_offsets_from_zero_in_each_log() {
    let ring = ring(1 << 20, |_| {});
    fill(&ring, "a", 100);
    fill(&ring, "b", 3);
    fill(&ring, "a", 30);
    let offsets: Vec<_> = read_all(&ring, "a", ReadRange::default()).iter().map(|row| row.0).collect();
    assert_eq!(offsets, (0..130).collect::<Vec<_>>());
    assert_eq!(ring.log("b").unwrap().head, 3);
    ring.check_invariants();
}

#[test]
fn a_record_without_a_time_gets_the_time_of_its_arrival() {
    let ring = ring(1 << 20, |_| {});
    let mut records = Records::new();
    records.begin("a", None);
    records.finish();
    ring.append(&records, at(7)).unwrap();
    assert_eq!(read_all(&ring, "a", ReadRange::default()), [(0, 7_000_000_000, vec![])]);
}

#[test]
fn a_new_field_widens_the_open_segment_and_earlier_rows_are_null() {
    let ring = ring(1 << 20, |_| {});
    ring.append(&record("a", 1, &[("x", Value::I64(1))]), at(0)).unwrap();
    ring.append(&record("a", 2, &[("s", Value::Tag("north"))]), at(0)).unwrap();
    ring.append(&record("a", 3, &[("ok", Value::Bool(true)), ("x", Value::I64(3))]), at(0)).unwrap();
    let expected = [
        (0, 1, vec![("x".to_owned(), render(Value::I64(1)))]),
        (1, 2, vec![("s".to_owned(), render(Value::Tag("north")))]),
        (2, 3, vec![("x".to_owned(), render(Value::I64(3))), ("ok".to_owned(), render(Value::Bool(true)))]),
    ];
    assert_eq!(read_all(&ring, "a", ReadRange::default()), expected);
    ring.seal_all(at(0));
    assert_eq!(read_all(&ring, "a", ReadRange::default()), expected);
    pack_all(&ring);
    assert_eq!(read_all(&ring, "a", ReadRange::default()), expected);
    assert_eq!(ring.log("a").unwrap().segments, 1, "one segment holds them all");
}

#[test]
fn of_a_name_that_comes_twice_the_later_value_wins() {
    let ring = ring(1 << 20, |_| {});
    let cells =
        [("x", Value::F64(1.0)), ("x", Value::Utf8("other type")), ("x", Value::F64(2.0)), ("t", Value::Tag("a"))];
    ring.append(&record("a", 1, &cells), at(0)).unwrap();
    ring.append(&record("a", 2, &[("t", Value::Tag("b")), ("t", Value::Tag("c"))]), at(0)).unwrap();
    let rows = read_all(&ring, "a", ReadRange::default());
    let cell = |name: &str, value| (name.to_owned(), render(value));
    assert_eq!(
        rows[0].2,
        [cell("x", Value::F64(2.0)), cell("x__utf8", Value::Utf8("other type")), cell("t", Value::Tag("a"))]
    );
    assert_eq!(rows[1].2, [cell("t", Value::Tag("c"))]);
}

#[test]
fn reserved_names_and_other_types_go_to_sibling_columns() {
    let ring = ring(1 << 20, |_| {});
    let cells = [("offset", Value::U64(1)), ("time", Value::Utf8("noon")), ("temp", Value::F64(1.0))];
    ring.append(&record("a", 1, &cells), at(0)).unwrap();
    ring.append(&record("a", 2, &[("temp", Value::Utf8("n/a")), ("epoch", Value::I64(2))]), at(0)).unwrap();
    assert_eq!(names(&ring, "a"), ["offset__u64", "time__utf8", "temp", "temp__utf8", "epoch__i64"]);
}

#[test]
fn cells_beyond_max_columns_are_kept_in_rejected_and_the_record_stays() {
    let ring = ring(1 << 20, |config| config.max_columns = 2);
    let cells = [("a", Value::F64(1.5)), ("b", Value::I64(2)), ("c", Value::Utf8("lost?")), ("d", Value::U64(4))];
    let done = ring.append(&record("wide", 9, &cells), at(0)).unwrap();
    assert_eq!(done, Appended { rows: 1, rejected: 0, rejected_cells: 2 });
    assert_eq!(names(&ring, "wide"), ["a", "b"]);
    let rejected = read_all(&ring, "_rejected", ReadRange::default());
    assert_eq!(rejected[0].2[0].1, render(Value::Utf8("wide")));
    assert_eq!(rejected[0].2[2].1, render(Value::Binary(br#"time=9 c="lost?" d=4u"#)));
    assert_eq!(ring.status().rejected, 1);
}

#[test]
fn logs_beyond_max_logs_and_bad_names_end_in_rejected() {
    let ring = ring(1 << 20, |config| config.max_logs = 2);
    let mut records = Records::new();
    for log in ["a", "b", "c", "", &"x".repeat(256), "a"] {
        records.begin(log, Some(1));
        records.push("x", Value::F64(1.0));
        records.finish();
    }
    let done = ring.append(&records, at(0)).unwrap();
    assert_eq!((done.rows, done.rejected), (3, 3));
    assert_eq!(ring.log("_rejected").unwrap().head, 3);
    assert!(ring.log("c").is_none());
    ring.check_invariants();
}

#[test]
fn a_record_larger_than_a_segment_is_rejected_and_not_refused_for_ever() {
    let ring = ring(1 << 20, |_| {});
    let huge = "x".repeat(100 << 10);
    let done = ring.append(&record("a", 1, &[("s", Value::Utf8(&huge))]), at(0)).unwrap();
    assert_eq!((done.rows, done.rejected), (0, 1));
    let texts = [huge.as_str(), "small"];
    let columns = [("s", ColumnSlice::Utf8(&texts))];
    let done = ring.append_columns("a", &ColumnBatch { times: &[1, 2], columns: &columns }, at(0)).unwrap();
    assert_eq!((done.rows, done.rejected), (1, 1));
    ring.check_invariants();
}

#[test]
fn columns_of_every_type_come_back_and_split_over_segments() {
    let ring = ring(4 << 20, |_| {});
    let n = 1_000;
    let times: Vec<i64> = (0..n).collect();
    let floats: Vec<f64> = times.iter().map(|t| *t as f64 / 3.0).collect();
    let unsigned: Vec<u64> = times.iter().map(|t| *t as u64).collect();
    let bools: Vec<bool> = times.iter().map(|t| t % 3 == 0).collect();
    let words: Vec<String> = times.iter().map(|t| format!("w{}", t % 17)).collect();
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    let bytes: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let nullable: arrow_array::ArrayRef =
        std::sync::Arc::new(arrow_array::Int64Array::from_iter(times.iter().map(|t| (t % 5 != 0).then_some(*t))));
    let columns = [
        ("f", ColumnSlice::F64(&floats)),
        ("u", ColumnSlice::U64(&unsigned)),
        ("b", ColumnSlice::Bool(&bools)),
        ("t", ColumnSlice::Tag(&texts)),
        ("s", ColumnSlice::Utf8(&texts)),
        ("y", ColumnSlice::Binary(&bytes)),
        ("i", ColumnSlice::I64(&times)),
        ("n", ColumnSlice::Array(&nullable)),
    ];
    fill(&ring, "a", 5);
    let batch = ColumnBatch { times: &times, columns: &columns };
    assert_eq!(ring.append_columns("a", &batch, at(0)).unwrap().rows, n as u64);
    fill(&ring, "a", 1);
    ring.check_invariants();
    let rows = read_all(&ring, "a", ReadRange::default());
    assert_eq!(rows.len(), 1_006);
    for (i, row) in rows[5..1_005].iter().enumerate() {
        assert_eq!(row.1, times[i]);
        let cells: Vec<_> = row.2.iter().map(|(_, cell)| cell.clone()).collect();
        let mut expected = vec![
            render(Value::F64(floats[i])),
            render(Value::U64(unsigned[i])),
            render(Value::Bool(bools[i])),
            render(Value::Tag(texts[i])),
            render(Value::Utf8(texts[i])),
            render(Value::Binary(bytes[i])),
            render(Value::I64(times[i])),
        ];
        if i % 5 != 0 {
            expected.push(render(Value::I64(times[i])));
        }
        assert_eq!(cells, expected);
    }
    pack_all(&ring);
    assert_eq!(read_all(&ring, "a", ReadRange::default()), rows);
}

#[test]
fn a_batch_whose_columns_differ_in_length_is_refused_whole() {
    let ring = ring(1 << 20, |_| {});
    let columns = [("x", ColumnSlice::F64(&[1.0]))];
    let error = ring.append_columns("a", &ColumnBatch { times: &[1, 2], columns: &columns }, at(0)).unwrap_err();
    assert_eq!(error, AppendError::Shape { column: 0 });
    assert!(ring.log("a").is_none());
}

#[test]
fn a_writer_counts_a_record_when_the_ring_has_it() {
    let ring = ring(1 << 20, |_| {});
    let mut writer = ring.writer("a", &[("x", ColumnType::F64), ("ok", ColumnType::Bool)]).unwrap();
    for i in 0..1_000 {
        writer.push(i, &[Value::F64(i as f64), Value::Bool(true)], at(0)).unwrap();
    }
    let before = ring.log("a").unwrap().head;
    assert!(before < 1_000);
    assert_eq!(writer.push(0, &[Value::F64(0.0), Value::I64(1)], at(0)), Err(WriterError::Row { column: 1 }));
    assert_eq!(writer.push(0, &[Value::F64(0.0)], at(0)), Err(WriterError::Row { column: 1 }));
    writer.flush(at(0)).unwrap();
    assert_eq!(ring.log("a").unwrap().head, 1_000);
    writer.push(1_000, &[Value::F64(0.0), Value::Bool(false)], at(0)).unwrap();
    drop(writer);
    assert_eq!(ring.log("a").unwrap().head, 1_001);
    assert!(ring.writer("a", &[("s", ColumnType::Utf8)]).is_err());
}

#[test]
fn segments_are_sealed_by_rows_by_bytes_and_by_age() {
    let ring = ring(1 << 20, |config| config.segment_rows = 100_000);
    ring.append(&record("a", 1, &[("x", Value::F64(1.0))]), at(10)).unwrap();
    ring.seal_due(at(609));
    assert_eq!(ring.log("a").unwrap().segments, 0);
    ring.seal_due(at(610));
    assert_eq!(ring.log("a").unwrap().segments, 1);
    let text = "x".repeat(1_000);
    for i in 0..200 {
        ring.append(&record("b", i, &[("s", Value::Utf8(&text))]), at(0)).unwrap();
    }
    assert_eq!(ring.log("b").unwrap().segments, 3, "64 KiB each");
    let small = super::ring(1 << 20, |_| {});
    fill(&small, "c", 128);
    assert_eq!(small.log("c").unwrap().segments, 2);
}

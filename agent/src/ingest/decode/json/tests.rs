use super::*;

/// Time, and name and value of each field as text.
type Row = (Option<i64>, Vec<String>);

fn rows(text: &str, options: &JsonOptions) -> Result<Vec<Row>, DecodeError> {
    let mut records = Records::new();
    let mut scratch = Scratch::default();
    let target = Target { log: Some("log"), tags: &[("line", "a")] };
    decode(text.as_bytes(), options, target, &mut records, &mut scratch)?;
    Ok(records
        .iter()
        .map(|r| {
            assert_eq!(r.log(), "log");
            let values: Vec<_> = r.values().map(|(name, value)| format!("{name} {value:?}")).collect();
            assert_eq!(values[0], "line Tag(\"a\")");
            (r.time(), values[1..].to_vec())
        })
        .collect())
}

fn plain(text: &str) -> Result<Vec<Row>, DecodeError> {
    rows(text, &JsonOptions::default())
}

#[test]
fn nested_values_flatten_and_nulls_are_absent() {
    let text =
        r#" {"a": 1, "b": {"c": true, "d": {"e": "x\ny"}}, "v": [1.5, null, {"w": -2}], "n": null, "o": {}, "p": []} "#;
    let expected = ["a F64(1.0)", "b.c Bool(true)", "b.d.e Utf8(\"x\\ny\")", "v.0 F64(1.5)", "v.2.w F64(-2.0)"];
    assert_eq!(plain(text), Ok(vec![(None, expected.map(str::to_owned).to_vec())]));
}

#[test]
fn every_float_is_the_nearest_one() {
    // Values that a parser without exact rounding gets wrong by one bit.
    for text in ["0.1", "1.7976931348623157e308", "5e-324", "-0.0", "9007199254740993", "123456789.12345678901234"] {
        let row = plain(&format!("{{\"f\":{text}}}")).unwrap();
        assert_eq!(row[0].1, [format!("f {:?}", Value::F64(text.parse().unwrap()))], "{text}");
    }
    assert!(plain(r#"{"f":1e999}"#).is_err());
}

#[test]
fn an_array_makes_a_record_of_each_object() {
    let all = plain(r#"[{"a":1,"time":1},{"b":2},{}]"#).unwrap();
    assert_eq!(all.iter().map(|row| row.0).collect::<Vec<_>>(), [Some(1), None, None]);
    assert_eq!(plain("[]"), Ok(vec![]));
}

#[test]
fn a_key_in_tags_makes_a_tag_of_any_scalar() {
    let options = JsonOptions { tags: vec!["station".into(), "at.id".into(), "big".into()], ..JsonOptions::default() };
    let row = rows(r#"{"station":"n\u00e9","at":{"id":7},"big":1.5,"room":"x"}"#, &options).unwrap();
    assert_eq!(row[0].1, ["station Tag(\"né\")", "at.id Tag(\"7\")", "big Tag(\"1.5\")", "room Utf8(\"x\")"]);
}

#[test]
fn the_time_comes_from_its_key_in_its_unit() {
    let options = JsonOptions {
        time_key: "meta.ts".into(),
        time_unit: TimeUnit::Unix(Precision::Milliseconds),
        tags: Vec::new(),
    };
    for (text, time) in [
        (r#"{"meta":{"ts":1500}}"#, Some(1_500_000_000)),
        (r#"{"meta":{"ts":1.5}}"#, Some(1_500_000)),
        (r#"{"meta":{"ts":"1970-01-01T00:00:02Z"}}"#, Some(2_000_000_000)),
        (r#"{"meta":{"ts":-1}}"#, Some(-1_000_000)),
        (r#"{"meta":{"ts":null}}"#, None),
        (r"{}", None),
    ] {
        assert_eq!(rows(text, &options), Ok(vec![(time, vec![])]), "{text}");
    }
    for text in [r#"{"meta":{"ts":true}}"#, r#"{"meta":{"ts":"soon"}}"#, r#"{"meta":{"ts":9223372036854775807}}"#] {
        let error = rows(text, &options).unwrap_err();
        assert!(error.message.contains("meta.ts"), "{error}");
    }
}

#[test]
fn an_error_names_line_and_column() {
    for (text, line, column) in [
        ("{\"a\":1\n,}", 2, 2),
        ("{\"a\" 1}", 1, 6),
        ("[1]", 1, 2),
        ("7", 1, 1),
        ("", 1, 1),
        ("{} {}", 1, 4),
        ("{\"\":1}", 1, 5),
        ("{\"a\":\"\u{1}\"}", 1, 7),
    ] {
        let error = plain(text).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        assert!(!error.message.contains("at line"), "{error}");
    }
}

#[test]
fn depth_and_names_are_bounded() {
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(plain(&deep(MAX_DEPTH as usize)).is_ok());
    assert!(plain(&deep(MAX_DEPTH as usize + 2)).unwrap_err().message.contains("deeper"));
    assert!(plain(&"[".repeat(100_000)).is_err());
    assert!(plain(&format!("{{\"{}\":1}}", "k".repeat(256))).unwrap_err().message.contains("limit"));
}

#[test]
fn a_long_key_over_many_members_cannot_multiply_the_memory() {
    let members: Vec<_> = (0..2_000).map(|n| format!("\"{n}\":1")).collect();
    let text = format!("{{\"{}\":{{{}}}}}", "k".repeat(250), members.join(","));
    assert!(plain(&text).unwrap_err().message.contains("memory"));
    assert!(plain(&format!("{{\"vibration\":[{}1]}}", "1,".repeat(2_000))).is_err());
    assert!(plain(&format!("{{\"vibration\":[{}1]}}", "0.25,".repeat(2_000))).is_ok());
}

#[test]
fn the_records_before_a_fault_are_flushed() {
    let mut records = Records::new();
    let mut flushed = 0;
    let mut flush = |records: &mut Records| {
        flushed += records.len();
        records.clear();
        true
    };
    let text = br#"[{"a":1},{"a":2},{"a":}]"#;
    let error = decode_each(
        text,
        &JsonOptions::default(),
        Target::default(),
        &mut records,
        &mut Scratch::default(),
        1_000,
        &mut flush,
    );
    assert_eq!(error.map_err(|e| e.column), Err(23));
    assert_eq!((flushed, records.len()), (2, 0));
}

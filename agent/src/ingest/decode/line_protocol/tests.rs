use super::*;

type Row = (String, Option<i64>, Vec<(String, String)>);

fn rows(records: &Records) -> Vec<Row> {
    records
        .iter()
        .map(|r| {
            let values = r.values().map(|(name, value)| (name.to_owned(), format!("{value:?}"))).collect();
            (r.log().to_owned(), r.time(), values)
        })
        .collect()
}

fn streamed(input: &[u8], step: usize) -> (Vec<Row>, Vec<DecodeError>) {
    let mut decoder = LineProtocol::with_max_line(Precision::Nanoseconds, 200);
    let mut records = Records::new();
    let mut errors = Vec::new();
    let mut bad = |error: DecodeError, _: &[u8]| errors.push(error);
    for chunk in input.chunks(step.max(1)) {
        decoder.feed(chunk, Target::default(), &mut records, &mut bad);
    }
    decoder.finish(Target::default(), &mut records, &mut bad);
    (rows(&records), errors)
}

fn one(line: &str) -> Result<Row, (u64, u64, String)> {
    let (rows, errors) = streamed(line.as_bytes(), line.len());
    match (rows.into_iter().next(), errors.into_iter().next()) {
        (Some(row), None) => Ok(row),
        (_, Some(error)) => Err((error.line, error.column, error.message.into_owned())),
        (None, None) => Err((0, 0, "nothing".to_owned())),
    }
}

fn value(text: &str) -> Result<String, String> {
    one(&format!("m f={text}")).map(|(_, _, values)| values[0].1.clone()).map_err(|(_, column, message)| {
        assert_eq!(column, 5, "{message}");
        message
    })
}

#[test]
fn a_line_gives_its_measurement_tags_fields_and_time() {
    let (log, time, values) =
        one("climate,station=north,room=a\\ b temp=21.5,ok=t,n=3i,u=4u,s=\"x, y\" 1700000000").unwrap();
    assert_eq!((log.as_str(), time), ("climate", Some(1_700_000_000)));
    let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(
        values,
        [
            "station Tag(\"north\")",
            "room Tag(\"a b\")",
            "temp F64(21.5)",
            "ok Bool(true)",
            "n I64(3)",
            "u U64(4)",
            "s Utf8(\"x, y\")"
        ]
    );
}

#[test]
fn every_kind_of_value_is_read_as_it_is_written() {
    for (text, expected) in [
        ("1", "F64(1.0)"),
        ("-0", "F64(-0.0)"),
        ("1.", "F64(1.0)"),
        (".5", "F64(0.5)"),
        ("1e-3", "F64(0.001)"),
        ("NaN", "F64(NaN)"),
        ("-inf", "F64(-inf)"),
        ("+Infinity", "F64(inf)"),
        ("-9223372036854775808i", "I64(-9223372036854775808)"),
        ("18446744073709551615u", "U64(18446744073709551615)"),
        ("T", "Bool(true)"),
        ("FALSE", "Bool(false)"),
        ("\"\"", "Utf8(\"\")"),
        (r#""a\"b\\c\d""#, r#"Utf8("a\"b\\c\\d")"#),
        ("\"two\nlines\"", "Utf8(\"two\\nlines\")"),
    ] {
        assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
    }
    for text in ["", "abc", "1x", "1.5i", "-1u", "9223372036854775808i", "1e999", "TrUe", "0x10", "'a'"] {
        assert!(value(text).is_err(), "{text}");
    }
}

#[test]
fn escapes_belong_to_the_delimiter_behind_the_backslash() {
    let (log, _, values) = one(r"a\,b\ c\x,t\=\,=v\ \=\, f\ \=\,=1,back\\x=2").unwrap();
    assert_eq!(log, r"a,b c\x");
    let names: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(names, [("t=,", r#"Tag("v =,")"#), ("f =,", "F64(1.0)"), (r"back\\x", "F64(2.0)")]);
}

#[test]
fn an_error_names_line_column_and_what_was_expected() {
    for (line, column, word) in [
        (",a=b f=1", 1, "measurement"),
        ("m", 2, "field"),
        ("m ", 3, "field"),
        ("m, f=1", 3, "tag name"),
        ("m,a f=1", 4, "\"=\""),
        ("m,a= f=1", 5, "tag value"),
        ("m,a=b=c f=1", 6, "\\="),
        ("m,a=1,a=2 f=1", 7, "twice"),
        ("m f", 4, "\"=\""),
        ("m f=", 5, "field value"),
        ("m f=1,", 7, "field"),
        ("m é=1,f=x", 9, "number"),
        ("m f=\"a\"b", 8, "\",\""),
        ("m f=\"a", 5, "closed"),
        ("m f=1 yesterday", 7, "integer"),
        ("m f=1 12 13", 7, "nothing after"),
        ("m f=1 99999999999999999999", 7, "integer"),
    ] {
        let (_, at, message) = one(line).unwrap_err();
        assert_eq!(at, column, "{line}: {message}");
        assert!(message.contains(word), "{line}: {message}");
    }
}

#[test]
fn bad_lines_leave_the_good_ones_alone_at_any_split() {
    let mut input =
        b"# comment \"\nm f=1 1\r\nm f=oops\n\n  m f=\"a\nb\",g=\"\\\"\" 2\nm f=\"open\nm f=3 3\nm g=\xff\n".to_vec();
    input.extend_from_slice(&[b'x'; 300]);
    input.extend_from_slice(b"\nm,t=\xc3\xa9 f=4 4");
    let whole = streamed(&input, input.len());
    assert_eq!(whole.0.iter().map(|row| row.1).collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(4)]);
    let places: Vec<_> = whole.1.iter().map(|error| (error.line, error.column)).collect();
    assert_eq!(places, [(3, 5), (7, 1), (9, 5), (10, 1)]);
    for step in 1..input.len() {
        assert_eq!(streamed(&input, step), whole, "chunks of {step}");
    }
}

#[test]
fn times_scale_by_precision_and_overflow_is_named() {
    let mut records = Records::new();
    let mut scratch = Scratch::default();
    let target = Target { log: Some("other"), tags: &[("topic", "a/b")] };
    decode(b"m f=1 2", Precision::Seconds, target, &mut records, &mut scratch).unwrap();
    let row = &rows(&records)[0];
    assert_eq!((row.0.as_str(), row.1), ("other", Some(2_000_000_000)));
    assert_eq!(row.2[..2], [("topic".into(), "Tag(\"a/b\")".into()), ("measurement".into(), "Tag(\"m\")".into())]);
    let error = decode(b"m f=1 9223372036854775807", Precision::Seconds, target, &mut records, &mut scratch);
    assert_eq!(error.map_err(|e| e.column), Err(7));
}

#[test]
fn the_number_of_tags_and_the_length_of_names_are_bounded() {
    let tags: String = (0..=MAX_TAGS).map(|n| format!(",t{n}=x")).collect();
    let mut records = Records::new();
    let mut scratch = Scratch::default();
    for line in [format!("m{tags} f=1"), format!("m {}=1", "n".repeat(256)), format!("{} f=1", "m".repeat(256))] {
        assert!(decode(line.as_bytes(), Precision::Seconds, Target::default(), &mut records, &mut scratch).is_err());
        assert!(records.is_empty());
    }
}

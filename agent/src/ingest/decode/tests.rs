//! What holds for all decoders.

use proptest::prelude::*;

use super::json::JsonOptions;
use super::line_protocol::LineProtocol;
use super::ndjson::Ndjson;
use super::time::Precision;
use super::*;

/// A record as the tests generate it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    log: String,
    time: Option<i64>,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Field)>,
}

#[derive(Debug, Clone)]
enum Field {
    F64(f64),
    I64(i64),
    U64(u64),
    Bool(bool),
    Utf8(String),
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::U64(a), Self::U64(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Utf8(a), Self::Utf8(b)) => a == b,
            _ => false,
        }
    }
}

fn rows(records: &Records) -> Vec<Row> {
    records
        .iter()
        .map(|record| {
            let mut row = Row { log: record.log().into(), time: record.time(), tags: Vec::new(), fields: Vec::new() };
            for (name, value) in record.values() {
                let field = match value {
                    Value::Tag(text) => {
                        row.tags.push((name.into(), text.into()));
                        continue;
                    }
                    Value::F64(v) => Field::F64(v),
                    Value::I64(v) => Field::I64(v),
                    Value::U64(v) => Field::U64(v),
                    Value::Bool(v) => Field::Bool(v),
                    Value::Utf8(v) => Field::Utf8(v.into()),
                    Value::Binary(_) => continue,
                };
                row.fields.push((name.into(), field));
            }
            row
        })
        .collect()
}

fn escaped(text: &str, special: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn as_line(row: &Row) -> String {
    let mut line = escaped(&row.log, ", ");
    for (name, value) in &row.tags {
        line += &format!(",{}={}", escaped(name, ",= "), escaped(value, ",= "));
    }
    for (n, (name, field)) in row.fields.iter().enumerate() {
        line.push(if n == 0 { ' ' } else { ',' });
        line += &escaped(name, ",= ");
        line += &match field {
            Field::F64(v) => format!("={v:?}"),
            Field::I64(v) => format!("={v}i"),
            Field::U64(v) => format!("={v}u"),
            Field::Bool(v) => format!("={v}"),
            Field::Utf8(v) => format!("=\"{}\"", escaped(v, "\"\\")),
        };
    }
    row.time.map_or(line.clone(), |time| format!("{line} {time}"))
}

fn as_json(row: &Row) -> String {
    let mut members: Vec<String> = row.time.iter().map(|time| format!("\"time\":{time}")).collect();
    for (name, value) in &row.tags {
        members.push(format!("{}:{}", serde_json::json!(name), serde_json::json!(value)));
    }
    for (name, field) in &row.fields {
        let value = match field {
            Field::F64(v) => format!("{v:?}"),
            Field::I64(v) => v.to_string(),
            Field::U64(v) => v.to_string(),
            Field::Bool(v) => v.to_string(),
            Field::Utf8(v) => serde_json::json!(v).to_string(),
        };
        members.push(format!("{}:{value}", serde_json::json!(name)));
    }
    format!("{{{}}}", members.join(","))
}

/// Names that line protocol can carry: no line breaks, no backslash at the end, no `#` or blank in front.
fn name() -> impl Strategy<Value = String> {
    "[a-zé\"_][a-z0-9 ,=\"#\\\\é€]{0,10}[a-z]"
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        any::<f64>().prop_map(Field::F64),
        Just(Field::F64(f64::NAN)),
        any::<i64>().prop_map(Field::I64),
        any::<u64>().prop_map(Field::U64),
        any::<bool>().prop_map(Field::Bool),
        "[a-z\"\\\\\n\r ,=é]{0,12}".prop_map(Field::Utf8),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let tags = prop::collection::btree_map(name(), name(), 0..4);
    let fields = prop::collection::btree_map(name(), field(), 1..6);
    (name(), any::<Option<i64>>(), tags, fields).prop_map(|(log, time, tags, fields)| Row {
        log,
        time,
        tags: tags.into_iter().map(|(name, value)| (format!("t{name}"), value)).collect(),
        fields: fields.into_iter().map(|(name, value)| (format!("f{name}"), value)).collect(),
    })
}

proptest! {
    #[test]
    fn line_protocol_gives_back_what_was_written(all in prop::collection::vec(row(), 1..8), step in 1..200_usize) {
        let text: String = all.iter().map(|row| as_line(row) + "\n").collect();
        let mut decoder = LineProtocol::new(Precision::Nanoseconds);
        let mut records = Records::new();
        let mut bad = |error: DecodeError, line: &[u8]| panic!("{error}: {}", String::from_utf8_lossy(line));
        for chunk in text.as_bytes().chunks(step) {
            decoder.feed(chunk, Target::default(), &mut records, &mut bad);
        }
        decoder.finish(Target::default(), &mut records, &mut bad);
        prop_assert_eq!(rows(&records), all);
    }

    #[test]
    fn json_gives_back_what_was_written_with_numbers_as_floats(mut all in prop::collection::vec(row(), 1..8)) {
        let mut records = Records::new();
        let mut scratch = Scratch::default();
        for row in &mut all {
            row.fields.retain(|(_, field)| !matches!(field, Field::F64(v) if !v.is_finite()));
            let options = JsonOptions { tags: row.tags.iter().map(|tag| tag.0.clone()).collect(), ..Default::default() };
            let target = Target { log: Some(&row.log), tags: &[] };
            json::decode(as_json(row).as_bytes(), &options, target, &mut records, &mut scratch).unwrap();
            for (_, field) in &mut row.fields {
                match *field {
                    Field::I64(v) => *field = Field::F64(v as f64),
                    Field::U64(v) => *field = Field::F64(v as f64),
                    _ => {}
                }
            }
        }
        prop_assert_eq!(rows(&records), all);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1..50_usize) {
        survives(&bytes, step);
    }

    #[test]
    fn nothing_like_the_real_thing_makes_a_decoder_panic(
        text in "([a-z,= \"\\\\\n\r#{}\\[\\]:.0-9iu-]|é){0,200}", step in 1..50_usize
    ) {
        survives(text.as_bytes(), step);
    }
}

fn survives(bytes: &[u8], step: usize) {
    let mut records = Records::new();
    let mut scratch = Scratch::default();
    let options = JsonOptions::default();
    for format in [Format::Json, Format::LineProtocol, Format::Number, Format::Text, Format::Raw] {
        let _ = decode(format, bytes, &options, Target::default(), &mut records, &mut scratch);
        records.clear();
    }
    decode(Format::Auto, bytes, &options, Target::default(), &mut records, &mut scratch).unwrap();
    records.clear();

    let mut errors = Vec::new();
    let mut bad = |error: DecodeError, _: &[u8]| errors.push(error);
    let mut lines = LineProtocol::with_max_line(Precision::Nanoseconds, 64);
    let mut whole = LineProtocol::with_max_line(Precision::Nanoseconds, 64);
    let mut ndjson = Ndjson::new(options);
    for chunk in bytes.chunks(step) {
        lines.feed(chunk, Target::default(), &mut records, &mut bad);
        ndjson.feed(chunk, Target::default(), &mut Records::new(), &mut |_: DecodeError, _: &[u8]| {});
    }
    lines.finish(Target::default(), &mut records, &mut bad);
    let split = (rows(&records), std::mem::take(&mut errors));
    records.clear();
    let mut bad = |error: DecodeError, _: &[u8]| errors.push(error);
    whole.feed(bytes, Target::default(), &mut records, &mut bad);
    whole.finish(Target::default(), &mut records, &mut bad);
    assert_eq!((rows(&records), errors), split, "the split changed the result");
}

#[test]
fn auto_takes_the_first_format_that_fits() {
    for (payload, log, expected) in [
        (&b"{\"a\":1}"[..], "mqtt", "a F64(1.0)"),
        (b" 21.5\n", "mqtt", "value F64(21.5)"),
        (b"m f=1i", "m", "f I64(1)"),
        (b"on", "mqtt", "value Utf8(\"on\")"),
        (b"{broken", "mqtt", "value Utf8(\"{broken\")"),
        (b"a = b", "mqtt", "value Utf8(\"a = b\")"),
        (b"\xff\x00", "mqtt", "value Binary([255, 0])"),
        (b"", "mqtt", "value Utf8(\"\")"),
    ] {
        let mut records = Records::new();
        let target = Target { log: None, tags: &[("topic", "x")] };
        let options = JsonOptions::default();
        decode(Format::Auto, payload, &options, target, &mut records, &mut Scratch::default()).unwrap();
        let all: Vec<_> = records.iter().collect();
        assert_eq!(all.len(), 1, "{payload:?}");
        let values: Vec<_> = all[0].values().map(|(name, value)| format!("{name} {value:?}")).collect();
        assert_eq!((all[0].log(), values), (log, vec!["topic Tag(\"x\")".to_owned(), expected.to_owned()]));
    }
}

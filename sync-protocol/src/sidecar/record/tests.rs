use super::*;
use alloc::string::String;
use alloc::vec::Vec as Bytes;
use proptest::prelude::*;

const ALL: [(&str, Value<'_>); 8] = [
    ("room", Value::Tag("4b")),
    ("temp", Value::F64(-0.0)),
    ("delta", Value::I64(i64::MIN)),
    ("count", Value::U64(u64::MAX)),
    ("ok", Value::Bool(true)),
    ("alarm", Value::Bool(false)),
    ("note", Value::Utf8("")),
    ("raw", Value::Binary(&[0, 0xff, 0])),
];

fn record(log: &str, time: Time, values: &[(&str, Value<'_>)]) -> RecordBuf {
    let mut record = RecordBuf::new(log, time);
    values.iter().for_each(|(name, value)| {
        record.with(name, *value);
    });
    record
}

#[test]
fn a_record_of_every_type_comes_back() {
    for time in [Time::Arrival, Time::Unix(i64::MIN), Time::Unix(1_790_000_000_000_000_000), Time::SinceBoot(u64::MAX)]
    {
        let record = record("climate", time, &ALL);
        let view = RecordView::read(record.bytes().unwrap()).unwrap();
        assert_eq!((view.log, view.time), ("climate", time));
        assert_eq!(view.values().collect::<Result<Bytes<_>, _>>().unwrap(), ALL);
    }
}

#[test]
fn the_bytes_of_a_record_are_these() {
    let record =
        record("c", Time::SinceBoot(300), &[("a", Value::I64(-1)), ("b", Value::Tag("x")), ("d", Value::Bool(true))]);
    assert_eq!(record.bytes().unwrap(), b"\x01c\x02\xac\x02\x03\x01a\x01\x01\x01b\x01x\x09\x01d");
}

#[test]
fn a_record_cut_anywhere_is_cut_at_a_value_or_an_error() {
    let record = record("climate", Time::SinceBoot(300), &ALL);
    let whole = record.bytes().unwrap();
    let mut good = 0;
    for cut in 0..whole.len() {
        let read = RecordView::read(&whole[..cut]).and_then(|view| view.values().collect::<Result<Bytes<_>, _>>());
        if let Ok(values) = read {
            assert_eq!(values, ALL[..values.len()]);
            good += 1;
        }
    }
    // A record has no end mark: its frame has the length and the checksum.
    assert_eq!(good, ALL.len());
}

#[test]
fn what_does_not_fit_is_told_and_not_cut() {
    let mut long = RecordBuf::new("climate", Time::Arrival);
    long.with("a", Value::Binary(&[1; 200]));
    assert!(long.bytes().is_ok());
    long.with("b", Value::Binary(&[1; 30]));
    assert_eq!(long.bytes(), Err(TooLong));
    long.with("c", Value::Bool(true));
    assert_eq!(long.bytes(), Err(TooLong), "what came after does not heal it");
    let name = "x".repeat(65);
    assert!(RecordBuf::new(&name[1..], Time::Arrival).bytes().is_ok());
    assert!(RecordBuf::new(&name, Time::Arrival).bytes().is_err());
    assert!(RecordBuf::new("", Time::Arrival).bytes().is_err());
    assert!(RecordBuf::new("a", Time::Arrival).with(&name, Value::Bool(true)).bytes().is_err());
}

proptest! {
    #[test]
    fn values_of_any_kind_come_back(
        log in "[a-z]{1,12}", at: i64, float: u64, signed: i64, unsigned: u64, flag: bool,
        text in "[a-zä-ü]{0,30}", bytes in proptest::collection::vec(0_u8.., 0..40),
    ) {
        let float = f64::from_bits(float);
        let values = [
            ("f", Value::F64(float)), ("i", Value::I64(signed)), ("u", Value::U64(unsigned)), ("b", Value::Bool(flag)),
            ("t", Value::Tag(&text)), ("s", Value::Utf8(&text)), ("x", Value::Binary(&bytes)),
        ];
        let record = record(&log, Time::Unix(at), &values);
        let view = RecordView::read(record.bytes().unwrap()).unwrap();
        prop_assert_eq!((view.log, view.time), (&log[..], Time::Unix(at)));
        let back: Bytes<_> = view.values().collect::<Result<_, _>>().unwrap();
        // Debug shows NaN alike, and the float is compared by its bits.
        let shown = |values: &[(&str, Value<'_>)]| -> String { alloc::format!("{values:?}") };
        prop_assert_eq!(shown(&back), shown(&values));
        let Value::F64(back) = back[0].1 else { panic!("a float") };
        prop_assert_eq!(back.to_bits(), float.to_bits());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(0_u8.., 0..80)) {
        if let Ok(view) = RecordView::read(&bytes) {
            let values = view.values().count();
            prop_assert!(values <= bytes.len());
        }
    }
}

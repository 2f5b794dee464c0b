//! Bytes that are stored somewhere must stay readable: a change here needs a new layout number.

use std::fmt::Write;

use pyralog_segment::{DecodeLimits, Encoding, decode, encode};

use crate::batches::all_types;

const PACKED: &str = "511590800000616222632c640004a8d401f40f1141404dfa030000000000a4017e000000000000873fa04cffffffffffffffffff3ffeffffffffffff\
    0fa8421060b56a082800006c696e650a656e64553420040000ff";

#[test]
fn packed_bytes_never_change() {
    let (schema, batch) = all_types();
    let mut bytes = Vec::new();
    encode(&batch, Encoding::Packed, &mut bytes).unwrap();
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    assert_eq!(hex, PACKED);
    assert_eq!(decode(&bytes, &schema, 3, Encoding::Packed, &DecodeLimits::default()).unwrap(), batch);
}

//! Packed segments: any bytes decode to a batch or an error, within the memory given; a batch survives another round.

use pyralog_segment::{Column, ColumnType, DecodeLimits, Encoding, Schema, decode, encode};

use crate::bytes_in::Input;

/// Above what any input of ours needs; what the fuzzer's own cap on allocations is set against.
const LIMITS: DecodeLimits = DecodeLimits { max_bytes: 8 << 20 };

/// Encoding, number of rows, types of the columns, then the body. Or, after the byte 7, an encoded schema.
pub fn segment_decode(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    if choice == 7 {
        if let Ok(schema) = Schema::from_bytes(input.0) {
            assert_eq!(Schema::from_bytes(&schema.to_bytes()).as_ref(), Ok(&schema));
        }
        return;
    }
    let encoding = if choice % 2 == 0 { Encoding::Packed } else { Encoding::ArrowZstd };
    let rows = usize::from(input.byte()) << (choice % 8);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let types = input.piece().iter().map(|code| ColumnType::ALL[usize::from(code % 7)]);
    let columns = names.iter().zip(types).map(|(name, ty)| Column::new(*name, ty)).collect();
    let schema = Schema::new(columns).unwrap();
    let Ok(batch) = decode(input.0, &schema, rows, encoding, &LIMITS) else { return };
    assert_eq!(batch.num_rows(), rows);
    assert_eq!(batch.schema(), schema.arrow());
    assert!(batch.get_array_memory_size() <= 2 * LIMITS.max_bytes, "a batch over the limit");
    for encoding in [Encoding::Packed, Encoding::ArrowZstd] {
        let mut bytes = Vec::new();
        match encode(&batch, encoding, &mut bytes) {
            Ok(()) => {
                let limits = DecodeLimits { max_bytes: 64 << 20 };
                let again = decode(&bytes, &schema, rows, encoding, &limits).unwrap();
                assert_eq!(again, batch, "{encoding}: another batch came back");
            }
            Err(error) => assert!(bytes.is_empty(), "{error}"),
        }
    }
}

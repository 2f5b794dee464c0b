//! The records that are sent: all of each follows from its number and that of its sending, so that it can be told what should come
//! back.

use std::ops::Range;

use crate::dataset::{Cell, Dataset, Kind, Row};
use crate::generate::Random;

/// Time of record 0, Unix nanoseconds.
const BEGIN: i64 = 1_700_000_000_000_000_000;

/// Characters of a fat record's padding.
const PADDING: usize = 1_500;

/// Characters that need no escape in any format.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Where a row has the number of its sending.
pub const SENDING: &str = "sending";

/// Records with these numbers, in sendings from `sending` on; fat ones carry padding that does not pack well.
pub fn records(range: Range<u64>, sending: u64, fat: bool) -> Dataset {
    let columns = [
        ("unit", Kind::Tag),
        ("seq", Kind::F64),
        (SENDING, Kind::F64),
        ("v", Kind::F64),
        ("rare", Kind::F64),
        ("pad", Kind::Text),
    ];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
    Dataset { columns, rows: range.zip(sending..).map(|(seq, sending)| row(seq, sending, fat)).collect() }
}

fn row(seq: u64, sending: u64, fat: bool) -> Row {
    let mut random = Random::new(seq ^ 0x9e37_79b9_7f4a_7c15);
    random.below(2);
    let value = (random.below(1 << 53) as f64 - 4e15) / 3.0;
    let mut letter = || LETTERS.get(random.below(64) as usize).map_or('A', |letter| char::from(*letter));
    let cells = vec![
        Some(Cell::Text(format!("unit {}", seq % 3))),
        Some(Cell::F64(seq as f64)),
        Some(Cell::F64(sending as f64)),
        Some(Cell::F64(value)),
        // Rare enough that most lives of an agent widen a schema once, some time.
        (seq % 997 == 13).then_some(Cell::F64(-0.0)),
        fat.then(|| Cell::Text((0..PADDING).map(|_| letter()).collect())),
    ];
    Row { time: BEGIN + seq as i64 * 1_003, cells }
}

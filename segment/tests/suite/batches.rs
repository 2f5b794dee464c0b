//! Batches for tests: hand-made ones, and random ones from a seed.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use pyralog_segment::{Column, ColumnType, Schema};

/// The times as the first column of a batch.
pub(crate) fn times(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
}

/// One column of each type, with nulls, an empty string, and floats that JSON does not have.
pub(crate) fn all_types() -> (Schema, RecordBatch) {
    let schema = Schema::new(vec![
        Column::new("room", ColumnType::Tag),
        Column::new("temp", ColumnType::F64),
        Column::new("n", ColumnType::I64),
        Column::new("up", ColumnType::U64),
        Column::new("on", ColumnType::Bool),
        Column::new("note", ColumnType::Utf8),
        Column::new("raw", ColumnType::Binary),
    ])
    .unwrap();
    let columns: Vec<ArrayRef> = vec![
        times(vec![1_700_000_000_000_000_000, 1_700_000_060_000_000_000, 1_700_000_120_000_000_000]),
        Arc::new([Some("a"), None, Some("b\"c,d")].into_iter().collect::<DictionaryArray<Int32Type>>()),
        Arc::new(Float64Array::from(vec![Some(20.5), Some(f64::NAN), None])),
        Arc::new(Int64Array::from(vec![None, Some(i64::MIN), Some(7)])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(StringArray::from(vec![Some(""), Some("line\nend"), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")])),
    ];
    let batch = RecordBatch::try_new(schema.arrow(), columns).unwrap();
    (schema, batch)
}

/// A small deterministic generator of numbers (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A batch of `rows` rows with random columns: constants, walks, few distinct values, periods, runs and noise, with nulls.
pub(crate) fn random(seed: u64, rows: usize) -> (Schema, RecordBatch) {
    let mut random = Random(seed);
    let count = random.below(7);
    let types: Vec<_> = (0..count).map(|_| ColumnType::ALL[random.below(7)]).collect();
    let named = types.iter().enumerate().map(|(i, &ty)| Column::new(format!("c{i}"), ty));
    let schema = Schema::new(named.collect()).unwrap();
    let mut columns = vec![times(integers(&mut random, rows))];
    for ty in types {
        columns.push(column(ty, &mut random, rows));
    }
    let batch = RecordBatch::try_new(schema.arrow(), columns).unwrap();
    (schema, batch)
}

fn column(ty: ColumnType, random: &mut Random, rows: usize) -> ArrayRef {
    let valid = validity(random, rows);
    let keep = |row: usize| valid[row];
    match ty {
        ColumnType::Tag | ColumnType::Utf8 => {
            let (codes, stem) =
                (integers(random, rows), ["s", "", "Größe ", "a long stem of a string "][random.below(4)]);
            let many = random.below(2) == 0;
            let text = |code: i64| format!("{stem}{}", if many { code } else { code.rem_euclid(5) });
            let texts: Vec<_> = codes.iter().enumerate().map(|(row, &code)| keep(row).then(|| text(code))).collect();
            let texts = texts.iter().map(Option::as_deref);
            match ty {
                ColumnType::Tag => Arc::new(texts.collect::<DictionaryArray<Int32Type>>()),
                _ => Arc::new(texts.collect::<StringArray>()),
            }
        }
        ColumnType::F64 => {
            let values = floats(random, rows);
            Arc::new(values.iter().enumerate().map(|(row, &v)| keep(row).then_some(v)).collect::<Float64Array>())
        }
        ColumnType::I64 => {
            let values = integers(random, rows);
            Arc::new(values.iter().enumerate().map(|(row, &v)| keep(row).then_some(v)).collect::<Int64Array>())
        }
        ColumnType::U64 => {
            let values = integers(random, rows);
            let values = values.iter().enumerate().map(|(row, &v)| keep(row).then_some(v as u64));
            Arc::new(values.collect::<UInt64Array>())
        }
        ColumnType::Bool => {
            let values = integers(random, rows);
            let values = values.iter().enumerate().map(|(row, &v)| keep(row).then_some(v & 1 == 1));
            Arc::new(values.collect::<BooleanArray>())
        }
        ColumnType::Binary => {
            let values = integers(random, rows);
            let values = values.iter().map(|v| v.to_le_bytes()[..random.below(9)].to_vec()).collect::<Vec<_>>();
            let values = values.iter().enumerate().map(|(row, v)| keep(row).then_some(v.as_slice()));
            Arc::new(values.collect::<BinaryArray>())
        }
    }
}

fn validity(random: &mut Random, rows: usize) -> Vec<bool> {
    match random.below(5) {
        0 => vec![false; rows],
        1 => (0..rows).map(|_| random.below(3) > 0).collect(),
        2 => (0..rows).map(|row| row % 40 < 30).collect(),
        _ => vec![true; rows],
    }
}

fn integers(random: &mut Random, rows: usize) -> Vec<i64> {
    let base = random.next() as i64 >> random.below(64);
    let scale = [1, 10, 3_600_000_000_000][random.below(3)];
    let mut at = base;
    match random.below(7) {
        0 => vec![base; rows],
        1 => (0..rows).map(|row| base.wrapping_add(scale * row as i64)).collect(),
        2 => (0..rows).map(|row| base.wrapping_add(scale * (row % 3) as i64)).collect(),
        3 => (0..rows).map(|row| base.wrapping_add((row / 17) as i64)).collect(),
        4 => (0..rows).map(|_| random.below(6) as i64).collect(),
        5 => (0..rows).map(|_| random.next() as i64).collect(),
        _ => {
            let mut step = || {
                at = at.wrapping_add(scale * (random.below(9) as i64 - 4));
                at
            };
            (0..rows).map(|_| step()).collect()
        }
    }
}

fn floats(random: &mut Random, rows: usize) -> Vec<f64> {
    let integers = integers(random, rows);
    let style = random.below(6);
    let odd = [-0.0, f64::NAN, f64::from_bits(0xfff8_dead_beef_0001), f64::INFINITY, 5e-324, f64::MAX];
    let mut floats: Vec<f64> = integers
        .iter()
        .map(|&v| match style {
            0 => v as f64 / 10.0,
            1 => (v % 100_000) as f64 / 65_536.0,
            2 => f64::from((v as f32).sin()),
            3 => format!("{:.14e}", (v % 5000) as f64 / 12.0).parse().unwrap(),
            4 => f64::from_bits(v as u64),
            _ => (v as f64).sqrt(),
        })
        .collect();
    for _ in 0..random.below(4) {
        if rows > 0 {
            let row = random.below(rows);
            floats[row] = odd[random.below(odd.len())];
        }
    }
    floats
}

//! Records as they come in, and the columns that they should end up in.

use std::collections::BTreeMap;

use pyralog_agent::records::{Records, Value};
use pyralog_segment::{ColumnType, RESERVED_NAMES, Schema};

use crate::plan::Work;
use crate::random::Random;
use crate::rows::{Kept, Row};

/// A value that owns its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// A tag.
    Tag(&'static str),
    /// A float.
    F64(f64),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A truth.
    Bool(bool),
    /// A text.
    Utf8(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// One record.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its log.
    pub log: &'static str,
    /// Its time; `None`: that of arrival.
    pub time: Option<i64>,
    /// Names and values.
    pub cells: Vec<(&'static str, Held)>,
}

impl Held {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Tag(text) => Value::Tag(text),
            Self::F64(x) => Value::F64(*x),
            Self::I64(x) => Value::I64(*x),
            Self::U64(x) => Value::U64(*x),
            Self::Bool(x) => Value::Bool(*x),
            Self::Utf8(text) => Value::Utf8(text),
            Self::Binary(bytes) => Value::Binary(bytes),
        }
    }
}

impl Reading {
    /// Puts it into a buffer for the ring.
    pub fn put(&self, records: &mut Records) {
        records.begin(self.log, self.time);
        self.cells.iter().for_each(|(name, value)| records.push(name, value.value()));
        records.finish();
    }

    /// Bytes of texts and raw data in it: what the ring compares with the size of a segment.
    pub fn data_len(&self) -> usize {
        self.cells.iter().map(|(_, value)| value.value().data_len()).sum()
    }

    /// The record as it should come back.
    pub fn keep(&self, columns: &mut Columns, arrival: i64, row: &mut Row) -> Kept {
        let mut cells: BTreeMap<String, Value<'_>> = BTreeMap::new();
        for (name, value) in &self.cells {
            let value = value.value();
            // Of a name that comes twice, the later one holds.
            cells.insert(columns.place(name, value.column_type()), value);
        }
        row.keep(self.time.unwrap_or(arrival), cells.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

/// The columns of a log, as a plain model of the ring's rule: the first type to come has the plain name, others a suffix.
#[derive(Debug, Clone, Default)]
pub struct Columns(BTreeMap<String, ColumnType>);

impl Columns {
    /// The columns that a log has now.
    pub fn of(schema: &Schema) -> Self {
        Self(schema.columns().iter().map(|column| (column.name.clone(), column.ty)).collect())
    }

    fn place(&mut self, name: &str, ty: ColumnType) -> String {
        let own = match self.0.get(name) {
            Some(first) if *first == ty => return name.to_owned(),
            None if !RESERVED_NAMES.contains(&name) => name.to_owned(),
            _ => format!("{name}__{}", ty.suffix()),
        };
        self.0.insert(own.clone(), ty);
        own
    }
}

const STATIONS: [&str; 4] = ["north", "süd", "west-2", ""];
const ODD: [&str; 9] = ["offset", "time", "epoch", "temp", "count", "note", "ok", "extra_a", "extra_b"];

/// Makes records.
#[derive(Debug)]
pub struct Maker {
    work: Work,
    random: Random,
    count: u64,
    temp: f64,
}

impl Maker {
    /// A maker of the planned kind of records.
    pub fn new(work: Work, random: Random) -> Self {
        Self { work, random, count: 0, temp: 20.0 }
    }

    /// How many records come in the next burst.
    pub fn burst(&mut self) -> u64 {
        self.random.between(1, self.work.burst)
    }

    /// The next record.
    pub fn reading(&mut self, now: i64) -> Reading {
        let random = &mut self.random;
        let log = *random.pick(&self.work.logs);
        self.count += 1;
        self.temp += random.below(21) as f64 / 10.0 - 1.0;
        let time = if random.chance(600) { None } else { Some(odd_time(random, now, self.work.odd)) };
        let mut cells = vec![("n", Held::U64(self.count))];
        if random.chance(700) {
            cells.push(("station", Held::Tag(random.pick::<&str>(&STATIONS))));
        }
        if random.chance(900) {
            cells.push(("temp", Held::F64(self.temp)));
        }
        if random.chance(500) {
            cells.push(("ok", Held::Bool(random.chance(500))));
            cells.push(("count", Held::I64(random.any() as i64 >> random.below(64))));
        }
        if random.chance(200) {
            cells.push(("note", Held::Utf8(format!("reading {}", random.below(50)))));
        }
        if random.chance(self.work.bulky) {
            let mut bytes = vec![0; random.between(1, self.work.bulk) as usize];
            random.fill(&mut bytes);
            cells.push(("raw", Held::Binary(bytes)));
        }
        if random.chance(self.work.odd) {
            cells.push((*random.pick(&ODD), odd_value(random)));
        }
        if random.chance(self.work.odd / 4) {
            cells.clear();
        }
        Reading { log, time, cells }
    }

    /// Some records of one log with the same cells, as a fast device sends them.
    pub fn run(&mut self, now: i64, count: u64) -> Vec<Reading> {
        let log = *self.random.pick(&self.work.logs);
        let station = *self.random.pick(&STATIONS);
        let make = |at: u64| {
            self.count += 1;
            let cells = vec![
                ("n", Held::U64(self.count)),
                ("temp", Held::F64(self.random.below(1_000) as f64 / 8.0)),
                ("count", Held::I64(at as i64 - 3)),
                ("station", Held::Tag(station)),
            ];
            Reading { log, time: Some(now.saturating_add(at as i64 * 1_000_000)), cells }
        };
        (0..count).map(make).collect()
    }

    /// A record that no segment can hold.
    pub fn monster(&mut self, bytes: usize) -> Reading {
        let log = *self.random.pick(&self.work.logs);
        Reading { log, time: None, cells: vec![("raw", Held::Binary(vec![7; bytes]))] }
    }

    /// The chance that drives it.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

fn odd_time(random: &mut Random, now: i64, odd: u64) -> i64 {
    if random.chance(odd / 2) {
        return *random.pick(&[i64::MIN, i64::MAX, 0, -1]);
    }
    now.saturating_sub(random.below(10_000_000_000) as i64)
}

fn odd_value(random: &mut Random) -> Held {
    match random.below(7) {
        0 => Held::Tag("odd"),
        1 => Held::F64(*random.pick(&[-0.0, f64::INFINITY, f64::from_bits(0x7ff8_dead_beef_0001), 1e-310])),
        2 => Held::I64(*random.pick(&[i64::MIN, i64::MAX, 0])),
        3 => Held::U64(*random.pick(&[u64::MAX, 0, 1 << 63])),
        4 => Held::Bool(true),
        5 => Held::Utf8(String::from("ärger\n\"quoted\"")),
        _ => Held::Binary(vec![0, 255, 10]),
    }
}

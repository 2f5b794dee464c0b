//! Sensor data from a seed: small, but with everything that real data has and a few values that it rarely has.

use crate::dataset::{Cell, Dataset, Kind, Row};

/// Three stations, once a second: two floats, a truth and a note, each with gaps. The same seed gives the same data.
pub fn weather(seed: u64, rows: usize) -> Dataset {
    let mut random = Random::new(seed);
    let names =
        [("station", Kind::Tag), ("temp", Kind::F64), ("wind", Kind::F64), ("ok", Kind::Bool), ("note", Kind::Text)];
    let columns = names.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
    let mut temp = 20.0_f64;
    let rows = (0..rows).map(|index| {
        temp += (random.below(21) as f64 - 10.0) / 10.0;
        let rounded = (temp * 10.0).round() / 10.0;
        let strange = [-0.0, f64::MIN_POSITIVE / 8.0, f64::MAX, 0.1 + 0.2, -1e-300];
        let value = match random.below(50) {
            at @ 0..5 => strange[at as usize],
            _ => rounded,
        };
        let station = ["north", "south side", "büro"][index % 3];
        let note = ["calm", "a \"gust\"", "back\\slash, comma"][random.below(3) as usize];
        let noise = random.below(1 << 50) as f64 / (1_u64 << 50) as f64;
        let mut gap = |of: u64, cell: Cell| (random.below(of) > 0).then_some(cell);
        let cells = vec![
            Some(Cell::Text(station.to_owned())),
            // Line protocol has no record without a field.
            Some(Cell::F64(value)),
            // All its digits: what a ring can hold of it does not hang on how well it packs.
            gap(4, Cell::F64(rounded * (3.0 + noise))),
            gap(10, Cell::Bool(index % 7 == 0)),
            gap(3, Cell::Text(note.to_owned())),
        ];
        Row { time: 1_700_000_000_000_000_000 + index as i64 * 1_000_000_007, cells }
    });
    Dataset { columns, rows: rows.collect() }
}

/// Numbers that look random; the same seed gives the same.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins the series of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// The next number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_data_and_another_another() {
        let lines = |seed| weather(seed, 500).line_protocol("m", 0..500);
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
        assert_eq!(lines(1).lines().count(), 500);
    }
}

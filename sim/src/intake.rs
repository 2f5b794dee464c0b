//! Records on their way into a ring, and into the ledger what the ring said that it took.

use std::collections::BTreeMap;
use std::time::Duration;

use pyralog_agent::records::Records;
use pyralog_agent::ring::{AppendError, Appended, ColumnBatch, ColumnSlice, Now, ReadRange, Ring};

use crate::ledger::Incarnation;
use crate::random::Random;
use crate::readings::{Columns, Held, Maker, Reading};
use crate::rows::{self, Kept, Row};
use crate::sabotage::Sabotage;
use crate::trace::Event;
use crate::world::World;

/// Where the ring keeps what no log could take.
const REJECTED: &str = "_rejected";
/// Most records in one append.
const APPEND: u64 = 20;

/// Feeds one ring.
#[derive(Debug)]
pub struct Intake {
    ring: Ring,
    incarnation: Incarnation,
    number: u32,
    maker: Maker,
    columns: BTreeMap<&'static str, Columns>,
    /// Bytes of data at which a record is too large for the ring.
    too_large: usize,
    buffer: Records,
    row: Row,
}

type Heads = BTreeMap<String, u64>;

impl Intake {
    /// An intake of a fresh ring.
    pub fn new(world: &World, ring: &Ring, incarnation: Incarnation, number: u32, random: Random) -> Self {
        let too_large = (world.plan.ring.max_memory / 16).clamp(64 << 10, 1 << 20) as usize;
        Self {
            ring: ring.clone(),
            incarnation,
            number,
            maker: Maker::new(world.plan.work.clone(), random),
            columns: BTreeMap::new(),
            too_large,
            buffer: Records::new(),
            row: Row::default(),
        }
    }

    /// Some records come in, and `more`.
    pub fn burst(&mut self, world: &World, mono: Duration, more: u64) {
        let now = Now { unix_ns: world.clocks.lock().agent(world.elapsed()), mono };
        let mut left = self.maker.burst() + more;
        while left > 0 {
            let count = left.min(self.maker.random().between(1, APPEND));
            left -= count;
            let mut readings: Vec<_> = (0..count).map(|_| self.maker.reading(now.unix_ns)).collect();
            if self.maker.random().chance(world.plan.work.odd / 10) {
                readings.push(self.maker.monster(self.too_large + 1));
            }
            let result = self.append(world, &readings, now);
            world.check(result);
        }
        if self.maker.random().chance(60) {
            let count = self.maker.random().between(1, 2 * APPEND);
            let readings = self.maker.run(now.unix_ns, count);
            let result = self.append_columns(world, &readings, now);
            world.check(result);
        }
        if self.maker.random().chance(world.plan.work.odd / 2) {
            let result = self.reject(world, now);
            world.check(result);
        }
    }

    fn append(&mut self, world: &World, readings: &[Reading], now: Now) -> Result<(), String> {
        self.buffer.clear();
        readings.iter().for_each(|reading| reading.put(&mut self.buffer));
        let before = self.heads();
        let appended = self.ring.append(&self.buffer, now);
        self.appended(world, readings, appended, &before, now)
    }

    /// Appends records of one log and the same cells by way of their columns.
    fn append_columns(&mut self, world: &World, readings: &[Reading], now: Now) -> Result<(), String> {
        let Some(first) = readings.first() else { return Ok(()) };
        let (mut numbers, mut temps, mut counts, mut stations) = (vec![], vec![], vec![], vec![]);
        for (_, value) in readings.iter().flat_map(|reading| &reading.cells) {
            match value {
                Held::U64(x) => numbers.push(*x),
                Held::F64(x) => temps.push(*x),
                Held::I64(x) => counts.push(*x),
                Held::Tag(x) => stations.push(*x),
                _ => return Err("a run of records has other cells than this knows of".into()),
            }
        }
        let times: Vec<_> = readings.iter().filter_map(|reading| reading.time).collect();
        let columns = [
            ("n", ColumnSlice::U64(&numbers)),
            ("temp", ColumnSlice::F64(&temps)),
            ("count", ColumnSlice::I64(&counts)),
            ("station", ColumnSlice::Tag(&stations)),
        ];
        let before = self.heads();
        let appended = self.ring.append_columns(first.log, &ColumnBatch { times: &times, columns: &columns }, now);
        world.count("appends by columns");
        self.appended(world, readings, appended, &before, now)
    }

    /// Puts down what came of an append.
    fn appended(
        &mut self,
        world: &World,
        readings: &[Reading],
        appended: Result<Appended, AppendError>,
        before: &Heads,
        now: Now,
    ) -> Result<(), String> {
        let after = self.heads();
        let done = match appended {
            Ok(done) => done,
            Err(AppendError::Full { done }) => {
                world.count("appends refused by a full ring");
                done
            }
            Err(error) => return Err(format!("an append failed: {error}")),
        };
        let taken = (done.rows + done.rejected) as usize;
        if appended.is_ok() && taken != readings.len() || taken > readings.len() {
            return Err(format!("{} records were appended, and {done:?} of them taken", readings.len()));
        }
        self.book(world, &readings[..taken], done, (before, &after), now)?;
        if appended.is_err() {
            // A refused record's columns may stay: its cells' names are taken from then on.
            for name in readings.iter().map(|reading| reading.log) {
                if let Some(log) = self.ring.log(name) {
                    self.columns.insert(name, Columns::of(&log.schema));
                }
            }
        }
        self.book_rejected(world, (before, &after), done.rejected + done.rejected_cells)
    }

    /// Puts down what of `readings` the ring took, by how far the heads moved.
    fn book(
        &mut self,
        world: &World,
        readings: &[Reading],
        done: Appended,
        (before, after): (&Heads, &Heads),
        now: Now,
    ) -> Result<(), String> {
        let mut logs: BTreeMap<&'static str, Vec<&Reading>> = BTreeMap::new();
        readings.iter().for_each(|reading| logs.entry(reading.log).or_default().push(reading));
        let mut rows = 0;
        for (log, mut readings) in logs {
            let (from, to) = (head(before, log), head(after, log));
            let grown = (to - from) as usize;
            rows += to - from;
            if grown != readings.len() {
                readings.retain(|reading| grown > 0 && reading.data_len() <= self.too_large);
            }
            if grown != readings.len() {
                return Err(format!("{log} grew by {grown} records, not by {}", readings.len()));
            }
            if grown == 0 {
                continue;
            }
            world.note(Event::Append(self.number, log.to_owned(), grown as u64, to));
            world.add("records", grown as u64);
            let columns = self.columns.entry(log).or_default();
            let row = &mut self.row;
            let mut kept: Vec<_> =
                readings.iter().map(|reading| Some(reading.keep(columns, now.unix_ns, row))).collect();
            if done.rejected_cells > 0 {
                // The ring said that it left some cells out; which, it shows.
                kept = self.read_back(log, from, grown);
                let schema = self.ring.log(log).map(|log| Columns::of(&log.schema));
                self.columns.insert(log, schema.unwrap_or_default());
                world.add("rejected cells", done.rejected_cells);
            }
            self.keep(world, log, &kept);
        }
        match rows == done.rows {
            true => Ok(()),
            false => Err(format!("the ring says that it took {} records, its logs grew by {rows}", done.rows)),
        }
    }

    /// Puts down what came into `_rejected`.
    fn book_rejected(&mut self, world: &World, (before, after): (&Heads, &Heads), most: u64) -> Result<(), String> {
        let (from, to) = (head(before, REJECTED), head(after, REJECTED));
        if to - from > most {
            return Err(format!("{} rows in {REJECTED} for {most} rejections", to - from));
        }
        if to > from {
            let kept = self.read_back(REJECTED, from, (to - from) as usize);
            self.keep(world, REJECTED, &kept);
            world.add("rows in _rejected", to - from);
        }
        Ok(())
    }

    fn reject(&mut self, world: &World, now: Now) -> Result<(), String> {
        let before = self.heads();
        let payload = [0xff, 0x00, b'x'];
        self.ring.reject("plant/1/climate", "a decoder gave up", &payload, now);
        let after = self.heads();
        self.book_rejected(world, (&before, &after), 1)
    }

    fn keep(&self, world: &World, log: &str, kept: &[Option<Kept>]) {
        let mut ledger = world.ledger.lock();
        let rows = &mut ledger.life_mut(self.incarnation).logs.entry(log.to_owned()).or_default().rows;
        rows.extend_from_slice(kept);
        if world.sabotage == Sabotage::SecretRecord && rows.len() > 40 {
            rows.truncate(40);
        }
    }

    /// Records that the ring has just taken, as it gives them back; `None` for one that it has no more.
    fn read_back(&self, log: &str, from: u64, count: usize) -> Vec<Option<Kept>> {
        let mut kept = vec![None; count];
        let range = ReadRange { from_offset: Some(from), ..ReadRange::default() };
        let Some(mut reader) = self.ring.read(log, range) else { return kept };
        while let Ok(Some(chunk)) = reader.next_chunk() {
            let Ok(all) = rows::keep(&chunk.batch, &chunk.schema) else { return kept };
            for at in chunk.rows.clone() {
                let place = (chunk.base + at as u64).checked_sub(from).and_then(|place| kept.get_mut(place as usize));
                if let Some(place) = place {
                    *place = all.get(at).copied();
                }
            }
        }
        kept
    }

    fn heads(&self) -> Heads {
        self.ring.sync_logs().into_iter().map(|log| (log.name.to_string(), log.head)).collect()
    }
}

fn head(heads: &Heads, log: &str) -> u64 {
    heads.get(log).copied().unwrap_or_default()
}

//! The ring against a naive model: random histories of appends, seals, packs, evictions, reads and hub answers.
//! Memory is small enough that eviction, refusals and early seals happen by themselves as well.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use pyralog_segment::{ColumnType, Place, Schema};
use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::SegmentMeta;
use pyralog_sync_protocol::{ChainHash, Fingerprint};

/// What the world does to the ring.
#[derive(Debug, Clone)]
enum Op {
    Append {
        log: usize,
        cells: Vec<(usize, u8)>,
        times: u8,
    },
    Batch {
        log: usize,
        rows: usize,
        kind: u8,
    },
    Seal,
    SealDue,
    Pack(u8),
    Evict(u8),
    /// A hub that has taken some of what is pending answers; `late` answers with what it said before.
    Ship {
        log: usize,
        steps: u8,
        lost_answer: bool,
        late: bool,
    },
    Reset {
        log: usize,
    },
    Corrupt {
        log: usize,
    },
    Read {
        log: usize,
        from: u16,
        limit: u16,
    },
    OpenReader {
        log: usize,
    },
    StepReader,
    Guest(u16),
    DropGuests,
}

fn op() -> impl Strategy<Value = Op> {
    let log = 0..LOGS.len();
    prop_oneof![
        12 => (log.clone(), prop::collection::vec((0..NAMES.len(), any::<u8>()), 0..6), 1..20_u8)
            .prop_map(|(log, cells, times)| Op::Append { log, cells, times }),
        4 => (log.clone(), 1..200_usize, any::<u8>()).prop_map(|(log, rows, kind)| Op::Batch { log, rows, kind }),
        1 => Just(Op::Seal),
        1 => Just(Op::SealDue),
        6 => (1..5_u8).prop_map(Op::Pack),
        2 => (1..4_u8).prop_map(Op::Evict),
        5 => (log.clone(), 1..5_u8, any::<bool>(), any::<bool>())
            .prop_map(|(log, steps, lost_answer, late)| Op::Ship { log, steps, lost_answer, late }),
        1 => log.clone().prop_map(|log| Op::Reset { log }),
        1 => log.clone().prop_map(|log| Op::Corrupt { log }),
        4 => (log.clone(), any::<u16>(), any::<u16>()).prop_map(|(log, from, limit)| Op::Read { log, from, limit }),
        1 => log.prop_map(|log| Op::OpenReader { log }),
        3 => Just(Op::StepReader),
        1 => any::<u16>().prop_map(Op::Guest),
        1 => Just(Op::DropGuests),
    ]
}

const LOGS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 6] = ["x", "y", "offset", "x__i64", "t", "y__f64__f64"];

type Row = (i64, BTreeMap<String, String>);

/// A log in which nothing is ever forgotten, and a hub that commits in order.
#[derive(Debug, Default)]
struct Model {
    rows: Vec<Row>,
    columns: Vec<pyralog_segment::Column>,
    /// What the hub has, offset by offset: a record, or a receipt for a reason.
    hub: Vec<Option<LossReason>>,
    hub_hash: [u8; 16],
    /// An older answer that is still under way.
    late: Option<HubCursor>,
}

impl Model {
    fn cursor(&self) -> HubCursor {
        let mut receipted = [0; 4];
        self.hub.iter().flatten().for_each(|reason| receipted[*reason as usize] += 1);
        HubCursor { next_offset: self.hub.len() as u64, receipted }
    }

    fn append(&mut self, time: i64, cells: &[(&str, Value<'_>)]) {
        let cells = cells.iter().map(|(name, value)| (self.place(name, value.column_type()), render(*value)));
        let row = cells.collect();
        self.rows.push((time, row));
    }

    /// The column of a value; a new one if need be.
    fn place(&mut self, name: &str, ty: ColumnType) -> String {
        match Schema::new(self.columns.clone()).unwrap().place(name, ty) {
            Place::Column(column) => self.columns[column].name.clone(),
            Place::New(name) => {
                self.columns.push(pyralog_segment::Column { name: name.clone(), ty });
                name
            }
        }
    }
}

struct World {
    ring: Ring,
    models: [Model; 3],
    clock: u64,
    reader: Option<(usize, Reader, u64)>,
    guests: Vec<Reservation>,
}

impl World {
    fn apply(&mut self, op: &Op) {
        self.clock += 1;
        match op {
            Op::Append { log, cells, times } => self.append(*log, cells, *times),
            Op::Batch { log, rows, kind } => self.batch(*log, *rows, *kind),
            Op::Seal => self.ring.seal_all(at(self.clock)),
            Op::SealDue => {
                self.clock += 300;
                self.ring.seal_due(at(self.clock));
            }
            Op::Pack(times) => (0..*times).for_each(|_| _ = self.ring.pack_next()),
            Op::Evict(times) => (0..*times).for_each(|_| _ = self.ring.shared.state.lock().evict_one()),
            Op::Ship { log, steps, lost_answer, late } => self.ship(*log, *steps, *lost_answer, *late),
            Op::Reset { log } => self.reset(*log),
            Op::Corrupt { log } => {
                let next = self.models[*log].hub.len() as u64;
                let had = self.ring.segment_at(LOGS[*log], next).is_some();
                assert_eq!(self.ring.mark_corrupt(LOGS[*log], next), had);
            }
            Op::Read { log, from, limit } => self.read(*log, *from, *limit),
            Op::OpenReader { log } => {
                self.reader = self.ring.read(LOGS[*log], ReadRange::default()).map(|reader| (*log, reader, 0));
            }
            Op::StepReader => self.step_reader(),
            Op::Guest(bytes) => self.guests.extend(self.ring.reserve(u64::from(*bytes) * 4)),
            Op::DropGuests => self.guests.clear(),
        }
    }

    fn append(&mut self, log: usize, cells: &[(usize, u8)], times: u8) {
        let texts: Vec<String> = cells.iter().map(|(_, seed)| "é".repeat(usize::from(*seed) % 9)).collect();
        let value = |(i, (_, seed)): (usize, &(usize, u8))| match seed % 7 {
            0 => Value::Tag(&texts[i]),
            1 => Value::F64(f64::from_bits(0x7ff8_0000_0000_0000 | u64::from(*seed))),
            2 => Value::I64(-i64::from(*seed)),
            3 => Value::U64(u64::MAX - u64::from(*seed)),
            4 => Value::Bool(*seed % 2 == 0),
            5 => Value::Utf8(&texts[i]),
            _ => Value::Binary(texts[i].as_bytes()),
        };
        let row: Vec<_> = cells.iter().map(|(name, _)| NAMES[*name]).zip(cells.iter().enumerate().map(value)).collect();
        let mut records = Records::new();
        for i in 0..times {
            records.begin(LOGS[log], Some(self.clock as i64 * 10 - i64::from(i)));
            row.iter().for_each(|(name, value)| records.push(name, *value));
            records.finish();
        }
        let done = match self.ring.append(&records, at(self.clock)) {
            Ok(done) | Err(AppendError::Full { done }) => done,
            Err(error) => panic!("{error}"),
        };
        self.note(log, &records, done);
    }

    /// Tells the model what the ring took.
    fn note(&mut self, log: usize, records: &Records, done: Appended) {
        assert_eq!((done.rejected, done.rejected_cells), (0, 0));
        for record in records.iter().take(done.rows as usize) {
            let cells: Vec<_> = record.values().collect();
            self.models[log].append(record.time().unwrap(), &cells);
        }
        if let Some(refused) = records.iter().nth(done.rows as usize) {
            let cells: Vec<_> = refused.values().map(|(name, value)| (name, value.column_type())).collect();
            self.declare(log, &cells);
        }
        let summary = self.ring.log(LOGS[log]);
        let there = summary.map_or((0, Vec::new()), |log| (log.head, log.schema.columns().to_vec()));
        assert_eq!(there, (self.models[log].rows.len() as u64, self.models[log].columns.clone()));
    }

    /// The log may have these columns without a value in them: of a batch in which they are null, or of a record that was refused for
    /// want of room.
    fn declare(&mut self, log: usize, cells: &[(&str, ColumnType)]) {
        let columns = self.ring.log(LOGS[log]).map_or(0, |log| log.schema.columns().len());
        for (name, ty) in cells {
            if self.models[log].columns.len() < columns {
                self.models[log].place(name, *ty);
            }
        }
    }

    fn batch(&mut self, log: usize, rows: usize, kind: u8) {
        let times: Vec<i64> = (0..rows as i64).map(|i| self.clock as i64 * 10 + i % 7).collect();
        let floats: Vec<f64> = times.iter().map(|t| *t as f64 / 8.0).collect();
        let words: Vec<String> = times.iter().map(|t| format!("tag-{}", t % 5)).collect();
        let tags: Vec<&str> = words.iter().map(String::as_str).collect();
        let ints = arrow_array::Int64Array::from_iter(times.iter().map(|t| (t % 3 != 0).then_some(*t)));
        let ints: arrow_array::ArrayRef = std::sync::Arc::new(ints);
        let all = [("x", ColumnSlice::F64(&floats)), ("t", ColumnSlice::Tag(&tags)), ("y", ColumnSlice::Array(&ints))];
        let columns: Vec<_> = all.iter().enumerate().filter(|(i, _)| kind >> i & 1 == 1).map(|(_, c)| *c).collect();
        let mut records = Records::new();
        for row in 0..rows {
            records.begin(LOGS[log], Some(times[row]));
            for (name, slice) in &columns {
                match slice {
                    ColumnSlice::F64(v) => records.push(name, Value::F64(v[row])),
                    ColumnSlice::Tag(v) => records.push(name, Value::Tag(v[row])),
                    _ if times[row] % 3 != 0 => records.push(name, Value::I64(times[row])),
                    _ => {}
                }
            }
            records.finish();
        }
        let done = match self.ring.append_columns(LOGS[log], &ColumnBatch { times: &times, columns: &columns }, at(0)) {
            Ok(done) | Err(AppendError::Full { done }) => done,
            Err(error) => panic!("{error}"),
        };
        let types = [("x", ColumnType::F64), ("t", ColumnType::Tag), ("y", ColumnType::I64)];
        let types: Vec<_> = types.into_iter().filter(|(name, _)| columns.iter().any(|(of, _)| of == name)).collect();
        self.declare(log, &types);
        self.note(log, &records, done);
    }

    fn ship(&mut self, log: usize, steps: u8, lost_answer: bool, late: bool) {
        let (name, model) = (LOGS[log], &mut self.models[log]);
        if self.ring.log(name).is_none() {
            return;
        }
        for _ in 0..steps {
            let next = model.hub.len() as u64;
            if let Some(segment) = self.ring.segment_at(name, next) {
                let meta = SegmentMeta {
                    base: segment.base,
                    rows: segment.rows,
                    min_time: segment.min_time,
                    max_time: segment.max_time,
                    encoding: segment.encoding as u8,
                    schema: Fingerprint(segment.fingerprint),
                };
                model.hub_hash = link(ChainHash(model.hub_hash), &meta, &segment.body).0;
                assert_eq!(model.hub_hash, segment.hash, "the hub's own chain agrees");
                assert_eq!(segment.fingerprint, segment.schema.fingerprint());
                model.hub.extend(std::iter::repeat_n(None, segment.rows as usize));
            } else if let Some(loss) = self.ring.loss(name, next) {
                assert!(loss.from == next && loss.to > next);
                for row in &model.rows[loss.from as usize..loss.to as usize] {
                    assert!((loss.min_time..=loss.max_time).contains(&row.0));
                }
                model.hub_hash = loss.hash;
                model.hub.extend(std::iter::repeat_n(Some(loss.reason), (loss.to - loss.from) as usize));
            }
        }
        if lost_answer {
            model.late = Some(model.cursor());
            return;
        }
        let cursor = model.cursor();
        self.ring.apply_cursor(name, cursor.next_offset, cursor.receipted).unwrap();
        if let Some(old) = model.late.take_if(|_| late) {
            self.ring.apply_cursor(name, old.next_offset, old.receipted).unwrap();
        }
        let account = self.ring.log(name).unwrap().account;
        assert_eq!(account.committed, model.hub.iter().filter(|kept| kept.is_none()).count() as u64);
    }

    /// The hub's store is a new one.
    fn reset(&mut self, log: usize) {
        let model = &mut self.models[log];
        model.hub.clear();
        model.hub_hash = [0; 16];
        model.late = None;
        if self.ring.log(LOGS[log]).is_some() {
            self.ring.reset_cursor(LOGS[log], 0, [0; 4]).unwrap();
        }
    }

    fn read(&mut self, log: usize, from: u16, limit: u16) {
        let Some(summary) = self.ring.log(LOGS[log]) else { return };
        let (from, limit) = (u64::from(from) % (summary.head + 5), u64::from(limit) % 300);
        let range = ReadRange { from_offset: Some(from), limit: Some(limit), ..ReadRange::default() };
        self.guests.clear();
        let mut reader = self.ring.read(LOGS[log], range).unwrap();
        let mut seen = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            self.compare(log, &chunk);
            seen.extend(chunk.rows.clone().map(|row| chunk.base + row as u64));
        }
        // Reading may evict, so only now is it known what could be read.
        let summary = self.ring.log(LOGS[log]).unwrap();
        let there = |offset: &u64| *offset >= summary.tail && self.ring.loss(LOGS[log], *offset).is_none();
        let expected: Vec<_> = (from..summary.head).filter(there).take(limit as usize).collect();
        assert!(expected.iter().all(|offset| seen.contains(offset) || seen.len() as u64 == limit));
        assert!(seen.is_sorted_by(|a, b| a < b) && seen.len() as u64 <= limit);
    }

    fn step_reader(&mut self) {
        self.guests.clear();
        let Some((log, mut reader, next)) = self.reader.take() else { return };
        if let Some(chunk) = reader.next_chunk().unwrap() {
            let first = chunk.base + chunk.rows.start as u64;
            assert!(first >= next);
            self.compare(log, &chunk);
            self.reader = Some((log, reader, chunk.base + chunk.rows.end as u64));
        }
    }

    fn compare(&self, log: usize, chunk: &Chunk) {
        for row in chunk.rows.clone() {
            let (time, cells) = &self.models[log].rows[chunk.base as usize + row];
            assert_eq!(time_of(chunk, row), *time);
            assert_eq!(&cells_of(chunk, row).into_iter().collect::<BTreeMap<_, _>>(), cells);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_the_ring_as_the_model_has_it(ops in prop::collection::vec(op(), 1..120), memory in 512..2_048_u64) {
        let config = RingConfig { segment_rows: 50, ..RingConfig::default() };
        let budget = Budget::new(memory << 10);
        let ring = Ring::new(config, budget.clone());
        let mut world = World { ring, models: Default::default(), clock: 0, reader: None, guests: Vec::new() };
        for op in &ops {
            world.apply(op);
            world.ring.check_invariants();
        }
        world.guests.clear();
        for log in 0..LOGS.len() {
            world.read(log, 0, 299);
        }
        drop(world);
        assert_eq!(budget.used(), 0, "everything was given back");
    }
}

//! One log's table: its state, its next plan, and the finishing of plans.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::columns::Columns;
use crate::compact;
use crate::delta::{self, Action, Add, Metadata, Remove, Snapshot};
use crate::file;
use crate::lake::{Lake, LakeError, Put, folder};
use crate::plan::{Plan, Receipt, Source, Work, plan_of};
use crate::reading::{DataFile, Shape};
use crate::receipts;
use crate::rows::Rows;

/// In the table: the number of the last plan that was finished, and of the last that was given up.
const DONE: &str = "pyralog:plan";
const GIVEN_UP: &str = "pyralog:given-up";

/// How often a commit is tried against others.
pub(crate) const MAX_RACES: usize = 1_000;

/// Finished plans that are kept.
const KEPT_PLANS: u64 = 16;

/// What Delta's configuration says of a table of ours.
const OURS: (&str, &str) = ("pyralog.table", "1");

/// A table as this archiver knows it.
#[derive(Debug)]
pub struct Table {
    lake: Lake,
    log: String,
    folder: String,
    state: Snapshot,
    columns: Columns,
}

/// Where the archive of a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The next offset to archive.
    pub next: u64,
    /// Whether the chain has ended, and all of it is archived.
    pub closed: bool,
}

/// How the beginning of a plan went.
#[derive(Debug)]
pub enum Began {
    /// It is the table's next step.
    Ours(Plan),
    /// Another archiver was first: its plan is to be finished before anything else.
    Theirs,
}

/// How the finishing of a plan went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finished {
    /// Whether this archiver made the commit; else another did.
    pub by_us: bool,
    /// Files and bytes that this archiver wrote.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Table {
    /// The table of a log, which need not be there yet.
    pub async fn open(lake: &Lake, log: &str) -> Result<Self, LakeError> {
        Self::load(lake.clone(), log.into(), folder(log)).await
    }

    async fn load(lake: Lake, log: String, folder: String) -> Result<Self, LakeError> {
        let state = delta::load(&lake, &folder).await?;
        let mut table = Self { lake, log, folder, state, columns: Columns::default() };
        table.look()?;
        Ok(table)
    }

    /// Takes over what others committed.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        self.state.refresh(&self.lake, &self.folder).await?;
        self.look()
    }

    fn look(&mut self) -> Result<(), LakeError> {
        let Some(metadata) = &self.state.metadata else { return Ok(()) };
        let foreign = |reason: String| LakeError::Foreign { name: format!("the table {}", self.folder), reason };
        if metadata.configuration.get(OURS.0).and_then(Option::as_deref) != Some(OURS.1) {
            return Err(foreign("it was not made by pyralog-hub; archive into another lake".into()));
        }
        self.columns = Columns::from_delta(&metadata.schema_string)
            .map_err(|reason| foreign(format!("{reason}; change it back, or archive into another lake")))?;
        Ok(())
    }

    /// The log.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Where the archive of a chain stands.
    pub fn mark(&self, agent: &str, epoch: u32) -> Mark {
        let version = self.state.txn(&mark_id(agent, epoch)).unwrap_or_default().max(0).unsigned_abs();
        Mark { next: version >> 1, closed: version & 1 == 1 }
    }

    /// Whether what is archived of this epoch is of the same lifetime of the agent, as far as that is known.
    pub fn is_of_life(&self, agent: &str, epoch: u32, life: u64) -> bool {
        self.state.txn(&life_id(agent, epoch)).is_none_or(|known| known == positive(life))
    }

    /// What was left out of a chain because it was damaged: agent, epoch, from, to.
    pub fn damaged(&self) -> Vec<(String, u32, u64, u64)> {
        let holes = self.state.txns.values().filter(|txn| txn.version > 0).filter_map(|txn| {
            let mut parts = txn.app_id.strip_prefix("damaged:")?.splitn(3, ':');
            let (epoch, from) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some((parts.next()?.to_owned(), epoch, from, txn.version.unsigned_abs()))
        });
        let mut holes: Vec<_> = holes.collect();
        holes.sort();
        holes
    }

    /// When its last plan was made, Unix milliseconds; `None` for a table without any.
    pub fn last_step(&self) -> Option<i64> {
        self.state.txns.get(DONE)?.last_updated
    }

    /// Room for records of this table.
    pub fn rows(&self) -> Rows {
        Rows::new(self.columns.clone())
    }

    /// Its files.
    pub fn files(&self) -> Vec<DataFile> {
        self.state.files.values().map(|add| DataFile::new(&self.folder, add)).collect()
    }

    /// Its columns.
    pub fn shape(&self) -> Shape {
        Shape::new(self.columns.clone())
    }

    fn done(&self) -> u64 {
        self.state.txn(DONE).unwrap_or_default().unsigned_abs()
    }

    fn plan_name(&self, number: u64) -> String {
        format!("{}/_plans/{number:010}.json", self.folder)
    }

    async fn plan(&self, number: u64) -> Result<Option<Plan>, LakeError> {
        let name = self.plan_name(number);
        let Some(bytes) = self.lake.read(&name).await? else { return Ok(None) };
        let plan = serde_json::from_slice(&bytes);
        plan.map(Some)
            .map_err(|error| LakeError::Foreign { name, reason: format!("it is no plan of this version: {error}") })
    }

    /// A plan that somebody began, and that is not finished. What only its receipts need is done on the way.
    pub async fn unfinished(&mut self) -> Result<Option<Plan>, LakeError> {
        self.refresh().await?;
        if let Some(last) = self.plan(self.done()).await? {
            self.store_receipts(&last).await?;
        }
        self.plan(self.done() + 1).await
    }

    /// Makes these rows the table's next step.
    pub async fn begin(
        &mut self,
        sources: Vec<Source>,
        rows: &Rows,
        receipts: Vec<Receipt>,
    ) -> Result<Began, LakeError> {
        let work = Work::Append { sources, dates: rows.dates(), receipts };
        self.begin_work(work, rows.columns().delta()).await
    }

    async fn begin_work(&mut self, work: Work, schema: String) -> Result<Began, LakeError> {
        let number = self.done() + 1;
        let plan = Plan { number, id: new_id(), at: now(), schema, work };
        let bytes: Bytes = serde_json::to_vec(&plan).map_err(LakeError::ours)?.into();
        if self.lake.create(&self.plan_name(number), bytes).await? == Put::Exists {
            return Ok(Began::Theirs);
        }
        // An archiver that slept since it looked may have created a plan that was done and forgotten.
        self.refresh().await?;
        Ok(if self.done() < number { Began::Ours(plan) } else { Began::Theirs })
    }

    /// Compacts one date before `today`, if it has several files that fit into memory together.
    pub async fn compact(&mut self, today: &str) -> Result<Option<(u64, Finished)>, LakeError> {
        let Some((date, inputs, rows)) = compact::choose(self.state.files.values(), today) else { return Ok(None) };
        let count = inputs.len() as u64;
        match self.begin_work(Work::Compact { date, inputs, rows }, self.columns.delta()).await? {
            Began::Ours(plan) => Ok(Some((count, self.finish(&plan, self.rows()).await?))),
            Began::Theirs => Ok(None),
        }
    }

    /// Does what a plan says. `rows` are those that an append names; a compaction reads its own.
    ///
    /// # Errors
    /// [`LakeError::Changed`] when the rows are not what the plan says: then [`Self::give_up`] is what helps.
    pub async fn finish(&mut self, plan: &Plan, mut rows: Rows) -> Result<Finished, LakeError> {
        let log = self.log.clone();
        let changed = |reason: String| LakeError::Changed { number: plan.number, table: log.clone(), reason };
        let columns = Columns::from_delta(&plan.schema).map_err(changed)?;
        let mut finished = Finished::default();
        let mut actions =
            vec![Action::info(if matches!(plan.work, Work::Append { .. }) { "WRITE" } else { "OPTIMIZE" }, plan.at)];
        if let Work::Append { dates, .. } = &plan.work
            && rows.dates() != *dates
        {
            let (said, found) = (dates.values().sum::<u64>(), rows.count());
            return Err(changed(format!("it names {said} records, and {found} of them can be read")));
        }
        for (name, date, count) in plan.files() {
            let batch = match &plan.work {
                Work::Append { .. } => rows.sorted(&date)?,
                Work::Compact { inputs, .. } => {
                    match compact::read(&self.lake, &self.folder, inputs, &columns).await? {
                        Some(batch) => batch,
                        // Another archiver has compacted and deleted them; if not, somebody else deleted them.
                        None => {
                            self.refresh().await?;
                            if self.done() >= plan.number {
                                return self.tidied(plan, finished).await;
                            }
                            return Err(changed("files of the table are missing".into()));
                        }
                    }
                }
            };
            if batch.num_rows() as u64 != count {
                return Err(changed(format!("{name} should have {count} rows and has {}", batch.num_rows())));
            }
            let (bytes, stats) = encoded(batch, columns.sort_keys()).await?;
            let full = format!("{}/{name}", self.folder);
            let mut size = bytes.len() as u64;
            match self.lake.create(&full, bytes).await? {
                Put::Created => {
                    finished.files += 1;
                    finished.bytes += size;
                }
                // Written by another archiver, perhaps of another version: the same rows, not the same bytes.
                Put::Exists => size = self.lake.size(&full).await?.unwrap_or(size),
            }
            actions.push(added(name, &[("log", &self.log), ("date", &date)], size, plan, stats));
        }
        actions.extend(self.marks(plan));
        finished.by_us = self.commit(plan, actions).await?;
        self.tidied(plan, finished).await
    }

    /// Ends a plan that cannot be finished: nothing of it counts, and what it names is free for the next one.
    pub async fn give_up(&mut self, plan: &Plan) -> Result<(), LakeError> {
        let actions = vec![Action::info("WRITE", plan.at), Action::txn(GIVEN_UP.into(), number(plan.number), plan.at)];
        self.commit(plan, actions).await?;
        self.sweep().await
    }

    /// Commits a plan's end; says whether it was this commit.
    async fn commit(&mut self, plan: &Plan, actions: Vec<Action>) -> Result<bool, LakeError> {
        for _ in 0..MAX_RACES {
            self.refresh().await?;
            if self.done() >= plan.number {
                return Ok(false);
            }
            let mut all = Vec::new();
            if self.state.metadata.as_ref().is_none_or(|known| known.schema_string != plan.schema) {
                all = self.head(plan);
            }
            all.extend(actions.iter().cloned());
            all.push(Action::txn(DONE.into(), number(plan.number), plan.at));
            if delta::commit(&self.lake, &self.folder, &mut self.state, &all).await? {
                self.look()?;
                return Ok(true);
            }
        }
        Err(LakeError::Foreign {
            name: format!("the table {}", self.folder),
            reason: format!("others committed {MAX_RACES} times while this archiver tried to; run fewer writers"),
        })
    }

    /// The lines that a commit begins with when it makes the table or widens it.
    fn head(&self, plan: &Plan) -> Vec<Action> {
        let mut metadata = self
            .state
            .metadata
            .clone()
            .unwrap_or_else(|| new_metadata(&self.log, plan.schema.clone(), &["log", "date"], plan));
        metadata.schema_string = plan.schema.clone();
        let protocol = self.state.version.is_none().then(Action::protocol);
        protocol.into_iter().chain([Action::metadata(metadata)]).collect()
    }

    /// What a plan says of chains, or removes.
    fn marks(&self, plan: &Plan) -> Vec<Action> {
        let mut actions = Vec::new();
        match &plan.work {
            Work::Append { sources, .. } => {
                for source in sources {
                    let (agent, epoch) = (&source.agent, source.epoch);
                    match source.mends {
                        true => actions.push(Action::txn(damage_id(agent, epoch, source.from), 0, plan.at)),
                        false => {
                            let mark = source.to << 1 | u64::from(source.closed);
                            actions.push(Action::txn(mark_id(agent, epoch), number(mark), plan.at));
                            let life = source.life.filter(|_| source.from == 0);
                            actions
                                .extend(life.map(|life| Action::txn(life_id(agent, epoch), positive(life), plan.at)));
                        }
                    }
                    let holes = source.damaged.iter();
                    actions.extend(
                        holes.map(|(from, to)| Action::txn(damage_id(agent, epoch, *from), number(*to), plan.at)),
                    );
                }
            }
            Work::Compact { inputs, .. } => {
                let gone = |path: &String| Remove {
                    path: path.clone(),
                    deletion_timestamp: Some(plan.at),
                    data_change: false,
                };
                actions.extend(inputs.iter().map(gone).map(Action::remove));
            }
        }
        actions
    }

    /// What follows a plan that is finished, by whomever.
    async fn tidied(&mut self, plan: &Plan, finished: Finished) -> Result<Finished, LakeError> {
        self.store_receipts(plan).await?;
        if let Work::Compact { inputs, .. } = &plan.work
            && finished.by_us
        {
            for input in inputs {
                self.lake.delete(&format!("{}/{input}", self.folder)).await?;
            }
        }
        if !finished.by_us {
            // What was written here after another archiver's commit may have been compacted away there.
            for (name, ..) in plan.files() {
                if !self.state.files.contains_key(&name) {
                    self.lake.delete(&format!("{}/{name}", self.folder)).await?;
                }
            }
        }
        if let Some(old) = plan.number.checked_sub(KEPT_PLANS) {
            self.lake.delete(&self.plan_name(old)).await?;
        }
        Ok(finished)
    }

    async fn store_receipts(&self, plan: &Plan) -> Result<(), LakeError> {
        match self.state.txn(GIVEN_UP) == Some(number(plan.number)) {
            true => Ok(()),
            false => receipts::store(&self.lake, &self.log, plan).await,
        }
    }

    /// Deletes what archivers that were killed left behind: files of finished plans that are not the table's.
    pub async fn sweep(&mut self) -> Result<(), LakeError> {
        self.refresh().await?;
        if self.state.version.is_none() {
            return Ok(());
        }
        let prefix = format!("{}/", self.folder);
        for name in self.lake.list(&self.folder).await? {
            let Some(path) = name.strip_prefix(&prefix).filter(|path| path.starts_with("date=")) else { continue };
            if plan_of(path).is_some_and(|plan| plan <= self.done()) && !self.state.files.contains_key(path) {
                tracing::info!(file = %name, "deleted what an archiver that was stopped had left");
                self.lake.delete(&name).await?;
            }
        }
        Ok(())
    }
}

fn mark_id(agent: &str, epoch: u32) -> String {
    format!("archived:{epoch}:{agent}")
}

fn damage_id(agent: &str, epoch: u32, from: u64) -> String {
    format!("damaged:{epoch}:{from}:{agent}")
}

fn life_id(agent: &str, epoch: u32) -> String {
    format!("life:{epoch}:{agent}")
}

/// Delta's numbers have a sign.
fn positive(life: u64) -> i64 {
    number(life >> 1)
}

pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn new_metadata(name: &str, schema_string: String, folders: &[&str], plan: &Plan) -> Metadata {
    let format = delta::Format { provider: "parquet".into(), options: BTreeMap::new() };
    Metadata {
        id: format!(
            "{0}-{1}-4{2}-8{3}-{4}",
            &plan.id[..8],
            &plan.id[8..12],
            &plan.id[13..16],
            &plan.id[1..4],
            &plan.id[4..16]
        ),
        name: Some(name.into()),
        format,
        schema_string,
        partition_columns: folders.iter().map(|name| (*name).to_owned()).collect(),
        configuration: BTreeMap::from([(OURS.0.to_owned(), Some(OURS.1.to_owned()))]),
        created_time: Some(plan.at),
    }
}

pub(crate) fn added(path: String, folders: &[(&str, &str)], size: u64, plan: &Plan, stats: String) -> Action {
    Action::add(Add {
        path,
        partition_values: folders.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect(),
        size,
        modification_time: plan.at,
        data_change: matches!(plan.work, Work::Append { .. }),
        stats: Some(stats),
    })
}

/// A file's bytes and what Delta says of it; made off the async threads.
pub(crate) async fn encoded(batch: arrow_array::RecordBatch, keys: Vec<String>) -> Result<(Bytes, String), LakeError> {
    let made =
        tokio::task::spawn_blocking(move || Ok::<_, LakeError>((file::encode(&batch, &keys)?, file::stats(&batch))));
    made.await.map_err(LakeError::ours)?
}

/// 16 hexadecimal digits that nobody else has.
fn new_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's keys are random in each process, and differ with each call.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_i64(now());
    format!("{:016x}", hasher.finish())
}

fn now() -> i64 {
    chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).timestamp_millis()
}

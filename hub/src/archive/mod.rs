//! Moves what a store holds into a lake, once: `pyralog-hub archive`.
//!
//! The store is read by [`Scan`](crate::scan::Scan), which gives out nothing that is damaged; tables and their exactly-once
//! commits are `pyralog_lake`'s.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyralog_lake::{Began, Lake, LakeError, Plan, Table, Work};

use crate::account::AccountError;
use crate::fleet;
use crate::store::{Chain, SharedStore, StoreError};

mod chain;
mod place;

use chain::{Gathered, Reading};
pub use place::{open_lake, open_lake_to_read};

/// A log's records that are in memory at once, in bytes; about twice as much again is in use while they are sorted.
const MAX_BYTES: usize = 64 << 20;

/// Steps of one table in one round; what is left waits for the next.
const MAX_STEPS: usize = 100_000;

/// Damaged entries that a round names; all are counted.
const MAX_NAMED: usize = 100;

/// When a log is worth a file.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// So many records are.
    pub min_rows: u64,
    /// So long after its last file, any number is.
    pub max_delay: Duration,
}

/// Moves records from a store into a lake.
pub struct Archiver {
    store: SharedStore,
    lake: Lake,
    patience: Option<Patience>,
    /// Tables in which leftovers were looked for.
    swept: BTreeSet<String>,
    progress: Arc<Progress>,
}

/// What is being done, for people who wait.
#[derive(Debug, Default)]
pub struct Progress {
    records: AtomicU64,
    log: Mutex<String>,
}

/// What a round did.
#[derive(Debug, Default)]
pub struct Round {
    /// Records and receipts archived.
    pub records: u64,
    /// Receipts.
    pub receipts: u64,
    /// Logs that got files.
    pub logs: u64,
    /// Files written, and their bytes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were compacted, and what they became.
    pub compacted: (u64, u64),
    /// Logs with records that are not yet worth a file.
    pub waiting: u64,
    /// Records that were deleted from the store before they were archived.
    pub gone: u64,
    /// Damaged entries, which were left out: name and reason.
    pub damaged: Vec<String>,
    /// How many there are.
    pub damaged_count: u64,
    /// Logs that could not be archived, and why.
    pub failed: Vec<String>,
}

/// Why a log was not archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The lake's fault.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The store's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lake was filled from elsewhere.
    #[error(
        "the lake holds epoch {epoch} of agent {agent:?} as another store had it; name another --lake for this store"
    )]
    OtherStore {
        /// The agent.
        agent: String,
        /// The epoch.
        epoch: u32,
    },
    /// What the store says of the log is no good.
    #[error(transparent)]
    Account(#[from] AccountError),
}

impl Archiver {
    /// Between these two. Without patience, everything is archived at once.
    pub fn new(store: SharedStore, lake: Lake, patience: Option<Patience>) -> Self {
        Self { store, lake, patience, swept: BTreeSet::new(), progress: Arc::default() }
    }

    /// What is being done.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Archives what there is, log by log. What is wrong with one log does not keep the others waiting.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn round(&mut self) -> Result<Round, StoreError> {
        let mut round = Round::default();
        for (log, agents) in fleet::logs(&*self.store).await? {
            self.progress.begin(&log);
            if let Err(error) = self.log(&log, &agents, &mut round).await {
                round.failed.push(format!("log {log:?}: {error}"));
            }
        }
        Ok(round)
    }

    async fn log(&mut self, log: &str, agents: &[String], round: &mut Round) -> Result<(), ArchiveError> {
        let mut table = Table::open(&self.lake, log).await?;
        let mut is_first = self.swept.insert(log.to_owned());
        if is_first {
            table.sweep().await?;
        }
        let before = round.records + round.receipts;
        // What is damaged is met again in every step.
        let mut faults = BTreeSet::new();
        for step in 0..MAX_STEPS {
            if let Some(plan) = table.unfinished().await? {
                self.recover(&mut table, &plan, round).await?;
                continue;
            }
            if step == 0 && !self.is_worth_it(&table, agents, round).await? {
                break;
            }
            let Gathered { sources, rows, receipts, more, damaged, gone } =
                self.gather(&table, agents, is_first).await?;
            is_first = false;
            faults.extend(damaged);
            if sources.is_empty() {
                break;
            }
            let (records, losses) = (rows.count(), receipts.len() as u64);
            let Began::Ours(plan) = table.begin(sources, &rows, receipts).await? else { continue };
            let finished = table.finish(&plan, rows).await?;
            round.files += finished.files;
            round.bytes += finished.bytes;
            if finished.by_us {
                round.records += records;
                round.receipts += losses;
                round.gone += gone;
                self.progress.records.fetch_add(records, Ordering::Relaxed);
            }
            if !more {
                break;
            }
        }
        round.note(faults);
        round.logs += u64::from(round.records + round.receipts > before);
        self.compact(&mut table, round).await
    }

    /// Whether enough records wait, or long enough.
    async fn is_worth_it(&self, table: &Table, agents: &[String], round: &mut Round) -> Result<bool, StoreError> {
        let (Some(patience), Some(last)) = (self.patience, table.last_step()) else { return Ok(true) };
        let delay = i64::try_from(patience.max_delay.as_millis()).unwrap_or(i64::MAX);
        if crate::clock::unix_nanos() / 1_000_000 - last >= delay {
            return Ok(true);
        }
        let mut waiting = 0u64;
        for agent in agents {
            for epoch in self.store.log_epochs(agent, table.log()).await? {
                let mark = table.mark(agent, epoch);
                if mark.closed {
                    continue;
                }
                let chain = Chain { agent, epoch, log: table.log() };
                let end = self.store.base_at(chain, u64::MAX).await?.unwrap_or_default();
                waiting = waiting.saturating_add(end.saturating_sub(mark.next));
            }
        }
        round.waiting += u64::from(waiting > 0 && waiting < patience.min_rows);
        Ok(waiting >= patience.min_rows)
    }

    /// Finishes what another archiver began.
    async fn recover(&self, table: &mut Table, plan: &Plan, round: &mut Round) -> Result<(), ArchiveError> {
        let mut rows = table.rows();
        if let Work::Append { sources, .. } = &plan.work {
            for source in sources {
                self.reading(table.log()).again(source, &mut rows).await?;
            }
        }
        let records = rows.count();
        match table.finish(plan, rows).await {
            Ok(finished) => {
                round.files += finished.files;
                round.bytes += finished.bytes;
                round.records += if finished.by_us { records } else { 0 };
                Ok(())
            }
            Err(LakeError::Changed { reason, .. }) => {
                tracing::warn!(log = table.log(), plan = plan.number, "gave up an archiver's plan: {reason}");
                Ok(table.give_up(plan).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn gather(&self, table: &Table, agents: &[String], is_first: bool) -> Result<Gathered, ArchiveError> {
        let mut gathered = Gathered::new(table.rows());
        let reading = Reading { is_first, ..self.reading(table.log()) };
        for (agent, epoch, from, to) in table.damaged() {
            if agents.contains(&agent) {
                reading.mended(&agent, epoch, from..to, &mut gathered).await?;
            }
        }
        for agent in agents {
            for epoch in self.store.log_epochs(agent, table.log()).await? {
                if gathered.rows.bytes() >= MAX_BYTES {
                    gathered.more = true;
                    return Ok(gathered);
                }
                reading.onward(agent, epoch, table, &mut gathered).await?;
            }
        }
        Ok(gathered)
    }

    fn reading<'a>(&'a self, log: &'a str) -> Reading<'a> {
        Reading { store: &self.store, log, max_bytes: MAX_BYTES, is_first: false }
    }

    async fn compact(&self, table: &mut Table, round: &mut Round) -> Result<(), ArchiveError> {
        let now = std::time::UNIX_EPOCH + Duration::from_nanos(crate::clock::unix_nanos().max(0).unsigned_abs());
        let today = humantime::format_rfc3339_seconds(now).to_string();
        let today = today.split('T').next().unwrap_or_default();
        for _ in 0..MAX_STEPS {
            let Some((inputs, finished)) = table.compact(today).await? else { break };
            if finished.by_us {
                round.compacted.0 += inputs;
                round.compacted.1 += 1;
            }
        }
        Ok(())
    }
}

impl Round {
    /// Whether anything needs a person.
    pub fn is_clean(&self) -> bool {
        self.damaged_count == 0 && self.failed.is_empty()
    }

    fn note(&mut self, damaged: BTreeSet<String>) {
        self.damaged_count += damaged.len() as u64;
        let room = MAX_NAMED.saturating_sub(self.damaged.len());
        self.damaged.extend(damaged.into_iter().take(room));
    }
}

impl Progress {
    fn begin(&self, log: &str) {
        log.clone_into(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} records archived, now log {log:?}", self.records.load(Ordering::Relaxed))
    }
}

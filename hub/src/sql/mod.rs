//! What the hub stores, as tables for SQL: each log, `_agents` and `_receipts`.
//!
//! A log's rows are its files in the lake, and what the store has behind the lake's marks: a record is archived exactly up to
//! its chain's mark, so it is in one of both. The lake is looked at first. What is archived and deleted from the store after
//! that look is noticed where the chain is read, and the query begins again.
//!
//! Queries are run by `pyralog_sql`, which is on another Arrow; rows cross over as IPC bytes, in `border` alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use pyralog_lake::{Lake, LakeError};
use pyralog_sql::{Catalog, SourceError, Table};

use crate::account::AccountError;
use crate::fleet;
use crate::store::{SharedStore, StoreError};

mod accounts;
mod border;
mod chain;
mod log;

/// Tables that are no logs.
const AGENTS: &str = "_agents";
const RECEIPTS: &str = "_receipts";

/// Damaged places that are named; all are counted.
const MAX_NAMED: usize = 64;

/// The tables of a store, and of the lake into which it is archived, for one query.
pub struct Tables {
    store: SharedStore,
    lake: Option<Lake>,
    notes: Arc<Notes>,
}

/// What a query came upon.
#[derive(Debug, Default)]
pub struct Notes {
    /// Whether what is damaged is left out, and noted; else the query fails of it.
    skip: bool,
    damaged: Mutex<(Vec<String>, u64)>,
    segments: AtomicU64,
}

impl Notes {
    /// Whether damage is skipped is said here.
    pub fn new(skip: bool) -> Arc<Self> {
        Arc::new(Self { skip, ..Self::default() })
    }

    /// What was left out since it is damaged: the first of them by name, and how many there are.
    pub fn damaged(&self) -> (Vec<String>, u64) {
        self.damaged.lock().clone()
    }

    /// Segments of the store that were decoded.
    pub fn segments(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }

    fn decoded(&self) {
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes something damaged, or says why the query fails of it.
    fn meet(&self, name: &str, reason: &str) -> Result<(), SourceError> {
        if !self.skip {
            return Err(SourceError::Damaged(format!(
                "{name} is damaged: {reason}; run `pyralog-hub verify`, or leave out what is damaged (here: damaged=skip, --skip-damaged)"
            )));
        }
        let mut damaged = self.damaged.lock();
        if damaged.0.len() < MAX_NAMED && !damaged.0.iter().any(|known| known == name) {
            damaged.0.push(name.to_owned());
        }
        damaged.1 += 1;
        Ok(())
    }
}

impl Tables {
    /// Of these two.
    pub fn new(store: SharedStore, lake: Option<Lake>, notes: Arc<Notes>) -> Self {
        Self { store, lake, notes }
    }
}

#[async_trait]
impl Catalog for Tables {
    async fn names(&self) -> Result<Vec<String>, SourceError> {
        let logs = fleet::logs(&*self.store).await.map_err(of_store)?;
        Ok(logs.into_keys().chain([AGENTS.to_owned(), RECEIPTS.to_owned()]).collect())
    }

    async fn table(&self, name: &str) -> Result<Option<Table>, SourceError> {
        match name {
            AGENTS => accounts::agents(self).await.map(Some),
            RECEIPTS => accounts::receipts(self).await.map(Some),
            log => log::table(self, log).await,
        }
    }
}

fn of_store(error: StoreError) -> SourceError {
    match error {
        StoreError::Unavailable { .. } => SourceError::Unavailable(error.to_string()),
        StoreError::Damaged { .. } => SourceError::Damaged(format!("{error}; run `pyralog-hub verify` on the store")),
    }
}

fn of_account(error: AccountError) -> SourceError {
    match error {
        AccountError::Store(error) => of_store(error),
        AccountError::Damaged { .. } => SourceError::Damaged(format!("{error}; run `pyralog-hub verify` on the store")),
        AccountError::TooWide { .. } | AccountError::UnknownAgent { .. } | AccountError::UnknownLog { .. } => {
            SourceError::Refused(error.to_string())
        }
    }
}

fn of_lake(error: LakeError) -> SourceError {
    match error {
        LakeError::Unavailable { .. } | LakeError::Unreachable(_) => SourceError::Unavailable(error.to_string()),
        LakeError::Gone(_) => SourceError::Stale(format!("{error}; ask again")),
        LakeError::Unfit(_) | LakeError::Foreign { .. } => SourceError::Damaged(error.to_string()),
        LakeError::Changed { .. } | LakeError::Ours(_) => SourceError::Ours(error.to_string()),
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tables").field("lake", &self.lake).finish_non_exhaustive()
    }
}

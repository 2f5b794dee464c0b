//! The account: for every log, what was committed, what is receipted and why, and how far the agent is ahead.
//!
//! Entries carry running totals, so the last entry of a chain tells the sums, and receipts are found by bisection instead
//! of reading the whole chain.

use std::collections::BTreeMap;

use bytes::Bytes;
use pyralog_sync_protocol::entry::{Content, Entry, Tip};
use pyralog_sync_protocol::epoch::{EpochRecord, HeadsRecord};
use pyralog_sync_protocol::frame::{Reason, Receipt};
use pyralog_sync_protocol::trim::TrimMark;
use serde::Serialize;

use crate::retention::mark;
use crate::store::{Chain, MAX_PAGE, Place, Store, StoreError};

/// Receipts that an account lists for one epoch; more are counted.
const MAX_RECEIPTS: usize = 10_000;

/// How often an account is begun again since retention was at work.
const RETRIES: usize = 3;

/// Names looked through for one that was meant.
const MAX_CANDIDATES: usize = 4_096;

/// An agent in the fleet's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentSummary {
    /// Its id.
    pub agent: String,
    /// Its newest epoch.
    pub epoch: u32,
    /// The incarnation of that epoch, in hex.
    pub incarnation: String,
    /// When the epoch was opened, Unix nanoseconds.
    pub opened_at: i64,
    /// How many logs it ever committed to.
    pub log_count: usize,
}

/// An agent with the newest epoch of each of its logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentAccount {
    /// The agent.
    #[serde(flatten)]
    pub summary: AgentSummary,
    /// Its logs by name; at most as many as were asked for.
    pub logs: BTreeMap<String, EpochAccount>,
    /// Logs without an account, since what it rests on is damaged.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<String, String>,
}

/// A page of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Fleet {
    /// Agents, ascending.
    pub agents: Vec<AgentSummary>,
    /// Agents of which nothing can be said, since what it rests on is damaged: id and what is wrong.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<String, String>,
}

/// All epochs of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogAccount {
    /// The agent.
    pub agent: String,
    /// The log.
    pub log: String,
    /// Its epochs, oldest first.
    pub epochs: Vec<EpochAccount>,
}

/// One log during one epoch. Invariant: `next_offset` = `committed` + the sum of `receipted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpochAccount {
    /// The epoch.
    pub epoch: u32,
    /// Its incarnation, in hex.
    pub incarnation: String,
    /// The offset that the hub expects next.
    pub next_offset: u64,
    /// The highest head that the agent told of.
    pub head_seen: u64,
    /// Records committed.
    pub committed: u64,
    /// Records receipted, by reason; only reasons that occurred.
    pub receipted: BTreeMap<&'static str, u64>,
    /// How many records the hub knows of and has not got: `head_seen` - `next_offset`.
    pub lag: u64,
    /// What retention deleted of the committed records; absent when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<DeletedAccount>,
    /// Whether the epoch has ended.
    pub closed: bool,
    /// The hub's clock at the last commit, Unix nanoseconds; absent before the first.
    pub received_at: Option<i64>,
    /// The receipts, in order of offsets; absent in an agent's overview.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<Vec<ReceiptAccount>>,
    /// Receipts that are not listed because there are too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub receipts_omitted: u64,
}

/// Records that were committed, and that retention deleted since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeletedAccount {
    /// Whatever was committed below this offset is deleted.
    pub below: u64,
    /// How many records that is.
    pub records: u64,
    /// How many bytes their entries took.
    pub bytes: u64,
    /// Their lowest time, Unix nanoseconds.
    pub min_time: i64,
    /// Their highest time.
    pub max_time: i64,
}

impl From<TrimMark> for DeletedAccount {
    fn from(mark: TrimMark) -> Self {
        let (below, records) = (mark.below(), mark.records());
        Self { below, records, bytes: mark.bytes, min_time: mark.min_time, max_time: mark.max_time }
    }
}

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptAccount {
    /// First offset.
    pub from: u64,
    /// Offset after the last.
    pub to: u64,
    /// Why.
    pub reason: &'static str,
    /// Lowest time of what is gone, Unix nanoseconds; `null` when nobody knows.
    pub min_time: Option<i64>,
    /// Highest time of what is gone.
    pub max_time: Option<i64>,
}

/// Why there is no account.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such agent.
    #[error("there is no agent {agent:?}{}", hint(.nearest))]
    UnknownAgent {
        /// The name asked for.
        agent: String,
        /// The nearest there is.
        nearest: Option<String>,
    },
    /// No such log.
    #[error("agent {agent:?} has no log {log:?}{}", hint(.nearest))]
    UnknownLog {
        /// The agent.
        agent: String,
        /// The name asked for.
        log: String,
        /// The nearest there is.
        nearest: Option<String>,
    },
    /// A log has had too many columns over its epochs to show them side by side.
    #[error("log {log:?} had more than {limit} columns over its epochs; read one epoch at a time (`epoch=`)")]
    TooWide {
        /// The log.
        log: String,
        /// The limit.
        limit: usize,
    },
    /// A stored object cannot be read.
    #[error("{name} is damaged: {reason}")]
    Damaged {
        /// Its name.
        name: String,
        /// How.
        reason: String,
    },
}

/// Up to `limit` agents above `after`.
pub async fn agents(store: &dyn Store, after: Option<&str>, limit: usize) -> Result<Fleet, AccountError> {
    let mut fleet = Fleet::default();
    for agent in store.agents(after, limit).await? {
        match sound(summary(store, &agent).await)? {
            Ok(Some(summary)) => fleet.agents.push(summary),
            // An agent whose first hello failed half-way has a folder and no epoch.
            Ok(None) => {}
            Err(damage) => drop(fleet.damaged.insert(agent, damage)),
        }
    }
    Ok(fleet)
}

/// Takes out of the errors what concerns one agent or log: it is told in the place of that one, and the rest goes on.
fn sound<T>(result: Result<T, AccountError>) -> Result<Result<T, String>, AccountError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error @ (AccountError::Damaged { .. } | AccountError::Store(_))) => {
            Ok(Err(format!("{error}; see what `pyralog-hub verify` says of the store")))
        }
        Err(error) => Err(error),
    }
}

/// One agent with up to `limit` of its logs above `after`.
pub async fn agent(
    store: &dyn Store,
    agent: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<AgentAccount, AccountError> {
    let Some(summary) = summary(store, agent).await? else { return Err(unknown_agent(store, agent).await) };
    let heads = heads(store, agent, summary.epoch).await?;
    let (mut accounts, mut damaged) = (BTreeMap::new(), BTreeMap::new());
    for log in store.logs(agent, after, limit).await? {
        let Some(epoch) = store.log_epochs(agent, &log).await?.last().copied() else { continue };
        let chain = Chain { agent, epoch, log: &log };
        let heard = if epoch == summary.epoch { heads.get(&log).copied().unwrap_or_default() } else { 0 };
        match sound(epoch_account(store, chain, heard, None).await)? {
            Ok(account) => drop(accounts.insert(log, account)),
            Err(damage) => drop(damaged.insert(log, damage)),
        }
    }
    Ok(AgentAccount { summary, logs: accounts, damaged })
}

/// One log of one agent, over all its epochs.
pub async fn log(store: &dyn Store, agent: &str, log: &str) -> Result<LogAccount, AccountError> {
    let Some(summary) = summary(store, agent).await? else { return Err(unknown_agent(store, agent).await) };
    let heads = heads(store, agent, summary.epoch).await?;
    let mut numbers = store.log_epochs(agent, log).await?;
    if heads.contains_key(log) && !numbers.contains(&summary.epoch) {
        numbers.push(summary.epoch);
    }
    if numbers.is_empty() {
        return Err(unknown_log(store, agent, log).await);
    }
    let mut epochs = Vec::with_capacity(numbers.len());
    for epoch in numbers {
        let heard = if epoch == summary.epoch { heads.get(log).copied().unwrap_or_default() } else { 0 };
        epochs.push(epoch_account(store, Chain { agent, epoch, log }, heard, Some(MAX_RECEIPTS)).await?);
    }
    Ok(LogAccount { agent: agent.into(), log: log.into(), epochs })
}

/// The error for an agent that is not there, with the nearest that is.
pub async fn unknown_agent(store: &dyn Store, agent: &str) -> AccountError {
    let nearest = store.agents(None, MAX_CANDIDATES).await.ok().and_then(|names| nearest(agent, names));
    AccountError::UnknownAgent { agent: agent.into(), nearest }
}

/// The error for a log that is not there, with the nearest that is.
pub async fn unknown_log(store: &dyn Store, agent: &str, log: &str) -> AccountError {
    match store.epochs(agent).await {
        Err(error) => return error.into(),
        Ok(epochs) if epochs.is_empty() => return unknown_agent(store, agent).await,
        Ok(_) => {}
    }
    let nearest = store.logs(agent, None, MAX_CANDIDATES).await.ok().and_then(|names| nearest(log, names));
    AccountError::UnknownLog { agent: agent.into(), log: log.into(), nearest }
}

/// An agent in the fleet's list; `None` when it never opened an epoch.
pub(crate) async fn summary(store: &dyn Store, agent: &str) -> Result<Option<AgentSummary>, AccountError> {
    let Some(epoch) = store.epochs(agent).await?.last().copied() else { return Ok(None) };
    let record = epoch_record(store, agent, epoch).await?;
    let log_count = store.logs(agent, None, MAX_PAGE).await?.len();
    Ok(Some(AgentSummary {
        agent: agent.into(),
        epoch,
        incarnation: record.incarnation.to_string(),
        opened_at: record.opened_at,
        log_count,
    }))
}

async fn heads(store: &dyn Store, agent: &str, epoch: u32) -> Result<BTreeMap<String, u64>, AccountError> {
    let Some(record) = store.heads(agent, epoch).await? else { return Ok(BTreeMap::new()) };
    let record = HeadsRecord::decode(&record)
        .map_err(|error| damaged(format!("the heads of agent {agent}, epoch {epoch}"), &error))?;
    Ok(record.heads.into_iter().map(|(log, head)| (log.as_str().to_owned(), head)).collect())
}

/// The account of one chain, with up to so many of its receipts.
pub(crate) async fn epoch_account(
    store: &dyn Store,
    chain: Chain<'_>,
    heard: u64,
    receipts: Option<usize>,
) -> Result<EpochAccount, AccountError> {
    let mut mark = mark::newest(store, chain).await?;
    for _ in 0..RETRIES {
        let found = epoch_account_from(store, chain, mark, heard, receipts).await;
        if !matches!(found, Err(AccountError::Damaged { .. })) {
            return found;
        }
        // What seems damaged may be what retention deleted meanwhile.
        let newer = mark::newest(store, chain).await?;
        if newer == mark {
            return found;
        }
        mark = newer;
    }
    epoch_account_from(store, chain, mark, heard, receipts).await
}

async fn epoch_account_from(
    store: &dyn Store,
    chain: Chain<'_>,
    mark: Option<TrimMark>,
    heard: u64,
    receipts: Option<usize>,
) -> Result<EpochAccount, AccountError> {
    let record = epoch_record(store, chain.agent, chain.epoch).await?;
    let (tip, received_at) = match store.base_at(chain, u64::MAX).await? {
        Some(base) => {
            let bytes = read(store, chain, base).await?;
            let entry = decode(store, chain, base, &bytes)?;
            (entry.tip, Some(entry.received_at))
        }
        None => (Tip::default(), None),
    };
    let (mut listed, mut receipts_omitted) = (None, 0);
    if let Some(most) = receipts {
        let mut search = ReceiptSearch { store, chain, most, found: Vec::new(), omitted: 0 };
        search.run(mark.as_ref(), tip.cursor.lost()).await?;
        (listed, receipts_omitted) = (Some(search.found), search.omitted);
    }
    let receipted = Reason::ALL.into_iter().zip(tip.cursor.receipted).filter(|(_, count)| *count > 0);
    let head_seen = tip.head_seen.max(heard).max(tip.cursor.next);
    Ok(EpochAccount {
        epoch: chain.epoch,
        incarnation: record.incarnation.to_string(),
        next_offset: tip.cursor.next,
        head_seen,
        committed: tip.cursor.committed(),
        receipted: receipted.map(|(reason, count)| (reason.word(), count)).collect(),
        lag: head_seen - tip.cursor.next,
        deleted: mark.map(DeletedAccount::from),
        closed: tip.closed,
        received_at,
        receipts: listed,
        receipts_omitted,
    })
}

/// Finds the entries that raise the count of lost records.
struct ReceiptSearch<'a> {
    store: &'a dyn Store,
    chain: Chain<'a>,
    most: usize,
    found: Vec<ReceiptAccount>,
    omitted: u64,
}

impl ReceiptSearch<'_> {
    async fn run(&mut self, mark: Option<&TrimMark>, lost_at_end: u64) -> Result<(), AccountError> {
        let (mut from, mut lost) = (0, 0);
        if let Some(mark) = mark {
            let below = mark::below(self.store, self.chain, mark).await?;
            if let Some((base, reason)) = below.damaged.into_iter().next() {
                return Err(AccountError::Damaged { name: self.store.entry_name(self.chain, base), reason });
            }
            below.receipts.iter().for_each(|receipt| self.take(receipt));
            (from, lost) = (mark.below(), mark.tip.cursor.lost());
        }
        while lost < lost_at_end {
            let bases = self.store.bases(self.chain, from, MAX_PAGE).await?;
            let Some(last) = bases.last().copied() else { break };
            let after = self.lost_after(last).await?;
            self.within(&bases, lost, after).await?;
            let Some(next) = last.checked_add(1) else { break };
            (from, lost) = (next, after);
        }
        Ok(())
    }

    /// Bisects `bases`: before them `before` records were lost, after them `after`.
    async fn within(&mut self, bases: &[u64], before: u64, after: u64) -> Result<(), AccountError> {
        // Right halves wait on the stack: at most one for each bit of a page's size.
        let mut ranges = vec![(bases, before, after)];
        while let Some((bases, before, after)) = ranges.pop() {
            match bases {
                [] => {}
                _ if before == after => {}
                [base] => self.note(*base).await?,
                _ => {
                    let (left, right) = bases.split_at(bases.len() / 2);
                    let middle = match left.last() {
                        Some(base) => self.lost_after(*base).await?,
                        None => before,
                    };
                    ranges.push((right, middle, after));
                    ranges.push((left, before, middle));
                }
            }
        }
        Ok(())
    }

    async fn note(&mut self, base: u64) -> Result<(), AccountError> {
        if self.found.len() == self.most {
            self.omitted += 1;
            return Ok(());
        }
        let bytes = read(self.store, self.chain, base).await?;
        let entry = decode(self.store, self.chain, base, &bytes)?;
        let content = entry.content().map_err(|error| damaged(self.store.entry_name(self.chain, base), &error))?;
        if let Content::Receipt(receipt) = content {
            self.take(&receipt);
        }
        Ok(())
    }

    fn take(&mut self, receipt: &Receipt) {
        if self.found.len() == self.most {
            self.omitted += 1;
        } else {
            let times_known = (receipt.min_time, receipt.max_time) != (0, 0);
            self.found.push(ReceiptAccount {
                from: receipt.from,
                to: receipt.to,
                reason: receipt.reason.word(),
                min_time: times_known.then_some(receipt.min_time),
                max_time: times_known.then_some(receipt.max_time),
            });
        }
    }

    async fn lost_after(&self, base: u64) -> Result<u64, AccountError> {
        let bytes = read(self.store, self.chain, base).await?;
        Ok(decode(self.store, self.chain, base, &bytes)?.tip.cursor.lost())
    }
}

async fn read(store: &dyn Store, chain: Chain<'_>, base: u64) -> Result<Bytes, AccountError> {
    let reason = || "it is a folder, or was just removed".into();
    let entry = store.entry(chain, base).await?;
    entry.ok_or_else(|| AccountError::Damaged { name: store.entry_name(chain, base), reason: reason() })
}

fn decode<'a>(store: &dyn Store, chain: Chain<'_>, base: u64, bytes: &'a [u8]) -> Result<Entry<'a>, AccountError> {
    match Entry::decode(bytes) {
        Ok(entry) if entry.base == base => Ok(entry),
        Ok(entry) => {
            let reason = format!("it holds the entry of offset {}", entry.base);
            Err(AccountError::Damaged { name: store.entry_name(chain, base), reason })
        }
        Err(error) => Err(damaged(store.entry_name(chain, base), &error)),
    }
}

async fn epoch_record(store: &dyn Store, agent: &str, epoch: u32) -> Result<EpochRecord, AccountError> {
    let record = store.epoch(agent, epoch).await?.unwrap_or_default();
    let name = || store.object_name(Place::Epochs(agent), epoch.into());
    EpochRecord::decode(&record).map_err(|error| damaged(name(), &error))
}

fn damaged(name: String, error: &dyn std::fmt::Display) -> AccountError {
    AccountError::Damaged { name, reason: error.to_string() }
}

fn nearest(name: &str, names: Vec<String>) -> Option<String> {
    let scored = names.into_iter().map(|known| (strsim::normalized_damerau_levenshtein(name, &known), known));
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(score, _)| *score > 0.4).map(|(_, known)| known)
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

//! Drives the protocol's receivers: each [`Step`] they ask for becomes an operation of the store.
//!
//! The receivers decide, the store remembers; what lives here only saves work. A lock per agent keeps one hub from racing
//! itself, and the tips of chains spare listings. Both may be lost or wrong at any time: whoever commits
//! where something begins already reads the chain again.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::DefaultHashBuilder;
use parking_lot::RwLock;
use pyralog_sync_protocol::entry::{Content, Entry};
use pyralog_sync_protocol::frame::{Refusal, RefusalKind, Reply};
use pyralog_sync_protocol::receiver::Terms;
use pyralog_sync_protocol::{AgentId, Answer, BatchReceiver, Epoch, HelloReceiver, LogName, Step};
use tokio::sync::{Mutex, MutexGuard};

use crate::store::{Chain, Put, SharedStore, StoreError};

mod tips;

use tips::Tips;

/// Locks shared by all agents; two agents on one lock wait for each other now and then, which costs time alone.
const LOCKS: usize = 1024;

/// How long a request waits for an earlier one of its agent: long enough for the store, and short enough that one agent
/// cannot hold all places in work.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// When to try again at least, if the store is damaged where the agent's data should go.
const DAMAGED_RETRY: Duration = Duration::from_secs(60);

/// Steps that one request may take: above what the largest batch needs (8,192 frames, each retried a few times).
const MAX_STEPS: usize = 100_000;

/// Answers hellos and batches.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    store: SharedStore,
    terms: RwLock<Terms>,
    locks: Vec<Mutex<()>>,
    hasher: DefaultHashBuilder,
    tips: Tips,
}

/// What a request did, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Entries created.
    pub entries: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Records committed.
    pub records: u64,
    /// Records receipted.
    pub receipted: u64,
}

/// A reply, and what was done for it.
#[derive(Debug)]
pub struct Outcome {
    /// What to send.
    pub reply: Reply,
    /// What is durable now that was not before.
    pub done: Done,
    /// Set when the store failed.
    pub store_error: Option<StoreError>,
}

impl Inner {
    fn terms(&self) -> Terms {
        *self.terms.read()
    }
}

impl Sessions {
    /// Sessions of agents that the hub offers `terms`, kept in `store`.
    pub fn new(store: SharedStore, terms: Terms) -> Self {
        let locks = std::iter::repeat_with(|| Mutex::new(())).take(LOCKS).collect();
        let (hasher, tips) = (DefaultHashBuilder::default(), Tips::default());
        Self { inner: Arc::new(Inner { store, terms: RwLock::new(terms), locks, hasher, tips }) }
    }

    /// What agents are offered.
    pub fn terms(&self) -> Terms {
        self.inner.terms()
    }

    /// Offers agents `terms` from now on.
    pub(crate) fn offer(&self, terms: Terms) {
        *self.inner.terms.write() = terms;
    }

    /// Takes a hello; `now` in Unix nanoseconds.
    pub async fn hello(&self, agent: &AgentId, body: &[u8], now: i64) -> Outcome {
        let Some(_one_at_a_time) = self.lock(agent).await else { return self.occupied() };
        let mut receiver = HelloReceiver::new(body, self.inner.terms(), now);
        // A hello is rare and decides what an agent believes lost: it always reads the store itself.
        let mut driver = Driver::new(&self.inner, agent, false);
        for _ in 0..MAX_STEPS {
            if let Step::Reply(reply) = receiver.poll() {
                return driver.outcome(reply.clone());
            }
            match driver.take(receiver.poll()).await {
                Ok(answer) => receiver.handle(answer),
                Err(error) => return driver.failed(error),
            }
        }
        driver.too_long()
    }

    /// Takes a batch; `now` in Unix nanoseconds. An acknowledgement means that all of the batch is durable.
    pub async fn batch(&self, agent: &AgentId, body: &Bytes, now: i64) -> Outcome {
        let Some(_one_at_a_time) = self.lock(agent).await else { return self.occupied() };
        let mut driver = Driver::new(&self.inner, agent, true);
        let outcome = drive_batch(&mut driver, body, now).await;
        if driver.unconfirmed.is_empty() || outcome.store_error.is_some() {
            return outcome;
        }
        // Another hub may have gone on since a tip was kept, and an answer with an old cursor would mislead the agent.
        let mut again = Driver { use_cache: false, unconfirmed: BTreeSet::new(), ..driver };
        drive_batch(&mut again, body, now).await
    }

    /// Waits until no other request of the agent is in work, within reason.
    async fn lock(&self, agent: &AgentId) -> Option<MutexGuard<'_, ()>> {
        let slot = self.inner.hasher.hash_one(agent.as_str()) as usize % self.inner.locks.len().max(1);
        tokio::time::timeout(LOCK_WAIT, self.inner.locks[slot].lock()).await.ok()
    }

    fn occupied(&self) -> Outcome {
        let retry_after = self.inner.terms().retry_after;
        let detail = "an earlier request of this agent is still in work";
        let reply = Reply::Refusal(Refusal::new(RefusalKind::Busy { retry_after }, detail, Vec::new()));
        Outcome { reply, done: Done::default(), store_error: None }
    }
}

async fn drive_batch(driver: &mut Driver<'_>, body: &Bytes, now: i64) -> Outcome {
    let mut receiver = BatchReceiver::new(body, driver.inner.terms(), now);
    for _ in 0..MAX_STEPS {
        if let Step::Reply(reply) = receiver.poll() {
            return driver.outcome(reply.clone());
        }
        match driver.take(receiver.poll()).await {
            Ok(answer) => receiver.handle(answer),
            Err(error) => return driver.failed(error),
        }
    }
    driver.too_long()
}

/// Takes the steps of one request.
struct Driver<'a> {
    inner: &'a Inner,
    agent: &'a str,
    use_cache: bool,
    /// Logs whose tip came from memory, and where no commit has shown yet that it is still the end of the chain.
    unconfirmed: BTreeSet<LogName>,
    done: Done,
}

impl<'a> Driver<'a> {
    fn new(inner: &'a Inner, agent: &'a AgentId, use_cache: bool) -> Self {
        Self { inner, agent: agent.as_str(), use_cache, unconfirmed: BTreeSet::new(), done: Done::default() }
    }

    async fn take(&mut self, step: &Step) -> Result<Answer, StoreError> {
        let (store, agent) = (&self.inner.store, self.agent);
        Ok(match step {
            Step::ReadEpoch => {
                let known = self.inner.tips.epoch(agent);
                let newest = store.last_epoch(agent, known).await?;
                let found = newest.as_ref().map_or(0, |(epoch, _)| *epoch);
                if found < known {
                    tracing::error!(agent, known, found, "the store lost an epoch: it was emptied or restored");
                    self.inner.tips.clear();
                }
                self.inner.tips.set_epoch(agent, found);
                Answer::Epoch(newest.map(|(epoch, record)| (Epoch(epoch), record.to_vec())))
            }
            Step::CreateEpoch { epoch, record } => {
                let record = Bytes::copy_from_slice(record);
                Answer::Created(store.create_epoch(agent, epoch.0, record).await? == Put::Created)
            }
            Step::IsClosed { epoch } => Answer::Exists(store.is_closed(agent, epoch.0).await?),
            Step::MarkClosed { epoch } => {
                store.mark_closed(agent, epoch.0).await?;
                Answer::Done
            }
            Step::ReadHeads { epoch } => Answer::Record(store.heads(agent, epoch.0).await?.map(|heads| heads.to_vec())),
            Step::PutHeads { epoch, sum, record } => {
                store.put_heads(agent, epoch.0, *sum, Bytes::copy_from_slice(record)).await?;
                Answer::Done
            }
            Step::ReadRegister { epoch } => Answer::Register(self.register(epoch.0).await?),
            Step::PutRegister { epoch, position, record } => {
                let bytes = Bytes::copy_from_slice(record);
                let put = store.put_register(agent, epoch.0, *position, bytes).await?;
                if put == Put::Created {
                    self.inner.tips.append_register(agent, epoch.0, *position, record);
                }
                Answer::Created(put == Put::Created)
            }
            Step::ReadLast { epoch, log } => Answer::Record(self.last(*epoch, log).await?),
            Step::HasSchema { fingerprint } => Answer::Exists(self.has_schema(fingerprint.0).await?),
            Step::PutSchema { fingerprint, schema } => {
                if !self.has_schema(fingerprint.0).await? {
                    store.put_schema(agent, fingerprint.0, Bytes::copy_from_slice(schema)).await?;
                    self.inner.tips.set_stored(agent, fingerprint.0);
                }
                Answer::Done
            }
            Step::Commit { epoch, log, base, entry } => self.commit(*epoch, log, *base, entry).await?,
            // Both drive loops look for a reply before they take a step.
            Step::Reply(_) => Answer::Done,
        })
    }

    async fn has_schema(&self, fingerprint: [u8; 8]) -> Result<bool, StoreError> {
        if self.inner.tips.is_stored(self.agent, fingerprint) {
            return Ok(true);
        }
        let stored = self.inner.store.has_schema(self.agent, fingerprint).await?;
        if stored {
            self.inner.tips.set_stored(self.agent, fingerprint);
        }
        Ok(stored)
    }

    /// The register is only ever appended to, so what was read of it stays as it is.
    async fn register(&self, epoch: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut records = self.inner.tips.register(self.agent, epoch);
        let known = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let newer = self.inner.store.register(self.agent, epoch, known).await?;
        if !newer.is_empty() {
            records.extend(newer.iter().map(|record| record.to_vec()));
            self.inner.tips.set_register(self.agent, epoch, records.clone());
        }
        Ok(records)
    }

    async fn last(&mut self, epoch: Epoch, log: &LogName) -> Result<Option<Vec<u8>>, StoreError> {
        let chain = Chain { agent: self.agent, epoch: epoch.0, log: log.as_str() };
        if self.use_cache
            && let Some(tip) = self.inner.tips.tip(chain)
        {
            self.unconfirmed.insert(log.clone());
            return Ok(Some(tip));
        }
        let last = self.inner.store.last_entry(chain).await?;
        if let Some((_, entry)) = &last {
            self.inner.tips.set_tip(chain, entry);
        }
        Ok(last.map(|(_, entry)| entry.to_vec()))
    }

    async fn commit(&mut self, epoch: Epoch, log: &LogName, base: u64, entry: &[u8]) -> Result<Answer, StoreError> {
        let store = &self.inner.store;
        let chain = Chain { agent: self.agent, epoch: epoch.0, log: log.as_str() };
        let content = Entry::decode(entry).ok().and_then(|entry| entry.content().ok());
        if let Some(Content::Segment(segment)) = &content {
            let schema = segment.meta.schema.0;
            if !self.inner.tips.is_noted(chain, schema) {
                // Before the entry: a reader must find the columns of whatever it can see.
                store.note_schema(chain, schema).await?;
                self.inner.tips.set_noted(chain, schema);
            }
        }
        let put = store.commit(chain, base, Bytes::copy_from_slice(entry)).await?;
        self.unconfirmed.remove(log);
        if put == Put::Exists {
            self.inner.tips.forget_tip(chain);
            return Ok(Answer::Created(false));
        }
        self.inner.tips.set_tip(chain, entry);
        self.done.entries += 1;
        self.done.bytes += entry.len() as u64;
        match content {
            Some(Content::Segment(segment)) => self.done.records += u64::from(segment.meta.rows),
            Some(Content::Receipt(receipt)) => self.done.receipted += receipt.to.saturating_sub(receipt.from),
            None => {}
        }
        Ok(Answer::Created(true))
    }

    fn outcome(&mut self, reply: Reply) -> Outcome {
        Outcome { reply, done: self.done, store_error: None }
    }

    fn failed(&mut self, error: StoreError) -> Outcome {
        let terms = self.inner.terms().retry_after;
        let (retry_after, detail) = match &error {
            StoreError::Unavailable { .. } => (terms, format!("{error}; keep the data and try again later")),
            // It takes a person to mend it.
            StoreError::Damaged { .. } => (terms.max(DAMAGED_RETRY), format!("{error}; run pyralog-hub verify")),
        };
        let reply = Reply::Refusal(Refusal::new(RefusalKind::Busy { retry_after }, detail, Vec::new()));
        Outcome { reply, done: self.done, store_error: Some(error) }
    }

    fn too_long(&mut self) -> Outcome {
        let retry_after = self.inner.terms().retry_after;
        let detail = "the request took more steps than any honest one";
        let reply = Reply::Refusal(Refusal::new(RefusalKind::Busy { retry_after }, detail, Vec::new()));
        Outcome { reply, done: self.done, store_error: None }
    }
}

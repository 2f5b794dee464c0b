//! A store in NATS JetStream: entries in a stream (or several), the rest in a key-value bucket beside it.
//!
//! What a quorum of the stream's replicas has is durable; with `storage=memory` that means "as long as a quorum lives".
//! Nothing but hubs may delete: a stream with limits of its own is refused, and retention leaves each chain its last entry,
//! so no committed offset can ever look new.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{Chain, MAX_PAGE, Note, OpenError, OwnedChain, Place, Put, SharedStore, Store, StoreError, StoreFuture};
use entries::Entries;
use state::State;

mod connect;
mod entries;
mod exchange;
mod fit;
mod state;
mod subjects;
mod url;

pub use url::JetStreamUrl;

/// What a message takes beyond the object: its headers and the seal.
const MESSAGE: usize = 512;

/// What a segment of an agent may need: with less, one that does not compress is given up.
const ROOMY: usize = (1 << 20) + (64 << 10);

/// Streams of a NATS cluster as a [`Store`].
#[derive(Debug)]
struct JetStreamStore {
    address: String,
    connection: connect::Connection,
    shards: Vec<Entries>,
    state: State,
}

/// What to do about streams that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make them.
    Make,
    /// Say so.
    Refuse,
}

/// Opens the streams at `url`.
pub(super) async fn open(url: &JetStreamUrl, missing: Missing) -> Result<SharedStore, OpenError> {
    let connection = connect::Connection::open(url).await?;
    let (stream, prefix) = fit::state(&connection, url, missing).await?;
    let state = State { connection: connection.clone(), stream, prefix };
    fit::patiently(async || check_layout(&state, url).await).await?;
    let mut shards = Vec::new();
    for name in url.streams() {
        shards.push(Entries::new(connection.clone(), fit::entries(&connection, url, &name, missing).await?));
    }
    let store = JetStreamStore { address: url.to_string(), connection, shards, state };
    if let Some(room) = store.max_object().filter(|room| *room < ROOMY) {
        tracing::warn!(
            "NATS takes messages of {room} bytes at most, and a segment may have more: set max_payload: 8MB in the \
             servers' configuration, or segments that do not fit will be given up, with a receipt"
        );
    }
    Ok(Arc::new(store))
}

/// Agents stay in the stream where they began, so the number of streams is fixed by whoever came first.
async fn check_layout(state: &State, url: &JetStreamUrl) -> Result<(), OpenError> {
    let subject = format!("{}{}", state.prefix, subjects::LAYOUT);
    let wanted = format!("1 {}", url.shards);
    state.create_named(&subject, wanted.as_bytes()).await?;
    let found = state.read(&subject).await?.unwrap_or_default();
    match found == wanted {
        true => Ok(()),
        false => {
            let found = String::from_utf8_lossy(&found).into_owned();
            let shards = found.strip_prefix("1 ").unwrap_or("an unknown number of");
            Err(OpenError::Unfit(format!(
                "the store in {} has {shards} streams, and the address asks for {}: write ?shards={shards}",
                url.stream, url.shards
            )))
        }
    }
}

impl JetStreamStore {
    fn entries(&self, agent: &str) -> &Entries {
        let hash = blake3::hash(agent.as_bytes());
        let number = u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8]));
        &self.shards[(number % self.shards.len().max(1) as u64) as usize]
    }

    fn chain(&self, chain: Chain<'_>) -> (&Entries, String) {
        let entries = self.entries(chain.agent);
        (entries, subjects::chain(entries.name(), chain))
    }

    /// The chains of an agent, of one log or of all.
    async fn chains(&self, agent: &str, log: Option<&str>) -> Result<Vec<OwnedChain>, StoreError> {
        let entries = self.entries(agent);
        let filter = subjects::chains(entries.name(), Some(agent), log);
        let found = self.connection.subjects(entries.stream(), &filter).await?;
        Ok(found.iter().filter_map(|subject| subjects::chain_of(subject)).collect())
    }

    /// Those of all agents; `None` when they are too many for one listing.
    async fn chains_of_all(&self, log: Option<&str>) -> Result<Option<Vec<OwnedChain>>, StoreError> {
        let mut chains = Vec::new();
        for shard in &self.shards {
            let filter = subjects::chains(shard.name(), None, log);
            let room = exchange::LISTED_AT_ONCE.saturating_sub(chains.len());
            match self.connection.few_subjects(shard.stream(), &filter, room).await? {
                Some(found) => chains.extend(found.iter().filter_map(|subject| subjects::chain_of(subject))),
                None => return Ok(None),
            }
        }
        Ok(Some(chains))
    }

    async fn newest_epoch(&self, agent: &str) -> Result<Option<(u32, Bytes)>, StoreError> {
        let newest = self.state.newest(Place::Epochs(agent)).await?;
        Ok(newest.and_then(|(epoch, record)| Some((u32::try_from(epoch).ok()?, record))))
    }

    async fn new_epoch(&self, agent: &str, epoch: u32, record: Bytes) -> Result<Put, StoreError> {
        let register = Place::Register(agent, epoch);
        // An epoch whose record is gone is not given out again: see the directory store.
        if self.state.newest(register).await?.is_some()
            && self.state.get(Place::Epochs(agent), epoch.into()).await?.is_none()
        {
            return Err(StoreError::Damaged {
                name: self.state.subject(Place::Epochs(agent), epoch.into()),
                reason: "it is gone, and a register of this epoch is there".into(),
            });
        }
        self.state.create(Place::Epochs(agent), epoch.into(), &record).await
    }

    async fn new_schema(&self, agent: &str, fingerprint: u64, schema: Bytes) -> Result<Put, StoreError> {
        let place = Place::Schemas(agent);
        let put = self.state.create(place, fingerprint, &schema).await?;
        if put == Put::Exists && !self.has_whole(place, fingerprint).await? {
            self.state.replace(place, fingerprint, &schema).await?;
            tracing::warn!(object = %self.state.subject(place, fingerprint), "replaced a damaged schema by what an agent sent");
            return Ok(Put::Created);
        }
        Ok(put)
    }

    async fn has_whole(&self, place: Place<'_>, number: u64) -> Result<bool, StoreError> {
        match self.state.get(place, number).await {
            Ok(found) => Ok(found.is_some()),
            Err(StoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Store for JetStreamStore {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let shards = self.shards.iter().map(async |shard| {
                let answer = shard.stream().get_info().await;
                answer.map_err(|error| self.connection.failed("reach", shard.name(), exchange::chain_of(&error)))
            });
            try_join_all(shards).await?;
            self.state.check().await
        })
    }

    fn max_object(&self) -> Option<usize> {
        let of_streams = self.shards.iter().map(|shard| shard.stream().cached_info().config.max_message_size);
        let least = of_streams.filter_map(|size| usize::try_from(size).ok()).filter(|size| *size > 0).min();
        let of_servers = self.connection.client.server_info().max_payload;
        Some(least.unwrap_or(of_servers).min(of_servers).saturating_sub(MESSAGE))
    }

    fn last_epoch<'a>(&'a self, agent: &'a str, _known: u32) -> StoreFuture<'a, Option<(u32, Bytes)>> {
        Box::pin(self.newest_epoch(agent))
    }

    fn object<'a>(&'a self, place: Place<'a>, number: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            match place {
                Place::Entries(chain) => {
                    let (entries, subject) = self.chain(chain);
                    entries.entry(&subject, number).await
                }
                Place::Heads(..) => Ok(self.state.latest(place).await?.map(|(_, heads)| heads)),
                Place::Trimmed(_) => {
                    let latest = self.state.latest(place).await?;
                    Ok(latest.filter(|(below, _)| *below == number).map(|(_, mark)| mark))
                }
                _ => self.state.get(place, number).await,
            }
        })
    }

    fn numbers<'a>(&'a self, place: Place<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<u64>> {
        Box::pin(async move {
            if let Place::Entries(chain) = place {
                let (entries, subject) = self.chain(chain);
                return entries.bases(&subject, from, limit).await;
            }
            let mut numbers = match place {
                Place::Trimmed(_) => self.state.latest(place).await?.map(|(below, _)| below).into_iter().collect(),
                _ => self.state.numbers(place).await?,
            };
            numbers.retain(|number| *number >= from);
            numbers.truncate(limit.min(MAX_PAGE));
            Ok(numbers)
        })
    }

    fn object_name(&self, place: Place<'_>, number: u64) -> String {
        match place {
            Place::Entries(chain) => subjects::entry(&self.chain(chain).1, number),
            _ => self.state.subject(place, number),
        }
    }

    fn create_epoch<'a>(&'a self, agent: &'a str, epoch: u32, record: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.new_epoch(agent, epoch, record))
    }

    fn is_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, bool> {
        Box::pin(async move { Ok(self.state.get(Place::Closed(agent), epoch.into()).await?.is_some()) })
    }

    fn mark_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.state.create(Place::Closed(agent), epoch.into(), &[]).await })
    }

    fn heads<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { Ok(self.state.latest(Place::Heads(agent, epoch)).await?.map(|(_, heads)| heads)) })
    }

    fn put_heads<'a>(&'a self, agent: &'a str, epoch: u32, order: u64, heads: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.state.put_latest(Place::Heads(agent, epoch), order, &heads).await })
    }

    fn has_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8]) -> StoreFuture<'a, bool> {
        Box::pin(async move { self.has_whole(Place::Schemas(agent), u64::from_be_bytes(fingerprint)).await })
    }

    fn put_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8], schema: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.new_schema(agent, u64::from_be_bytes(fingerprint), schema))
    }

    fn note_schema<'a>(&'a self, chain: Chain<'a>, fingerprint: [u8; 8]) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.state.create(Place::Notes(chain), u64::from_be_bytes(fingerprint), &[]).await })
    }

    fn last_entry<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>> {
        Box::pin(async move {
            let (entries, subject) = self.chain(chain);
            entries.last_entry(&subject).await
        })
    }

    fn commit<'a>(&'a self, chain: Chain<'a>, base: u64, entry: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(async move {
            let (entries, subject) = self.chain(chain);
            entries.commit(&subject, base, &entry).await
        })
    }

    fn base_at<'a>(&'a self, chain: Chain<'a>, offset: u64) -> StoreFuture<'a, Option<u64>> {
        Box::pin(async move {
            let (entries, subject) = self.chain(chain);
            entries.base_at(&subject, offset).await
        })
    }

    fn trimmed<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>> {
        Box::pin(self.state.latest(Place::Trimmed(chain)))
    }

    fn put_trimmed<'a>(&'a self, chain: Chain<'a>, below: u64, mark: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.state.put_latest(Place::Trimmed(chain), below, &mark).await })
    }

    fn remove_entries<'a>(&'a self, chain: Chain<'a>, bases: &'a [u64]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (entries, subject) = self.chain(chain);
            entries.remove(&subject, bases).await
        })
    }

    fn entry_sizes<'a>(&'a self, chain: Chain<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<(u64, u64)>> {
        Box::pin(async move {
            let (entries, subject) = self.chain(chain);
            let listed = entries.list(&subject, from, limit).await?;
            Ok(listed.into_iter().map(|listed| (listed.base, listed.size)).collect())
        })
    }

    fn agents<'a>(&'a self, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move { Ok(page(self.state.agents().await?, after, limit)) })
    }

    fn logs<'a>(&'a self, agent: &'a str, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move {
            let mut logs: Vec<_> = self.chains(agent, None).await?.into_iter().map(|chain| chain.log).collect();
            logs.sort_unstable();
            logs.dedup();
            Ok(page(logs, after, limit))
        })
    }

    fn register<'a>(&'a self, agent: &'a str, epoch: u32, from: u32) -> StoreFuture<'a, Vec<Bytes>> {
        Box::pin(async move { self.state.register(Place::Register(agent, epoch), from.into()).await })
    }

    fn put_register<'a>(&'a self, agent: &'a str, epoch: u32, position: u32, record: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.state.create(Place::Register(agent, epoch), position.into(), &record).await })
    }

    fn all_chains<'a>(&'a self, log: Option<&'a str>) -> StoreFuture<'a, Option<Vec<OwnedChain>>> {
        Box::pin(self.chains_of_all(log))
    }

    fn all_notes<'a>(&'a self, log: &'a str) -> StoreFuture<'a, Option<Vec<Note>>> {
        Box::pin(self.state.notes(log))
    }

    fn log_epochs<'a>(&'a self, agent: &'a str, log: &'a str) -> StoreFuture<'a, Vec<u32>> {
        Box::pin(async move {
            let mut epochs: Vec<_> =
                self.chains(agent, Some(log)).await?.into_iter().map(|chain| chain.epoch).collect();
            epochs.sort_unstable();
            Ok(epochs)
        })
    }
}

/// Up to `limit` names above `after`, of names that ascend.
fn page(mut names: Vec<String>, after: Option<&str>, limit: usize) -> Vec<String> {
    names.retain(|name| after.is_none_or(|after| name.as_str() > after));
    names.truncate(limit.min(MAX_PAGE));
    names
}

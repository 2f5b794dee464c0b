//! Chains of entries: one subject each, whose messages are the chain in order.
//!
//! A commit is a publish that names the message which must be the subject's last, so of two hubs at one place one is beaten.
//! The last message is the cursor. Offsets are found by bisection over sequences, since bases ascend with them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config as Pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures_util::StreamExt;
use pyralog_sync_protocol::entry::Entry;

use super::connect::Connection;
use super::exchange::{BASE, PAUSE, Published, TRIES, chain_of};
use super::subjects;
use crate::recent::Recent;
use crate::store::{MAX_PAGE, Put, StoreError, seal};

/// Headers asked for at once.
const FETCH: usize = 4_096;

/// How long servers keep a listing that nobody asks to go on.
const LISTING: Duration = Duration::from_secs(30);

/// How often a listing may fail before its reader is told.
const LISTING_FAILURES: usize = 5;

/// Messages that a listing reads one by one, and their bytes, before it has the servers make a consumer: that takes each of them a
/// round of agreement, and most chains have few entries behind what their reader knows.
const STEPS: usize = 16;
const STEP_BYTES: usize = 256 << 10;

/// Ends of chains, and places of entries, remembered at most.
const REMEMBERED: usize = 32_768;

/// Bisections end after 64 halvings; this is for sequences that change meanwhile.
const MAX_PROBES: usize = 256;

/// In which servers say how long a message is of which they send the headers alone.
const NATS_MESSAGE_SIZE: &str = "Nats-Msg-Size";

/// One stream of entries.
#[derive(Debug)]
pub(super) struct Entries {
    connection: Connection,
    stream: Stream,
    /// By subject: the last message that was seen. A wrong one costs a round more, since the servers compare.
    ends: Mutex<Recent<Box<str>, End, REMEMBERED>>,
    /// By subject and base: the sequence of an entry. Entries never move, so this is never wrong, but they may be deleted.
    places: Mutex<Recent<(Box<str>, u64), u64, REMEMBERED>>,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    sequence: u64,
    /// The offset where the next entry begins.
    next: u64,
}

/// An entry in a listing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) base: u64,
    sequence: u64,
    /// Its length, without the seal.
    pub(super) size: u64,
}

/// A message that holds an entry.
struct Held {
    sequence: u64,
    base: u64,
    object: Bytes,
}

impl Entries {
    pub(super) fn new(connection: Connection, stream: Stream) -> Self {
        Self { connection, stream, ends: Mutex::default(), places: Mutex::default() }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn name(&self) -> &str {
        &self.stream.cached_info().config.name
    }

    /// Commits the entry of `base`, if the chain ends there.
    pub(super) async fn commit(&self, subject: &str, base: u64, entry: &[u8]) -> Result<Put, StoreError> {
        let next = match Entry::decode(entry) {
            Ok(entry) => entry.tip.cursor.next,
            Err(error) => return Err(StoreError::Damaged { name: subject.into(), reason: error.to_string() }),
        };
        let sealed = seal::put(&subjects::entry(subject, base), entry);
        for _ in 0..TRIES {
            let remembered = lock(&self.ends).get(subject).copied().filter(|end| end.next == base);
            let end = match remembered {
                Some(end) => end,
                None => self.end(subject).await?,
            };
            if end.next != base {
                return Ok(Put::Exists);
            }
            let published = self.connection.publish(subject, sealed.clone(), Some(base), Some(end.sequence)).await;
            match published {
                Ok(Published::At(sequence)) => {
                    lock(&self.ends).put(subject.into(), End { sequence, next });
                    lock(&self.places).put((subject.into(), base), sequence);
                    return Ok(Put::Created);
                }
                Ok(Published::Beaten) => {
                    lock(&self.ends).remove(subject);
                    if self.end(subject).await?.next != base {
                        return Ok(Put::Exists);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    // It may have been stored all the same.
                    lock(&self.ends).remove(subject);
                    return Err(error);
                }
            }
        }
        Err(self.connection.failed("write", subject, "another hub is amid writing there for too long"))
    }

    /// Where the chain ends, as its leader has it.
    async fn end(&self, subject: &str) -> Result<End, StoreError> {
        let end = match self.last(subject).await? {
            None => End { sequence: 0, next: 0 },
            Some((held, entry)) => {
                let decoded = Entry::decode(&entry)
                    .map_err(|error| damaged(subjects::entry(subject, held.base), error.to_string()))?;
                End { sequence: held.sequence, next: decoded.tip.cursor.next }
            }
        };
        lock(&self.ends).put(subject.into(), end);
        Ok(end)
    }

    async fn last(&self, subject: &str) -> Result<Option<(Held, Bytes)>, StoreError> {
        let Some(message) = self.connection.last(&self.stream, subject).await? else { return Ok(None) };
        let held = held(message)?;
        let entry = opened(subject, &held)?;
        Ok(Some((held, entry)))
    }

    /// The last entry, with its base.
    pub(super) async fn last_entry(&self, subject: &str) -> Result<Option<(u64, Bytes)>, StoreError> {
        Ok(self.last(subject).await?.map(|(held, entry)| (held.base, entry)))
    }

    /// The entry which begins at `base`.
    pub(super) async fn entry(&self, subject: &str, base: u64) -> Result<Option<Bytes>, StoreError> {
        let place = lock(&self.places).get(&(Box::from(subject), base)).copied();
        if let Some(sequence) = place
            && let Some(message) = self.connection.at(&self.stream, subject, sequence).await?
            && message.subject.as_str() == subject
        {
            return opened(subject, &held(message)?).map(Some);
        }
        match self.find(subject, base).await? {
            Some(held) if held.base == base => opened(subject, &held).map(Some),
            _ => Ok(None),
        }
    }

    /// The greatest base at or below `offset`.
    pub(super) async fn base_at(&self, subject: &str, offset: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.find(subject, offset).await?.map(|held| held.base))
    }

    /// The message whose entry has the greatest base at or below `offset`.
    async fn find(&self, subject: &str, offset: u64) -> Result<Option<Held>, StoreError> {
        let Some(last) = self.connection.last(&self.stream, subject).await? else { return Ok(None) };
        let last = held(last)?;
        if last.base <= offset {
            return Ok(Some(last));
        }
        let Some(first) = self.connection.next(&self.stream, subject, 1).await? else { return Ok(None) };
        let mut low = held(first)?;
        if low.base > offset {
            return Ok(None);
        }
        // All messages of the chain from here on begin above the offset.
        let mut high = last.sequence;
        for _ in 0..MAX_PROBES {
            if low.sequence + 1 >= high {
                break;
            }
            let middle = low.sequence + (high - low.sequence) / 2;
            match self.connection.next(&self.stream, subject, middle).await?.map(held).transpose()? {
                Some(found) if found.base <= offset => low = found,
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// Deletes the messages of these entries; the last of the chain is never among them, so what a commit is compared with stays.
    pub(super) async fn remove(&self, subject: &str, bases: &[u64]) -> Result<(), StoreError> {
        for base in bases {
            let key = (Box::from(subject), *base);
            let place = lock(&self.places).get(&key).copied();
            let sequence = match place {
                Some(sequence) => Some(sequence),
                None => self.find(subject, *base).await?.filter(|held| held.base == *base).map(|held| held.sequence),
            };
            let Some(sequence) = sequence else { continue };
            if let Err(error) = self.stream.delete_message(sequence).await {
                // Another hub may have deleted it.
                let left = self.connection.next(&self.stream, subject, sequence).await?;
                if left.is_some_and(|message| message.sequence == sequence) {
                    return Err(self.connection.failed("delete", subject, chain_of(&error)));
                }
            }
            lock(&self.places).remove(&key);
        }
        Ok(())
    }

    /// Up to `limit` bases from `from` on, ascending.
    pub(super) async fn bases(&self, subject: &str, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        Ok(self.list(subject, from, limit).await?.into_iter().map(|listed| listed.base).collect())
    }

    /// Up to `limit` entries from base `from` on, ascending.
    pub(super) async fn list(&self, subject: &str, from: u64, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let limit = limit.min(MAX_PAGE);
        let (mut bases, start) = self.walk(subject, from, limit).await?;
        let Some(mut start) = start else { return Ok(bases) };
        let mut failures = LISTING_FAILURES;
        // What serves the listing may lag behind the leader.
        for _ in 0..TRIES {
            let listed = match self.listed(subject, start, limit - bases.len()).await {
                Ok(listed) => listed,
                // What serves the listing is chosen anew each time: the last one may have just been killed.
                Err(_) if failures > 0 => {
                    failures -= 1;
                    tokio::time::sleep(PAUSE * 4).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            bases.extend(listed.iter().filter(|listed| listed.base >= from).copied());
            let seen = listed.last().map_or(start.saturating_sub(1), |listed| listed.sequence);
            if bases.len() >= limit {
                break;
            }
            match self.connection.last(&self.stream, subject).await? {
                Some(last) if last.sequence > seen => start = seen + 1,
                _ => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        bases.truncate(limit);
        Ok(bases)
    }

    /// The first of these entries, with the sequence from which on others have to be listed; `None` when these are all.
    async fn walk(&self, subject: &str, from: u64, limit: usize) -> Result<(Vec<Listed>, Option<u64>), StoreError> {
        let Some(last) = self.connection.last(&self.stream, subject).await? else { return Ok((Vec::new(), None)) };
        let last = held(last)?;
        let mut listed = Vec::new();
        if last.base < from || limit == 0 {
            return Ok((listed, None));
        }
        let found = if from > 0 { self.find(subject, from).await? } else { None };
        let mut at = match found {
            Some(found) => Some(found),
            // All that is left begins above.
            None => self.connection.next(&self.stream, subject, 1).await?.map(held).transpose()?,
        };
        let (mut steps, mut bytes) = (0, 0);
        while let Some(found) = at {
            if found.base >= from {
                listed.push(self.placed(subject, found.base, found.sequence, found.object.len() as u64));
            }
            if found.sequence >= last.sequence || listed.len() >= limit {
                return Ok((listed, None));
            }
            let next = found.sequence + 1;
            (steps, bytes) = (steps + 1, bytes + found.object.len());
            if steps >= STEPS || bytes >= STEP_BYTES {
                return Ok((listed, Some(next)));
            }
            at = self.connection.next(&self.stream, subject, next).await?.map(held).transpose()?;
        }
        Ok((listed, None))
    }

    /// Remembers where an entry is, whose message has `size` bytes.
    fn placed(&self, subject: &str, base: u64, sequence: u64, size: u64) -> Listed {
        lock(&self.places).put((Box::from(subject), base), sequence);
        Listed { base, sequence, size: size.saturating_sub(seal::LEN as u64) }
    }

    /// Entries from sequence `start` on: headers alone travel.
    async fn listed(&self, subject: &str, start: u64, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let failed = |error: &dyn std::error::Error| self.connection.failed("list", subject, chain_of(error));
        let config = Pull {
            filter_subject: subject.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: LISTING,
            num_replicas: 1,
            memory_storage: true,
            ..Pull::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(|error| failed(&error))?;
        let mut left = usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX).min(limit);
        let mut found = Vec::new();
        while left > 0 {
            let fetch = consumer.fetch().max_messages(left.min(FETCH)).messages();
            let mut messages = fetch.await.map_err(|error| failed(&error))?;
            let before = found.len();
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| failed(&*error))?;
                let sequence = message.info().map_err(|error| failed(&*error))?.stream_sequence;
                let base = base_of(message.headers.as_ref(), &message.subject, sequence)?;
                let size = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_SIZE));
                let size: u64 = size.and_then(|size| size.as_str().parse().ok()).unwrap_or_default();
                found.push(self.placed(subject, base, sequence, size));
                left -= 1;
            }
            if found.len() == before {
                break;
            }
        }
        // It would go by itself after a while.
        let _ = self.stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(found)
    }
}

fn held(message: StreamMessage) -> Result<Held, StoreError> {
    let base = base_of(Some(&message.headers), &message.subject, message.sequence)?;
    Ok(Held { sequence: message.sequence, base, object: message.payload })
}

fn base_of(headers: Option<&async_nats::HeaderMap>, subject: &str, sequence: u64) -> Result<u64, StoreError> {
    let base = headers.and_then(|headers| headers.get(BASE)).and_then(|base| base.as_str().parse().ok());
    base.ok_or_else(|| {
        damaged(format!("{subject}, message {sequence}"), format!("no hub wrote it: it has no header {BASE}"))
    })
}

fn opened(subject: &str, held: &Held) -> Result<Bytes, StoreError> {
    let name = subjects::entry(subject, held.base);
    seal::open(&name, held.object.clone()).map_err(|reason| damaged(name, reason.into()))
}

fn damaged(name: String, reason: String) -> StoreError {
    StoreError::Damaged { name, reason }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What is no entry: small objects in a key-value bucket, one key each, sealed like the objects of a directory.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::connect::Connection;
use super::exchange::{LISTED_AT_ONCE, PAUSE, Published, TRIES, chain_of};
use super::subjects;
use crate::store::{Note, Place, Put, StoreError, seal};

/// Records of a register read at once.
const AT_ONCE: usize = 32;

/// Most records of a register that one call reads: all the logs that an epoch may have, twice over.
const MAX_REGISTER: u64 = 4_096;

/// The bucket.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) connection: Connection,
    pub(super) stream: Stream,
    /// What stands before each key: `$KV.{bucket}.`
    pub(super) prefix: String,
}

impl State {
    pub(super) fn subject(&self, place: Place<'_>, number: u64) -> String {
        format!("{}{}", self.prefix, subjects::key(place, number))
    }

    pub(super) async fn get(&self, place: Place<'_>, number: u64) -> Result<Option<Bytes>, StoreError> {
        self.read(&self.subject(place, number)).await
    }

    /// The object with this name in the bucket.
    pub(super) async fn read(&self, subject: &str) -> Result<Option<Bytes>, StoreError> {
        self.connection.last(&self.stream, subject).await?.map(unsealed).transpose()
    }

    pub(super) async fn create(&self, place: Place<'_>, number: u64, object: &[u8]) -> Result<Put, StoreError> {
        self.create_named(&self.subject(place, number), object).await
    }

    /// Creates an object, unless one has the name.
    pub(super) async fn create_named(&self, subject: &str, object: &[u8]) -> Result<Put, StoreError> {
        for _ in 0..TRIES {
            let sealed = seal::put(subject, object);
            match self.connection.publish(subject, sealed, None, Some(0)).await? {
                Published::At(_) => return Ok(Put::Created),
                // What the leader shows is what a quorum has.
                Published::Beaten if self.connection.last(&self.stream, subject).await?.is_some() => {
                    return Ok(Put::Exists);
                }
                Published::Beaten => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(self.connection.failed("write", subject, "another hub is amid writing it for too long"))
    }

    /// Writes an object over what has the name.
    pub(super) async fn replace(&self, place: Place<'_>, number: u64, object: &[u8]) -> Result<(), StoreError> {
        let subject = self.subject(place, number);
        let sealed = seal::put(&subject, object);
        self.connection.publish(&subject, sealed, None, None).await.map(|_| ())
    }

    /// Stores the newest object of a place that keeps no other, unless a newer one is there: its order is a part of what is stored.
    pub(super) async fn put_latest(&self, place: Place<'_>, order: u64, latest: &[u8]) -> Result<Put, StoreError> {
        let subject = self.subject(place, 0);
        let mut object = order.to_be_bytes().to_vec();
        object.extend_from_slice(latest);
        for _ in 0..TRIES {
            let last = self.connection.last(&self.stream, &subject).await?;
            let after = last.as_ref().map_or(0, |message| message.sequence);
            // What is damaged is worth less than this.
            let newest = last.and_then(|message| unsealed(message).ok()).and_then(|object| split_order(&object));
            if newest.is_some_and(|(newest, _)| newest >= order) {
                return Ok(Put::Exists);
            }
            let sealed = seal::put(&subject, &object);
            match self.connection.publish(&subject, sealed, None, Some(after)).await? {
                Published::At(_) => return Ok(Put::Created),
                Published::Beaten => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(self.connection.failed("write", subject, "other hubs write it all the time"))
    }

    /// The one object of such a place, with its order.
    pub(super) async fn latest(&self, place: Place<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
        let subject = self.subject(place, 0);
        let Some(object) = self.read(&subject).await? else { return Ok(None) };
        match split_order(&object) {
            Some(latest) => Ok(Some(latest)),
            None => Err(StoreError::Damaged { name: subject, reason: "it is too short for what it should be".into() }),
        }
    }

    /// The object of a place that was created last, with its number.
    pub(super) async fn newest(&self, place: Place<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
        let filter = format!("{}{}", self.prefix, subjects::keys(place));
        let Some(message) = self.connection.last(&self.stream, &filter).await? else { return Ok(None) };
        let subject = message.subject.to_string();
        let Some(number) = subjects::number(place, &subject) else {
            return Err(StoreError::Damaged { name: subject, reason: "its name has no number".into() });
        };
        Ok(Some((number, unsealed(message)?)))
    }

    /// The numbers of the objects in a place, ascending.
    pub(super) async fn numbers(&self, place: Place<'_>) -> Result<Vec<u64>, StoreError> {
        let filter = format!("{}{}", self.prefix, subjects::keys(place));
        let keys = self.connection.subjects(&self.stream, &filter).await?;
        let mut numbers: Vec<_> = keys.iter().filter_map(|key| subjects::number(place, key)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A register's records from `from` on: they are dense, and created in order.
    pub(super) async fn register(&self, place: Place<'_>, from: u64) -> Result<Vec<Bytes>, StoreError> {
        let Some((last, _)) = self.newest(place).await? else { return Ok(Vec::new()) };
        let positions = from..last.saturating_add(1).min(from.saturating_add(MAX_REGISTER));
        let reads = positions.map(|position| self.get(place, position));
        let records: Vec<Option<Bytes>> = futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        // A record that is gone ends what is known, as anywhere.
        Ok(records.into_iter().map_while(|record| record).collect())
    }

    /// Ids of all agents, ascending.
    pub(super) async fn agents(&self) -> Result<Vec<String>, StoreError> {
        let filter = format!("{}{}", self.prefix, subjects::first_epochs());
        let found = self.connection.subjects(&self.stream, &filter).await?;
        let keys = found.iter().filter_map(|subject| subject.strip_prefix(&self.prefix));
        let mut agents: Vec<_> = keys.filter_map(subjects::agent).collect();
        agents.sort_unstable();
        Ok(agents)
    }

    /// The schemas noted for all chains of a log; `None` when they are too many for one listing.
    pub(super) async fn notes(&self, log: &str) -> Result<Option<Vec<Note>>, StoreError> {
        let filter = format!("{}{}", self.prefix, subjects::notes(log));
        let Some(found) = self.connection.few_subjects(&self.stream, &filter, LISTED_AT_ONCE).await? else {
            return Ok(None);
        };
        let keys = found.iter().filter_map(|subject| subject.strip_prefix(&self.prefix));
        Ok(Some(keys.filter_map(subjects::note).map(|(chain, schema)| (chain, schema.to_be_bytes())).collect()))
    }

    /// Whether the bucket has a leader that answers.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        match self.stream.get_info().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.connection.failed("reach", self.prefix.as_str(), chain_of(&error))),
        }
    }
}

fn unsealed(message: StreamMessage) -> Result<Bytes, StoreError> {
    seal::open(&message.subject, message.payload)
        .map_err(|reason| StoreError::Damaged { name: message.subject.to_string(), reason: reason.into() })
}

fn split_order(object: &Bytes) -> Option<(u64, Bytes)> {
    let order = object.first_chunk()?;
    Some((u64::from_be_bytes(*order), object.slice(order.len()..)))
}

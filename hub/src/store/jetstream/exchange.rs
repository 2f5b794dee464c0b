//! What is asked of a cluster: publish if nothing came in between, and reads that its leader answers.
//!
//! A follower may lag behind what was acknowledged, and a hub that took its answer for the truth would mislead an agent; so
//! whatever an acknowledgement rests on is asked of the leader (`STREAM.MSG.GET`), and only bytes that are known to exist are
//! taken from anywhere (`DIRECT.GET`).

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::connect::Connection;
use crate::store::StoreError;

/// Tries where another hub is amid a write to the same subject, and the pause between two.
pub(super) const TRIES: usize = 20;
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Subjects that one listing takes at most: 100 bytes each, and beyond any fleet that one stream should carry.
const MAX_SUBJECTS: usize = 1 << 20;

/// Subjects of a whole fleet that are listed at once; beyond, its agents are asked one by one.
pub(super) const LISTED_AT_ONCE: usize = 100_000;

/// The header that says where an entry begins.
pub(super) const BASE: &str = "Pyralog-Base";

/// What a publish came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// A quorum has it, under this sequence.
    At(u64),
    /// Something else was published on the subject, or is about to be.
    Beaten,
}

impl Connection {
    /// Publishes, if the last message of the subject is the one with sequence `after` (0: if there is none).
    pub(super) async fn publish(
        &self,
        subject: &str,
        object: Bytes,
        base: Option<u64>,
        after: Option<u64>,
    ) -> Result<Published, StoreError> {
        let mut message = PublishMessage::build().payload(object);
        if let Some(base) = base {
            message = message.header(BASE, base.to_string().as_str());
        }
        if let Some(after) = after {
            message = message.expected_last_subject_sequence(after);
        }
        let sent = self.streams.send_publish(subject.to_owned(), message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledged) => Ok(Published::At(acknowledged.sequence)),
            Err(error) if is_beaten(&error) => Ok(Published::Beaten),
            Err(error) => Err(self.failed("write", subject, words(&error))),
        }
    }

    /// The last message whose subject fits `filter`.
    pub(super) async fn last(&self, stream: &Stream, filter: &str) -> Result<Option<StreamMessage>, StoreError> {
        self.found(filter, stream.get_last_raw_message_by_subject(filter).await)
    }

    /// The first message from `sequence` on whose subject fits `filter`.
    pub(super) async fn next(
        &self,
        stream: &Stream,
        filter: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let request = stream.raw_message_builder().next_by_subject(filter).sequence(sequence);
        self.found(filter, request.send().await)
    }

    /// The message with this sequence, from any server that has it.
    pub(super) async fn at(
        &self,
        stream: &Stream,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, StoreError> {
        if let Ok(message) = stream.direct_get(sequence).await {
            return Ok(Some(message));
        }
        self.found(subject, stream.get_raw_message(sequence).await)
    }

    fn found(
        &self,
        name: &str,
        answer: Result<StreamMessage, async_nats::jetstream::stream::RawMessageError>,
    ) -> Result<Option<StreamMessage>, StoreError> {
        match answer {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                _ => Err(self.failed("read", name, chain_of(&error))),
            },
        }
    }

    /// Subjects that fit `filter` and have messages, in no order.
    pub(super) async fn subjects(&self, stream: &Stream, filter: &str) -> Result<Vec<String>, StoreError> {
        let subjects = self.few_subjects(stream, filter, MAX_SUBJECTS).await?;
        subjects.ok_or_else(|| {
            let error = format!("there are more than {MAX_SUBJECTS}: divide agents among shards");
            self.failed("list", filter, error)
        })
    }

    /// The same; `None` when there are more than `most`.
    pub(super) async fn few_subjects(
        &self,
        stream: &Stream,
        filter: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let failed = |error: &dyn std::error::Error| self.failed("list", filter, chain_of(error));
        let mut pages = stream.info_with_subjects(filter).await.map_err(|error| failed(&error))?;
        let mut subjects = Vec::new();
        while let Some((subject, _)) = pages.try_next().await.map_err(|error| failed(&error))? {
            if subjects.len() >= most {
                return Ok(None);
            }
            subjects.push(subject);
        }
        Ok(Some(subjects))
    }
}

fn is_beaten(error: &PublishError) -> bool {
    let code = error.source().and_then(|source| source.downcast_ref::<ServerError>()).map(ServerError::error_code);
    error.kind() == PublishErrorKind::WrongLastSequence
        || code.is_some_and(|code| code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

fn words(error: &PublishError) -> String {
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            "nobody answers for the stream: it has no leader at present, or it was removed".into()
        }
        PublishErrorKind::TimedOut => {
            "no acknowledgement in time: too few servers of the cluster are up to agree, or they are overloaded".into()
        }
        PublishErrorKind::MaxPayloadExceeded => {
            format!("{}: raise max_payload of the servers", chain_of(error))
        }
        _ => chain_of(error),
    }
}

/// An error with what caused it.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = inner.source();
    }
    words
}

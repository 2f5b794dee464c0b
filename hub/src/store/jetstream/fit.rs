//! Whether streams are as a hub needs them, and the command that makes them so.
//!
//! What may not differ is what the promise rests on: nothing may vanish by itself (limits of age, number and size per
//! subject), nothing may be thrown out to make room, and what was acknowledged must have as many copies as were asked for.

use std::time::{Duration, Instant};

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use super::Missing;
use super::connect::Connection;
use super::exchange::chain_of;
use super::url::{JetStreamUrl, word};
use crate::store::OpenError;

/// What NATS makes its key-value buckets of.
const KV: &str = "KV_";

/// How long a hub that starts waits for streams to have leaders, and its pause between two looks.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(500);

const NO_JETSTREAM: &str = "these servers have no JetStream: start them with -js, or with jetstream {} in their file";

/// Copies made in a cluster when no number is asked for: two of three decide, and one may be lost.
const COPIES: usize = 3;

/// The stream of entries called `name`, made if it is not there.
pub(super) async fn entries(
    connection: &Connection,
    url: &JetStreamUrl,
    name: &str,
    missing: Missing,
) -> Result<Stream, OpenError> {
    let config = Config {
        subjects: vec![format!("{name}.>")],
        description: Some("Entries of Pyralog agents; hubs delete old ones, and nothing else may".into()),
        max_messages_per_subject: -1,
        allow_direct: true,
        ..wanted(connection, url, name.to_owned())
    };
    open(connection, url, config, missing).await
}

/// The bucket of what is no entry: a key-value bucket as any client of NATS knows it.
pub(super) async fn state(
    connection: &Connection,
    url: &JetStreamUrl,
    missing: Missing,
) -> Result<(Stream, String), OpenError> {
    let bucket = url.bucket();
    let subjects = format!("$KV.{bucket}.");
    let config = Config {
        subjects: vec![format!("{subjects}>")],
        description: Some("Epochs, registers and schemas of Pyralog agents".into()),
        max_messages_per_subject: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..wanted(connection, url, format!("{KV}{bucket}"))
    };
    Ok((open(connection, url, config, missing).await?, subjects))
}

fn wanted(connection: &Connection, url: &JetStreamUrl, name: String) -> Config {
    let is_cluster = connection.client.server_info().cluster.is_some();
    Config {
        name,
        max_bytes: -1,
        max_messages: -1,
        max_consumers: -1,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: url.storage.unwrap_or(StorageType::File),
        num_replicas: url.replicas.unwrap_or(if is_cluster { COPIES } else { 1 }),
        ..Config::default()
    }
}

async fn open(
    connection: &Connection,
    url: &JetStreamUrl,
    wanted: Config,
    missing: Missing,
) -> Result<Stream, OpenError> {
    patiently(async || open_now(connection, url, wanted.clone(), missing).await).await
}

/// Tries for as long as a stream may be without a leader: after a crash, and when it was just made, servers elect one within nine seconds.
pub(super) async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let began = Instant::now();
    loop {
        match attempt().await {
            Err(OpenError::Store(error)) if began.elapsed() < PATIENCE => {
                tracing::warn!("{error}; trying again for {PATIENCE:?}");
                tokio::time::sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

async fn open_now(
    connection: &Connection,
    url: &JetStreamUrl,
    wanted: Config,
    missing: Missing,
) -> Result<Stream, OpenError> {
    let name = wanted.name.clone();
    let created = match connection.streams.get_stream(&name).await {
        Ok(stream) => return fit(url, &wanted, stream),
        Err(error) if missing == Missing::Make && is_not_there(&error) => {
            connection.streams.create_stream(wanted.clone()).await
        }
        Err(error) if is_not_there(&error) => {
            return Err(OpenError::Unfit(format!(
                "there is no stream {name}: a hub makes it when it starts on this store"
            )));
        }
        Err(error) => return Err(cannot_open(connection, &name, &error)),
    };
    let error = match created {
        Ok(_) => {
            tracing::info!(
                stream = name,
                replicas = wanted.num_replicas,
                storage = word(wanted.storage),
                "made a stream"
            );
            // Another hub may have made it a moment ago, otherwise.
            let made = connection.streams.get_stream(&name).await;
            return fit(url, &wanted, made.map_err(|error| connection.failed("open", name, error))?);
        }
        Err(error) => error,
    };
    let unfit = |reason: String| Err(OpenError::Unfit(format!("cannot make the stream {name}: {reason}")));
    match error.kind() {
        CreateStreamErrorKind::JetStreamUnavailable => unfit(NO_JETSTREAM.into()),
        CreateStreamErrorKind::JetStream(words) => match words.error_code() {
            ErrorCode::CLUSTER_NO_PEERS | ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => unfit(format!(
                "{words}: {} copies need as many servers in one cluster; start them, or ask for one copy with ?replicas=1",
                wanted.num_replicas
            )),
            ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED => unfit(format!(
                "{words}: give JetStream more room (max_file_store, max_memory_store), or name another storage"
            )),
            // Made by another hub meanwhile, and not alike.
            ErrorCode::STREAM_NAME_EXIST => match connection.streams.get_stream(&name).await {
                Ok(stream) => fit(url, &wanted, stream),
                Err(error) => Err(connection.failed("open", name, error).into()),
            },
            ErrorCode::STREAM_SUBJECT_OVERLAP => unfit(format!(
                "{words}: another stream has its subjects {}; name another stream in the store's address",
                wanted.subjects.join(", ")
            )),
            _ => Err(connection.failed("make", name, words).into()),
        },
        _ => Err(connection.failed("make", name, error).into()),
    }
}

fn is_not_there(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(words) if words.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn cannot_open(connection: &Connection, name: &str, error: &GetStreamError) -> OpenError {
    match error.kind() {
        GetStreamErrorKind::JetStream(words) if words.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED => {
            OpenError::Unfit(NO_JETSTREAM.into())
        }
        GetStreamErrorKind::Request if !connection.client.server_info().jetstream => {
            OpenError::Unfit(NO_JETSTREAM.into())
        }
        _ => connection.failed("open the stream", name, chain_of(error)).into(),
    }
}

/// The stream, if it is as it must be; else every difference, and the command that mends it.
fn fit(url: &JetStreamUrl, wanted: &Config, stream: Stream) -> Result<Stream, OpenError> {
    let differences = differences(url, wanted, &stream.cached_info().config);
    if differences.is_empty() {
        return Ok(stream);
    }
    let name = &wanted.name;
    let mut text = format!("the stream {name} is not as a store must be:");
    let mut flags = String::new();
    let mut needs_another = false;
    for difference in differences {
        text.push_str(&format!("\n  {}", difference.words));
        match difference.flag {
            Some(flag) => flags.push_str(&format!(" {flag}")),
            None => needs_another = true,
        }
    }
    if !flags.is_empty() {
        text.push_str(&format!("\nto mend it: nats stream edit {name}{flags}"));
    }
    if needs_another {
        text.push_str("\nwhat cannot be edited needs another stream: name one in the store's address");
    }
    Err(OpenError::Unfit(text))
}

struct Difference {
    words: String,
    /// What `nats stream edit` is told; `None` for what cannot be edited.
    flag: Option<String>,
}

fn differences(url: &JetStreamUrl, wanted: &Config, found: &Config) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |differs: bool, words: String, flag: Option<String>| {
        if differs {
            differences.push(Difference { words, flag });
        }
    };
    let flag = |text: &str| Some(text.to_owned());
    let subjects = wanted.subjects.join(", ");
    differ(
        found.subjects != wanted.subjects,
        format!("subjects: {} instead of {subjects}", found.subjects.join(", ")),
        flag(&format!("--subjects='{subjects}'")),
    );
    differ(
        url.replicas.is_some() && found.num_replicas != wanted.num_replicas,
        format!("replicas: {} instead of {}", found.num_replicas, wanted.num_replicas),
        flag(&format!("--replicas={}", wanted.num_replicas)),
    );
    differ(
        url.storage.is_some() && found.storage != wanted.storage,
        format!("storage: {} instead of {}", word(found.storage), word(wanted.storage)),
        None,
    );
    differ(
        found.retention != RetentionPolicy::Limits,
        format!("retention: {:?} instead of Limits, so reading would delete", found.retention),
        None,
    );
    differ(
        found.discard != DiscardPolicy::New,
        "discard: old instead of new, so a full stream would throw out what was acknowledged".into(),
        flag("--discard=new"),
    );
    differ(
        !found.max_age.is_zero(),
        format!("max age: {} instead of none, so records would vanish", humantime::format_duration(found.max_age)),
        flag("--max-age=0"),
    );
    let per_subject = wanted.max_messages_per_subject;
    differ(
        found.max_messages_per_subject != per_subject && (per_subject > 0 || found.max_messages_per_subject > 0),
        format!("messages per subject: {} instead of {per_subject}", found.max_messages_per_subject),
        flag(&format!("--max-msgs-per-subject={per_subject}")),
    );
    differ(found.no_ack, "acknowledgements: none, so nothing could be promised".into(), flag("--ack"));
    differ(found.sealed, "sealed: nothing more can be stored".into(), None);
    differ(found.mirror.is_some() || found.sources.is_some(), "it is a copy of other streams".into(), None);
    differ(found.deny_delete && !wanted.deny_delete, "deletes are denied, so retention could not work".into(), None);
    differ(found.deny_purge, "purges are denied, so retention could not work".into(), None);
    differ(!found.allow_direct, "direct reads are off".into(), flag("--allow-direct"));
    differences
}

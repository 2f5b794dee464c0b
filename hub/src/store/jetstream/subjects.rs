//! Names of things in NATS. Entries of a chain have one subject, everything else one key each in the bucket:
//!
//! ```text
//! {STREAM}.{agent}.{epoch:010}.{log}                        entries, in order; the base of each is in a header
//! $KV.{STREAM}-state.layout                                 how many streams there are
//! $KV.{STREAM}-state.{agent}.epochs.{epoch:010}             and so on, as in a directory: closed, schemas
//! $KV.{STREAM}-state.{agent}.register.{epoch:010}.{position:010}
//! $KV.{STREAM}-state.{agent}.heads.{epoch:010}              the newest heads alone
//! $KV.{STREAM}-state.{agent}.notes.{epoch:010}.{log}.{fingerprint hex}
//! $KV.{STREAM}-state.{agent}.trimmed.{epoch:010}.{log}      the newest mark of retention alone
//! ```
//!
//! Agents and logs are percent-encoded down to `[A-Za-z0-9_-]` with `=` for `%`: what a token of a subject and a key of a
//! bucket may both hold.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::super::names::{Digits, digits};
use crate::store::{Chain, OwnedChain, Place};

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// The key of the layout; other keys have more parts.
pub(super) const LAYOUT: &str = "layout";

/// The subject of a chain, behind its stream's name.
pub(super) fn chain(stream: &str, chain: Chain<'_>) -> String {
    format!("{stream}.{}.{:010}.{}", encode(chain.agent), chain.epoch, encode(chain.log))
}

/// The subjects of the chains of one agent or of all, of one log or of all.
pub(super) fn chains(stream: &str, agent: Option<&str>, log: Option<&str>) -> String {
    format!("{stream}.{}.*.{}", token(agent), token(log))
}

/// The chain of a subject that [`chains`] found.
pub(super) fn chain_of(subject: &str) -> Option<OwnedChain> {
    let mut parts = subject.rsplit('.');
    let log = decode(parts.next()?)?;
    let epoch = parts.next()?.parse().ok()?;
    Some(OwnedChain { agent: decode(parts.next()?)?, epoch, log })
}

/// All keys of notes for chains of a log.
pub(super) fn notes(log: &str) -> String {
    format!("*.notes.*.{}.*", encode(log))
}

/// The chain of a key that [`notes`] found, and the schema's fingerprint.
pub(super) fn note(key: &str) -> Option<(OwnedChain, u64)> {
    let mut parts = key.split('.');
    let agent = decode(parts.next()?)?;
    let (_, epoch, log) = (parts.next()?, parts.next()?.parse().ok()?, decode(parts.next()?)?);
    Some((OwnedChain { agent, epoch, log }, u64::from_str_radix(parts.next()?, 16).ok()?))
}

fn token(name: Option<&str>) -> String {
    name.map_or_else(|| "*".into(), encode)
}

/// The name under which an entry is sealed.
pub(super) fn entry(subject: &str, base: u64) -> String {
    format!("{subject}/{base:020}")
}

/// The key of an object that is no entry.
pub(super) fn key(place: Place<'_>, number: u64) -> String {
    match (place, digits(place)) {
        // Of these only the newest is kept, so its order is no part of the key.
        (Place::Heads(..) | Place::Trimmed(_), _) => folder(place),
        (_, Digits::Decimal(width)) => format!("{}.{number:0width$}", folder(place)),
        (_, Digits::Hex) => format!("{}.{number:016x}", folder(place)),
    }
}

/// All keys of a place.
pub(super) fn keys(place: Place<'_>) -> String {
    format!("{}.*", folder(place))
}

/// The number of a key that [`keys`] found.
pub(super) fn number(place: Place<'_>, key: &str) -> Option<u64> {
    let last = key.rsplit('.').next()?;
    match digits(place) {
        Digits::Decimal(_) => last.parse().ok(),
        Digits::Hex => u64::from_str_radix(last, 16).ok(),
    }
}

/// The key of the first epoch, of any agent: whoever is known has one.
pub(super) fn first_epochs() -> String {
    format!("*.epochs.{:010}", 1)
}

/// The agent of a key that [`first_epochs`] found.
pub(super) fn agent(key: &str) -> Option<String> {
    decode(key.split('.').next()?)
}

fn folder(place: Place<'_>) -> String {
    match place {
        Place::Epochs(agent) => format!("{}.epochs", encode(agent)),
        Place::Closed(agent) => format!("{}.closed", encode(agent)),
        Place::Register(agent, epoch) => format!("{}.register.{epoch:010}", encode(agent)),
        Place::Heads(agent, epoch) => format!("{}.heads.{epoch:010}", encode(agent)),
        Place::Schemas(agent) => format!("{}.schemas", encode(agent)),
        Place::Notes(chain) => format!("{}.notes.{:010}.{}", encode(chain.agent), chain.epoch, encode(chain.log)),
        Place::Trimmed(chain) => format!("{}.trimmed.{:010}.{}", encode(chain.agent), chain.epoch, encode(chain.log)),
        // Entries are in no bucket; this names their chain for people.
        Place::Entries(chain) => format!("{}.{:010}.{}", encode(chain.agent), chain.epoch, encode(chain.log)),
    }
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string().replace('%', "=")
}

fn decode(token: &str) -> Option<String> {
    let name = percent_decode_str(&token.replace('=', "%")).decode_utf8().ok()?.into_owned();
    (encode(&name) == token).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_name_leaves_its_token() {
        for name in ["a.b", "*", ">", "a b", "=", "%", "ü", "\t", "$KV"] {
            let named = Chain { agent: name, epoch: 1, log: name };
            let (subject, key) = (chain("S", named), key(Place::Notes(named), 7));
            assert_eq!(subject.split('.').count(), 4, "{subject}");
            assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-=".contains(&b)), "{subject}");
            assert_eq!(chain_of(&subject).as_ref().map(OwnedChain::borrow), Some(named));
            assert_eq!(note(&key).map(|(chain, schema)| (chain.borrow() == named, schema)), Some((true, 7)));
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{1,255}") {
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }
    }
}

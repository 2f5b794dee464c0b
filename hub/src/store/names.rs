//! Object names. The layout:
//!
//! ```text
//! agents/{agent}/epochs/{epoch:010}                   the epoch's record
//! agents/{agent}/closed/{epoch:010}                   the epoch has ended
//! agents/{agent}/register/{epoch:010}/{position:010}  a log of the epoch, or the register's end
//! agents/{agent}/heads/{epoch:010}/{order:020}        heads heard from the agent
//! agents/{agent}/schemas/{fingerprint hex}            a schema
//! agents/{agent}/logs/{log}/{epoch:010}/{base:020}    an entry: a segment or a receipt
//! agents/{agent}/logs/{log}/{epoch:010}/schemas/{fingerprint hex}   the chain uses the schema
//! agents/{agent}/logs/{log}/{epoch:010}/trimmed/{offset hex}        retention may have deleted what begins below
//! agents/{agent}/logs/{log}/{epoch:010}/deleted/{offset hex}        in the stretch from here on something was deleted
//! ```
//!
//! Numbers have a fixed width, so names order as numbers do; what lies in folders within a chain is written otherwise than
//! its entries, since listings of buckets go down into folders. Agents and logs are percent-encoded down to
//! `[A-Za-z0-9._-]`, so that no name from the wire can leave its folder, collide with the temporary files of a directory
//! store (`#1`), or exceed what a file system takes: a long one is cut into parts that end in `=`.

use std::borrow::Cow;

use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Chain, Place};

/// Longest part of a name; file systems take 255 bytes, and staged uploads need some for their suffix.
const MAX_PART: usize = 200;

/// Marks a part that goes on in the next one; never left bare by the encoding.
const CONTINUED: char = '=';

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// `agents`
pub(super) fn agents() -> Path {
    Path::from("agents")
}

/// The folder of a place.
pub(super) fn folder(place: Place<'_>) -> Path {
    to_path(folder_name(place))
}

/// The object with this number in a place.
pub(super) fn object(place: Place<'_>, number: u64) -> Path {
    in_folder(&folder_name(place), digits(place), number)
}

/// The object with this number in a folder.
pub(super) fn numbered(folder: &Path, digits: Digits, number: u64) -> Path {
    in_folder(folder.as_ref(), digits, number)
}

fn in_folder(folder: &str, digits: Digits, number: u64) -> Path {
    to_path(match digits {
        Digits::Decimal(width) => format!("{folder}/{number:0width$}"),
        Digits::Hex => format!("{folder}/{number:016x}"),
    })
}

/// `agents/{agent}/logs`
pub(super) fn logs(agent: &str) -> Path {
    to_path(format!("agents/{}/logs", encode(agent)))
}

/// `agents/{agent}/logs/{log}`
pub(super) fn log_folder(agent: &str, log: &str) -> Path {
    to_path(format!("agents/{}/logs/{}", encode(agent), encode(log)))
}

/// Says that something was deleted of the stretch of a chain which begins at offset `first`.
pub(super) fn deleted(chain: Chain<'_>, first: u64) -> Path {
    in_folder(&format!("{}/deleted", chain_folder(chain)), Digits::Hex, first)
}

fn chain_folder(chain: Chain<'_>) -> String {
    let (agent, log) = (encode(chain.agent), encode(chain.log));
    format!("agents/{agent}/logs/{log}/{:010}", chain.epoch)
}

fn folder_name(place: Place<'_>) -> String {
    match place {
        Place::Epochs(agent) => format!("agents/{}/epochs", encode(agent)),
        Place::Closed(agent) => format!("agents/{}/closed", encode(agent)),
        Place::Register(agent, epoch) => format!("agents/{}/register/{epoch:010}", encode(agent)),
        Place::Heads(agent, epoch) => format!("agents/{}/heads/{epoch:010}", encode(agent)),
        Place::Schemas(agent) => format!("agents/{}/schemas", encode(agent)),
        Place::Entries(chain) => chain_folder(chain),
        Place::Notes(chain) => format!("{}/schemas", chain_folder(chain)),
        Place::Trimmed(chain) => format!("{}/trimmed", chain_folder(chain)),
    }
}

/// How the numbers of a place are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digits {
    /// So many decimal digits.
    Decimal(usize),
    /// 16 lower-case hexadecimal digits.
    Hex,
}

/// The digits of the folder that a chain's epoch has.
pub(super) const EPOCH: Digits = Digits::Decimal(10);

pub(super) fn digits(place: Place<'_>) -> Digits {
    match place {
        Place::Epochs(_) | Place::Closed(_) | Place::Register(..) => EPOCH,
        Place::Heads(..) | Place::Entries(_) => Digits::Decimal(20),
        Place::Schemas(_) | Place::Notes(_) | Place::Trimmed(_) => Digits::Hex,
    }
}

/// The number in the last part of a name; `None` for anything written otherwise.
pub(super) fn number(name: &Path, digits: Digits) -> Option<u64> {
    let part = name.filename()?;
    let all = |is_digit: fn(&u8) -> bool| part.as_bytes().iter().all(is_digit);
    match digits {
        Digits::Decimal(width) if part.len() == width && all(u8::is_ascii_digit) => part.parse().ok(),
        Digits::Hex if part.len() == 16 && all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            u64::from_str_radix(part, 16).ok()
        }
        _ => None,
    }
}

/// Whether `name` comes after every number that could be in `folder`.
pub(super) fn is_above_numbers(folder: &Path, name: &Path, digits: Digits) -> bool {
    let last = match digits {
        Digits::Decimal(_) => b'9',
        Digits::Hex => b'f',
    };
    let part = name.prefix_match(folder).and_then(|mut parts| parts.next());
    part.is_some_and(|part| part.as_ref().bytes().next().is_some_and(|first| first > last))
}

/// Whether a part of an encoded name goes on in a sub-folder.
pub(super) fn is_continued(part: &str) -> bool {
    part.ends_with(CONTINUED)
}

/// The name that was encoded into `parts` (joined by `/`); `None` when it is none of ours.
pub(super) fn decode(parts: &str) -> Option<String> {
    let joined: Cow<'_, str> = match parts.contains('/') {
        true => Cow::Owned(parts.split('/').map(|part| part.strip_suffix(CONTINUED).unwrap_or(part)).collect()),
        false => Cow::Borrowed(parts),
    };
    let name = percent_decode_str(&joined).decode_utf8().ok()?.into_owned();
    (encode(&name) == parts).then_some(name)
}

fn encode(name: &str) -> String {
    let encoded = match name {
        // A part of dots alone would climb out of its folder.
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        other => utf8_percent_encode(other, ENCODED).to_string(),
    };
    if encoded.len() <= MAX_PART {
        return encoded;
    }
    let mut parts = String::with_capacity(encoded.len() + 8);
    let mut rest = encoded.as_str();
    while rest.len() > MAX_PART {
        // The encoding is ASCII, so every index is a boundary.
        let (part, after) = rest.split_at(MAX_PART);
        parts.push_str(part);
        parts.push(CONTINUED);
        parts.push('/');
        rest = after;
    }
    parts.push_str(rest);
    parts
}

/// `name` is made of encoded parts and literals only, so it parses; the fallback would encode it once more.
fn to_path(name: String) -> Path {
    Path::parse(&name).unwrap_or_else(|_| Path::from(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_order_as_numbers_do() {
        let chain = Chain { agent: "a", epoch: 2, log: "climate" };
        let entry = |base| object(Place::Entries(chain), base);
        let names: Vec<_> = [0, 9, 10, u64::MAX].map(|base| entry(base).to_string()).into();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names[1], "agents/a/logs/climate/0000000002/00000000000000000009");
        assert_eq!(number(&entry(u64::MAX), Digits::Decimal(20)), Some(u64::MAX));
    }

    #[test]
    fn no_name_leaves_its_folder() {
        for name in ["..", ".", "../../etc/passwd", "a/b", "a#1", "a\\b", "a\0b", "=", "%2F"] {
            let folder = log_folder("agent", name);
            assert_eq!(folder.parts().count(), 4, "{folder}");
            assert!(folder.parts().all(|part| part.as_ref() != ".." && part.as_ref() != "."), "{folder}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{1,255}") {
            let parts = encode(&name);
            prop_assert_eq!(decode(&parts), Some(name));
            prop_assert!(parts.split('/').all(|part| part.len() <= MAX_PART + 1 && !part.is_empty()));
            let parts: Vec<_> = parts.split('/').collect();
            let (last, before) = parts.split_last().unwrap();
            prop_assert!(!is_continued(last) && before.iter().all(|part| is_continued(part)));
        }
    }
}

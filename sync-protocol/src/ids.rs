//! The names that both sides use: agents, incarnations, epochs, logs, schemas and chain hashes.

use crate::limits::{MAX_AGENT_ID, MAX_LOG_NAME};
use alloc::boxed::Box;
use core::fmt;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name may not be empty")]
    Empty,
    /// The text is too long.
    #[error("a name of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// The cap.
        limit: usize,
    },
    /// The text holds a character that names may not hold.
    #[error("the character {0:?} is not allowed here: use letters, digits, '.', '_' and '-'")]
    Character(char),
}

/// The name of a device's agent: 1 to 64 of `[A-Za-z0-9._-]`, not starting with a dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(heapless::String<MAX_AGENT_ID>);

impl AgentId {
    /// Checks and takes a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        // A leading dot would hide the agent's folder, and "." and ".." are no folders of their own.
        if text.starts_with('.') {
            return Err(NameError::Character('.'));
        }
        heapless::String::try_from(text)
            .map(Self)
            .map_err(|_| NameError::TooLong { len: text.len(), limit: MAX_AGENT_ID })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a log: 1 to 255 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(Box<str>);

impl LogName {
    /// Checks and takes a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_LOG_NAME {
            return Err(NameError::TooLong { len: text.len(), limit: MAX_LOG_NAME });
        }
        match text.chars().find(|c| c.is_control()) {
            Some(bad) => Err(NameError::Character(bad)),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::borrow::Borrow<str> for LogName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// 128 random bits that name one lifetime of a ring's contents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

/// The hub's number for an agent's incarnation, from 1; a higher one fences all lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The first 8 bytes of the BLAKE3 hash of an encoded schema.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// The fingerprint of an encoded schema.
    pub fn of(schema: &[u8]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(schema).as_bytes()[..8]);
        Self(first)
    }
}

/// The first 16 bytes of a BLAKE3 hash in a log's chain; zeros before the first segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainHash(pub [u8; 16]);

macro_rules! shown_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
macro_rules! shown_as_is {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}
shown_as_hex!(Incarnation, Fingerprint, ChainHash);
shown_as_is!(AgentId, LogName, Epoch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", &"x".repeat(65)] {
            assert!(AgentId::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a\nb", "a\0b", &"x".repeat(256)] {
            assert!(LogName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(AgentId::new("board-17.west_2").unwrap().as_str(), "board-17.west_2");
        assert_eq!(LogName::new("mesures de l'air/été").unwrap().as_str(), "mesures de l'air/été");
    }
}

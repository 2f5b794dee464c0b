//! Tokens and passwords as they are kept: as digests.

use std::fmt;
use std::str::FromStr;

use subtle::{Choice, ConstantTimeEq};

/// The BLAKE3 digest of a secret, written `blake3:<64 hex digits>`.
///
/// It is fast to compute: the secret has to be a long random one. Two of them are compared in the same time wherever they differ,
/// and there is no other way to compare them.
#[derive(Clone)]
pub struct SecretDigest([u8; 32]);

/// A text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDigest {
    /// The name of the hash is not there.
    #[error("the hash does not begin with blake3:")]
    Hash,
    /// What follows is not the digest.
    #[error("the hash is not 64 hex digits")]
    Digits,
}

impl SecretDigest {
    /// Of this secret.
    pub fn of(secret: &[u8]) -> Self {
        Self(*blake3::hash(secret).as_bytes())
    }

    /// Whether it is one of `known`, which takes the same time whichever it is.
    pub fn is_among<'a>(&self, known: impl IntoIterator<Item = &'a Self>) -> bool {
        let found = known.into_iter().fold(Choice::from(0), |found, known| found | known.ct_eq(self));
        found.into()
    }
}

impl ConstantTimeEq for SecretDigest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for SecretDigest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let hex = text.strip_prefix("blake3:").ok_or(BadDigest::Hash)?;
        Ok(Self(*blake3::Hash::from_hex(hex).map_err(|_| BadDigest::Digits)?.as_bytes()))
    }
}

impl fmt::Display for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Shows nothing: even a digest is no business of a log's.
impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_back_as_written_and_known_among_others() {
        let (salt, pepper) = (SecretDigest::of(b"salt"), SecretDigest::of(b"pepper"));
        let read: SecretDigest = salt.to_string().parse().unwrap();
        assert!(read.is_among([&pepper, &salt]) && !read.is_among([&pepper]) && !read.is_among([]));
        assert!(!format!("{salt:?}").contains(&salt.to_string()[8..12]));
    }

    #[test]
    fn what_is_no_digest_says_why() {
        assert_eq!("md5:00".parse::<SecretDigest>().unwrap_err(), BadDigest::Hash);
        for text in ["blake3:", "blake3:00", "blake3:zz"] {
            assert_eq!(text.parse::<SecretDigest>().unwrap_err(), BadDigest::Digits);
        }
    }
}

//! Who may publish.

use subtle::{Choice, ConstantTimeEq};

/// Who may connect.
#[derive(Debug, Clone)]
pub enum Access {
    /// Anyone, with or without a name.
    Anonymous,
    /// These users only.
    Users(Vec<User>),
}

/// A user, held as digests so that neither name nor password stays in memory.
#[derive(Clone)]
pub struct User {
    name: [u8; 32],
    password: [u8; 32],
}

/// The hash of a password is not of the form `blake3:<64 hex digits>`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a hashed password is written blake3:<64 hex digits>; this one has another form")]
pub struct BadHash;

impl User {
    /// A user whose password is known.
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: digest(name.as_bytes()), password: digest(password.as_bytes()) }
    }

    /// A user of whose password only the BLAKE3 digest is known, written `blake3:<64 hex digits>`.
    ///
    /// The digest is fast to compute: let the password be a long random one.
    pub fn with_hash(name: &str, hash: &str) -> Result<Self, BadHash> {
        let hex = hash.strip_prefix("blake3:").ok_or(BadHash)?;
        let password = blake3::Hash::from_hex(hex).map_err(|_| BadHash)?;
        Ok(Self { name: digest(name.as_bytes()), password: *password.as_bytes() })
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(..)")
    }
}

impl Access {
    /// Whether these credentials are good. The time taken tells nothing of how much of them was right.
    pub(super) fn allows(&self, name: Option<&str>, password: Option<&[u8]>) -> bool {
        let users = match self {
            Self::Anonymous => return true,
            Self::Users(users) => users,
        };
        let (Some(name), Some(password)) = (name, password) else { return false };
        let (name, password) = (digest(name.as_bytes()), digest(password));
        let found = users
            .iter()
            .fold(Choice::from(0), |found, user| found | (user.name.ct_eq(&name) & user.password.ct_eq(&password)));
        found.into()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pair_of_name_and_password_is_let_in() {
        let hash = format!("blake3:{}", blake3::hash(b"salt"));
        let access = Access::Users(vec![User::new("a", "pepper"), User::with_hash("b", &hash).unwrap()]);
        assert!(access.allows(Some("a"), Some(b"pepper")));
        assert!(access.allows(Some("b"), Some(b"salt")));
        assert!(!access.allows(Some("a"), Some(b"salt")));
        assert!(!access.allows(Some("c"), Some(b"pepper")));
        assert!(!access.allows(Some("a"), None));
        assert!(!access.allows(None, None));
        assert!(Access::Anonymous.allows(None, None));
        assert_eq!(User::with_hash("b", "md5:1").unwrap_err(), BadHash);
    }
}

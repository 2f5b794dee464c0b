//! Who may publish.

use pyralog_service::{BadDigest, SecretDigest};
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
    name: SecretDigest,
    password: SecretDigest,
}

impl User {
    /// A user whose password is known.
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: SecretDigest::of(name.as_bytes()), password: SecretDigest::of(password.as_bytes()) }
    }

    /// A user of whose password only the BLAKE3 digest is known, written `blake3:<64 hex digits>`.
    ///
    /// The digest is fast to compute: let the password be a long random one.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn with_hash(name: &str, hash: &str) -> Result<Self, BadDigest> {
        Ok(Self { name: SecretDigest::of(name.as_bytes()), password: hash.parse()? })
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
        let (name, password) = (SecretDigest::of(name.as_bytes()), SecretDigest::of(password));
        let found = users
            .iter()
            .fold(Choice::from(0), |found, user| found | (user.name.ct_eq(&name) & user.password.ct_eq(&password)));
        found.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pair_of_name_and_password_is_let_in() {
        let hash = SecretDigest::of(b"salt").to_string();
        let access = Access::Users(vec![User::new("a", "pepper"), User::with_hash("b", &hash).unwrap()]);
        assert!(access.allows(Some("a"), Some(b"pepper")));
        assert!(access.allows(Some("b"), Some(b"salt")));
        assert!(!access.allows(Some("a"), Some(b"salt")));
        assert!(!access.allows(Some("c"), Some(b"pepper")));
        assert!(!access.allows(Some("a"), None));
        assert!(!access.allows(None, None));
        assert!(Access::Anonymous.allows(None, None));
        assert_eq!(User::with_hash("b", "md5:1").unwrap_err(), BadDigest::Hash);
    }
}

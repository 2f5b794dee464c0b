//! Who may publish.

use std::{net::IpAddr, time::Instant};

use pyralog_service::{BadDigest, Guesses, SecretDigest, Verdict};
use subtle::{Choice, ConstantTimeEq};

use super::connect::Connect;

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
    /// Whether these credentials of `peer` are good. The time taken tells nothing of how much of them was right.
    pub(super) fn judge(&self, request: &Connect, peer: IpAddr, guesses: &Guesses, now: Instant) -> Verdict {
        let users = match self {
            Self::Anonymous => return Verdict::Right,
            Self::Users(users) => users,
        };
        // To bring none is no guess.
        let (Some(name), Some(password)) = (&request.name, &request.password) else { return Verdict::Wrong };
        let credential = [name.as_bytes(), b"\0", password].concat();
        guesses.judge("MQTT", peer, &credential, now, || is_user(users, name, password))
    }
}

fn is_user(users: &[User], name: &str, password: &[u8]) -> bool {
    let (name, password) = (SecretDigest::of(name.as_bytes()), SecretDigest::of(password));
    let found = users
        .iter()
        .fold(Choice::from(0), |found, user| found | (user.name.ct_eq(&name) & user.password.ct_eq(&password)));
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pair_of_name_and_password_is_let_in() {
        let hash = SecretDigest::of(b"salt").to_string();
        let users = [User::new("a", "pepper"), User::with_hash("b", &hash).unwrap()];
        assert!(is_user(&users, "a", b"pepper"));
        assert!(is_user(&users, "b", b"salt"));
        assert!(!is_user(&users, "a", b"salt"));
        assert!(!is_user(&users, "c", b"pepper"));
        assert!(!is_user(&users, "a", b""));
        assert_eq!(User::with_hash("b", "md5:1").unwrap_err(), BadDigest::Hash);
    }
}

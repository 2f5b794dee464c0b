//! Who may write and read: bearer tokens, of which the hub keeps only hashes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub mod tokens;

use tokens::{Scope, Tokens, TokensError};

/// How often the tokens file is looked at for changes.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Decides about requests by the tokens file, which may change while the hub runs.
#[derive(Debug)]
pub struct Auth {
    file: Option<PathBuf>,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    tokens: Arc<Tokens>,
    stamp: Option<(SystemTime, u64)>,
    looked_at: Instant,
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token came along.
    #[error(
        "this hub wants a token: send the header `Authorization: Bearer TOKEN`; the hub's operator makes one with \
         `pyralog-hub token new --agent AGENT --tokens FILE` (add `--scope read` for reading)"
    )]
    Missing,
    /// The token is not valid here.
    #[error(
        "the token is not valid here: it is unknown to this hub, or made for another agent or the other scope \
         (sync, read); the hub's operator lists and makes tokens with `pyralog-hub token`"
    )]
    Wrong,
}

impl Auth {
    /// Reads the tokens file; with none, everybody may do everything.
    pub fn open(file: Option<PathBuf>) -> Result<Self, TokensError> {
        let (tokens, stamp) = match &file {
            Some(path) => {
                let stamp = stamp(path);
                (Tokens::read(path)?, stamp)
            }
            None => (Tokens::default(), None),
        };
        let loaded = Mutex::new(Loaded { tokens: Arc::new(tokens), stamp, looked_at: Instant::now() });
        Ok(Self { file, loaded })
    }

    /// Whether tokens are asked for at all.
    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the bearer of `headers` may do `scope` to `agent`; `None` asks for all agents.
    pub fn check(&self, headers: &HeaderMap, scope: Scope, agent: Option<&str>) -> Result<(), Denied> {
        if self.file.is_none() {
            return Ok(());
        }
        let token = bearer(headers).ok_or(Denied::Missing)?;
        match self.tokens().allows(token, scope, agent) {
            true => Ok(()),
            false => Err(Denied::Wrong),
        }
    }

    fn tokens(&self) -> Arc<Tokens> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file
            && loaded.looked_at.elapsed() >= RELOAD_EVERY
        {
            loaded.looked_at = Instant::now();
            let stamp = stamp(file);
            if stamp.is_some() && stamp != loaded.stamp {
                match Tokens::read(file) {
                    Ok(tokens) => {
                        tracing::info!(file = %file.display(), tokens = tokens.len(), "tokens read again");
                        loaded.tokens = Arc::new(tokens);
                    }
                    // Nobody is locked out, or let in, by a typing mistake.
                    Err(error) => tracing::error!("keeping the tokens from before: {error}"),
                }
                loaded.stamp = stamp;
            }
        }
        Arc::clone(&loaded.tokens)
    }
}

fn stamp(file: &std::path::Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_everybody_may() {
        let auth = Auth::open(None).unwrap();
        assert_eq!(auth.check(&HeaderMap::new(), Scope::Sync, Some("a")), Ok(()));
    }

    #[test]
    fn with_a_file_only_the_bearer_of_the_right_token_may() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let token = tokens::create(&file, "a", Scope::Sync).unwrap();
        let auth = Auth::open(Some(file)).unwrap();
        let with = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(auth.check(&HeaderMap::new(), Scope::Sync, Some("a")), Err(Denied::Missing));
        assert_eq!(auth.check(&with("Basic eDp5"), Scope::Sync, Some("a")), Err(Denied::Missing));
        assert_eq!(auth.check(&with("Bearer nonsense"), Scope::Sync, Some("a")), Err(Denied::Wrong));
        let good = with(&format!("bearer {token}"));
        assert_eq!(auth.check(&good, Scope::Sync, Some("a")), Ok(()));
        assert_eq!(auth.check(&good, Scope::Sync, Some("b")), Err(Denied::Wrong));
        assert_eq!(auth.check(&good, Scope::Read, Some("a")), Err(Denied::Wrong));
    }
}

//! The tokens file: a line per token with the agent, the scope and the token's hash.
//!
//! ```text
//! # agent     scope  hash
//! board-17    sync   blake3:6f1c…
//! *           read   blake3:9a02…
//! ```
//!
//! Tokens are 256 random bits, so a plain hash is enough: there is nothing to guess.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pyralog_service::{BadDigest, SecretDigest};
use subtle::{Choice, ConstantTimeEq};

use super::is_agent_id;

/// Most tokens in a file: every check looks at all of them.
pub const MAX_TOKENS: usize = 100_000;

/// Largest tokens file.
const MAX_FILE: u64 = 32 << 20;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// An agent may send its batches.
    Sync,
    /// A reader may read records, accounts and metrics.
    Read,
}

/// Why there are no tokens to go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read or written.
    #[error("cannot {action} the tokens file {file}: {reason}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Its path.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// A line is none.
    #[error(
        "{file}:{line}: {reason}; a line is `AGENT SCOPE blake3:HASH`, as `pyralog-hub token new --agent A --tokens {file}` \
         writes it"
    )]
    Line {
        /// Path of the file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// No randomness is to be had.
    #[error("the system gave no random bits: {0}")]
    Random(String),
    /// The agent's name cannot stand in the file.
    #[error("{0:?} is no agent id: use 1 to 64 of A-Z a-z 0-9 . _ - or * for all agents")]
    Agent(String),
}

/// All tokens, hashed.
#[derive(Debug, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Debug)]
struct Token {
    /// `None` means every agent.
    agent: Option<Box<str>>,
    scope: Scope,
    hash: SecretDigest,
}

impl Tokens {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let file = path.display().to_string();
        let fail = |reason: String| TokensError::File { action: "read", file: file.clone(), reason };
        let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(fail(format!("it has {size} bytes, more than {MAX_FILE}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let fail = |reason| TokensError::Line { file: file.clone(), line: index + 1, reason };
            if tokens.len() == MAX_TOKENS {
                return Err(fail("more tokens than a hub takes"));
            }
            tokens.push(parse(line).map_err(fail)?);
        }
        Ok(Self(tokens))
    }

    /// Whether `token` opens `scope` of `agent`; `None` asks for all agents. Takes the same time whichever matches.
    pub fn allows(&self, token: &str, scope: Scope, agent: Option<&str>) -> bool {
        let hash = SecretDigest::of(token.as_bytes());
        let mut allowed = Choice::from(0);
        for known in &self.0 {
            let fits = known.scope == scope && (known.agent.is_none() || known.agent.as_deref() == agent);
            allowed |= known.hash.ct_eq(&hash) & Choice::from(u8::from(fits));
        }
        allowed.into()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Agent (`*` for all) and scope of each, in the file's order.
    pub fn list(&self) -> impl Iterator<Item = (&str, Scope)> {
        self.0.iter().map(|token| (token.agent.as_deref().unwrap_or("*"), token.scope))
    }
}

/// Makes a token, appends its hash to the file at `path` (created readable for its owner alone), and gives it back: it is
/// never to be had again.
pub fn create(path: &Path, agent: &str, scope: Scope) -> Result<String, TokensError> {
    if agent != "*" && !is_agent_id(agent) {
        return Err(TokensError::Agent(agent.into()));
    }
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| TokensError::Random(error.to_string()))?;
    let token = format!("plg_{}", URL_SAFE_NO_PAD.encode(bits));
    let fail = |error: std::io::Error| TokensError::File {
        action: "write",
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(fail)?;
    let mut line = String::new();
    if !ends_with_newline(path).map_err(fail)? {
        line.push('\n');
    }
    line.push_str(&format!("{agent:<16} {:<5} {}\n", scope.word(), SecretDigest::of(token.as_bytes())));
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    Ok(token)
}

impl Scope {
    /// The word for it in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Read => "read",
        }
    }
}

impl FromStr for Scope {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sync" => Ok(Self::Sync),
            "read" => Ok(Self::Read),
            _ => Err("the scope is neither sync nor read"),
        }
    }
}

fn parse(line: &str) -> Result<Token, &'static str> {
    let mut words = line.split_whitespace();
    let (Some(agent), Some(scope), Some(hash), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("it has not three words");
    };
    if agent != "*" && !is_agent_id(agent) {
        return Err("the first word is neither an agent id nor *");
    }
    let hash = hash.parse().map_err(|bad| match bad {
        BadDigest::Hash => "the hash does not begin with blake3:",
        BadDigest::Digits => "the hash is not 64 hex digits",
    })?;
    Ok(Token { agent: (agent != "*").then(|| agent.into()), scope: scope.parse()?, hash })
}

fn ends_with_newline(path: &Path) -> std::io::Result<bool> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.last().is_none_or(|last| *last == b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_token_is_stored_as_a_hash_alone_and_opens_what_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, "# tokens of the plant").unwrap();
        let agent = create(&file, "board-17", Scope::Sync).unwrap();
        let reader = create(&file, "*", Scope::Read).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&agent) && !text.contains(&reader), "{text}");
        let tokens = Tokens::read(&file).unwrap();
        assert_eq!(tokens.list().collect::<Vec<_>>(), [("board-17", Scope::Sync), ("*", Scope::Read)]);
        assert!(tokens.allows(&agent, Scope::Sync, Some("board-17")));
        assert!(!tokens.allows(&agent, Scope::Sync, Some("board-18")));
        assert!(!tokens.allows(&agent, Scope::Sync, None));
        assert!(!tokens.allows(&agent, Scope::Read, Some("board-17")));
        assert!(tokens.allows(&reader, Scope::Read, Some("board-18")) && tokens.allows(&reader, Scope::Read, None));
        assert!(!tokens.allows(&reader, Scope::Sync, Some("board-17")));
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        create(&file, "board-17", Scope::Sync).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        for bad in ["a sync", "a write blake3:00", "a sync sha1:00", "a sync blake3:zz", "a/b sync blake3:00"] {
            std::fs::write(&file, format!("\n# note\n{bad}\n")).unwrap();
            let error = Tokens::read(&file).unwrap_err().to_string();
            assert!(error.contains("tokens:3: "), "{bad}: {error}");
        }
    }
}

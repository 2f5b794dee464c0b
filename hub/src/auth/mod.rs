//! Who may write and read: by bearer tokens, of which the hub keeps only hashes, and by client certificates.
//!
//! | to do | with a tokens file | without one, with client certificates |
//! |---|---|---|
//! | sync as A | a sync token for A; a certificate, if one is shown, must name A too | a certificate that names A |
//! | read A | a read token for A | a certificate that names A |
//! | read all agents, metrics | a read token for `*` | nobody |
//!
//! So a token never widens what a device's certificate lets it write, and no certificate opens the whole fleet.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;

mod certificate;
pub mod tokens;

pub use certificate::Certificate;
use certificate::can_name;
use parking_lot::RwLock;
use tokens::{Scope, Tokens, TokensError};

use pyralog_service::{Guesses, Verdict, Watched};

/// Decides about requests by the tokens file, which may change while the hub runs, and by certificates.
#[derive(Debug)]
pub struct Auth {
    tokens: RwLock<Option<Arc<Watched<Tokens>>>>,
    /// Whether clients are asked for certificates.
    certificates: bool,
    /// Wrong tokens, by host.
    guesses: Guesses,
}

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// What came with the request.
    pub headers: HeaderMap,
    /// What the connection was opened with, if anything.
    pub certificate: Option<Certificate>,
    /// Where the connection comes from, if it comes by a network.
    pub peer: Option<IpAddr>,
}

/// Why a request may not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token came along.
    #[error(
        "this hub wants a token: send the header `Authorization: Bearer TOKEN`; the hub's operator makes one with \
         `pyralog-hub token new --agent AGENT --tokens FILE` (add `--scope read` for reading)"
    )]
    NoToken,
    /// The token is not valid here.
    #[error(
        "the token is not valid here: it is unknown to this hub, or made for another agent or the other scope \
         (sync, read); the hub's operator lists and makes tokens with `pyralog-hub token`"
    )]
    WrongToken,
    /// Its host has sent so many wrong tokens that this one was not looked at.
    #[error(
        "too many wrong tokens came from this address, so no new one is looked at: try again in {} s",
        retry_after.as_secs()
    )]
    ShutOut {
        /// When to try again, in whole seconds.
        retry_after: Duration,
    },
    /// The connection was opened without a certificate, and there are no tokens to show instead.
    #[error("this hub knows clients by their certificates: connect with one that its authority has signed")]
    NoCertificate,
    /// The certificate is for other agents.
    #[error("the client certificate names {carries} and the request is for agent {asked:?}{}", name_hint(asked))]
    OtherName {
        /// The names in the certificate.
        carries: String,
        /// The agent of the request.
        asked: String,
    },
    /// No certificate opens all agents.
    #[error(
        "a client certificate opens its own agent alone; for all agents the hub wants a read token, and it is not \
         started with a tokens file"
    )]
    AllAgents,
}

fn name_hint(asked: &str) -> &'static str {
    if can_name(asked) {
        "; give this client a certificate with that DNS name, or set its agent_id to the name"
    } else {
        ", which is no DNS name, so no certificate can carry it: choose another agent_id"
    }
}

impl Denied {
    /// Whether a token would help.
    pub fn wants_token(&self) -> bool {
        matches!(self, Self::NoToken | Self::WrongToken)
    }
}

impl Auth {
    /// Reads the tokens file; with none, everybody may do everything.
    pub fn open(file: Option<PathBuf>) -> Result<Self, TokensError> {
        let tokens = RwLock::new(watch(file)?);
        Ok(Self { tokens, certificates: false, guesses: Guesses::default() })
    }

    /// Goes by another file from now on, or by none.
    ///
    /// # Errors
    /// When the file is no good; then nothing has changed.
    pub(crate) fn change(&self, file: Option<PathBuf>) -> Result<(), TokensError> {
        let tokens = watch(file)?;
        *self.tokens.write() = tokens;
        Ok(())
    }

    /// The same, where TLS asks clients for certificates.
    #[must_use]
    pub fn with_certificates(self, certificates: bool) -> Self {
        Self { certificates, ..self }
    }

    /// Whether anything is asked for at all.
    pub fn is_on(&self) -> bool {
        self.tokens.read().is_some() || self.certificates
    }

    /// Whether `caller` may do `scope` to `agent`; `None` asks for all agents.
    pub fn check(&self, caller: &Caller, scope: Scope, agent: Option<&str>) -> Result<(), Denied> {
        if let (Scope::Sync, true, Some(_)) = (scope, self.certificates, &caller.certificate) {
            named(caller, agent)?;
        }
        match self.tokens() {
            Some(tokens) => {
                let token = bearer(&caller.headers).ok_or(Denied::NoToken)?;
                let allows = || tokens.get().allows(token, scope, agent);
                let verdict = match caller.peer {
                    Some(peer) => self.guesses.judge("hub", peer, token.as_bytes(), Instant::now(), allows),
                    None if allows() => Verdict::Right,
                    None => Verdict::Wrong,
                };
                match verdict {
                    Verdict::Right => Ok(()),
                    Verdict::Wrong => Err(Denied::WrongToken),
                    Verdict::ShutOut(left) => {
                        Err(Denied::ShutOut { retry_after: Duration::from_secs(left.as_secs() + 1) })
                    }
                }
            }
            None if self.certificates => named(caller, agent),
            None => Ok(()),
        }
    }

    /// Looks at the tokens file now.
    pub(crate) fn look(&self) {
        if let Some(tokens) = self.tokens() {
            tokens.look();
        }
    }

    fn tokens(&self) -> Option<Arc<Watched<Tokens>>> {
        self.tokens.read().clone()
    }
}

fn watch(file: Option<PathBuf>) -> Result<Option<Arc<Watched<Tokens>>>, TokensError> {
    let Some(file) = file else { return Ok(None) };
    let path = file.clone();
    Watched::open("tokens", vec![file], move || Tokens::read(&path)).map(|tokens| Some(Arc::new(tokens)))
}

/// Whether the caller's certificate names the agent.
fn named(caller: &Caller, agent: Option<&str>) -> Result<(), Denied> {
    let certificate = caller.certificate.as_ref().ok_or(Denied::NoCertificate)?;
    let asked = agent.ok_or(Denied::AllAgents)?;
    if certificate.names(asked) {
        return Ok(());
    }
    Err(Denied::OtherName { carries: certificate.told(), asked: asked.to_owned() })
}

fn is_agent_id(text: &str) -> bool {
    pyralog_sync_protocol::AgentId::new(text).is_ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(authorization: Option<&str>, names: Option<&[&str]>) -> Caller {
        let headers = authorization.map(|value| (AUTHORIZATION, value.parse().unwrap()));
        let certificate = names.map(|names| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Certificate::read(rcgen::generate_simple_self_signed(names).unwrap().cert.der())
        });
        Caller { headers: headers.into_iter().collect(), certificate, peer: None }
    }

    #[test]
    fn without_a_file_everybody_may() {
        let auth = Auth::open(None).unwrap();
        assert_eq!(auth.check(&Caller::default(), Scope::Sync, Some("a")), Ok(()));
    }

    #[test]
    fn with_a_file_only_the_bearer_of_the_right_token_may() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let token = tokens::create(&file, "a", Scope::Sync).unwrap();
        let auth = Auth::open(Some(file)).unwrap();
        let with = |value: &str| caller(Some(value), None);
        assert_eq!(auth.check(&caller(None, None), Scope::Sync, Some("a")), Err(Denied::NoToken));
        assert_eq!(auth.check(&with("Basic eDp5"), Scope::Sync, Some("a")), Err(Denied::NoToken));
        assert_eq!(auth.check(&with("Bearer nonsense"), Scope::Sync, Some("a")), Err(Denied::WrongToken));
        let good = with(&format!("bearer {token}"));
        assert_eq!(auth.check(&good, Scope::Sync, Some("a")), Ok(()));
        assert_eq!(auth.check(&good, Scope::Sync, Some("b")), Err(Denied::WrongToken));
        assert_eq!(auth.check(&good, Scope::Read, Some("a")), Err(Denied::WrongToken));
    }

    #[test]
    fn a_host_that_guesses_is_not_looked_at_and_what_was_right_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let [good, other] = [(); 2].map(|()| format!("Bearer {}", tokens::create(&file, "a", Scope::Sync).unwrap()));
        let auth = Auth::open(Some(file)).unwrap();
        let from = |last: u8, authorization: &str| {
            let peer = Some(IpAddr::from([10, 0, 0, last]));
            auth.check(&Caller { peer, ..caller(Some(authorization), None) }, Scope::Sync, Some("a"))
        };
        assert_eq!(from(1, &good), Ok(()));
        let answers: Vec<_> = (0..20).map(|number| from(1, &format!("Bearer guess-{number}"))).collect();
        assert!(answers[..11].iter().all(|answer| *answer == Err(Denied::WrongToken)), "{answers:?}");
        let is_shut_out = |answer: &Result<(), Denied>| matches!(answer, Err(Denied::ShutOut { .. }));
        assert!(answers[11..].iter().all(is_shut_out), "{answers:?}");
        assert!(is_shut_out(&from(1, &other)), "a right one that is new would tell");
        assert_eq!((from(1, &good), from(2, &other)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_certificate_opens_its_own_agent_and_nothing_else() {
        let auth = Auth::open(None).unwrap().with_certificates(true);
        let device = caller(None, Some(&["a"]));
        for scope in [Scope::Sync, Scope::Read] {
            assert_eq!(auth.check(&device, scope, Some("a")), Ok(()));
            let error = auth.check(&device, scope, Some("b")).unwrap_err().to_string();
            assert!(error.contains("names \"a\"") && error.contains("agent \"b\""), "{error}");
            assert_eq!(auth.check(&caller(None, None), scope, Some("a")), Err(Denied::NoCertificate));
        }
        assert_eq!(auth.check(&device, Scope::Read, None), Err(Denied::AllAgents));
        let error = auth.check(&device, Scope::Sync, Some(".a")).unwrap_err().to_string();
        assert!(error.contains("no DNS name"), "{error}");
    }

    #[test]
    fn with_both_the_token_and_the_certificate_must_fit_the_agent_that_syncs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let bearer = |agent, scope| format!("Bearer {}", tokens::create(&file, agent, scope).unwrap());
        let (any, a, readers) = (bearer("*", Scope::Sync), bearer("a", Scope::Sync), bearer("*", Scope::Read));
        let auth = Auth::open(Some(file.clone())).unwrap().with_certificates(true);
        let sync = |token: Option<&str>, names: Option<&[&str]>, agent| {
            auth.check(&caller(token, names), Scope::Sync, Some(agent))
        };
        assert_eq!(sync(Some(&a), Some(&["a"]), "a"), Ok(()));
        assert_eq!(sync(None, Some(&["a"]), "a"), Err(Denied::NoToken));
        assert_eq!(sync(Some(&readers), Some(&["a"]), "a"), Err(Denied::WrongToken));
        assert!(matches!(sync(Some(&any), Some(&["a"]), "b"), Err(Denied::OtherName { .. })), "a token widens nothing");
        assert_eq!(sync(Some(&a), Some(&["a", "b"]), "b"), Err(Denied::WrongToken), "nor does a certificate");
        // Where certificates are optional, a token stands for one that is not shown.
        assert_eq!(sync(Some(&a), None, "a"), Ok(()));
        assert_eq!(sync(None, None, "a"), Err(Denied::NoToken));
        // Reading is for tokens: the operator's certificate names no agent.
        let read = |token: Option<&str>, agent| auth.check(&caller(token, Some(&["operator"])), Scope::Read, agent);
        assert_eq!((read(Some(&readers), Some("a")), read(Some(&readers), None)), (Ok(()), Ok(())));
        assert_eq!(read(None, Some("operator")), Err(Denied::NoToken));
    }
}

//! Who is let in by a NATS server, and which server a hub trusts: a real server with TLS, and with accounts by signed tokens.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use pyralog_e2e::nats::Cluster;
use pyralog_hub::store::{self, OpenError, SharedStore, StoreUrl};
use serde_json::{Value, json};

use crate::pki::Authority;

async fn open(url: &str) -> Result<SharedStore, OpenError> {
    store::open(&url.parse::<StoreUrl>().unwrap()).await
}

async fn refused(url: &str) -> String {
    match open(url).await {
        Err(OpenError::Unfit(error)) => error,
        Err(other) => panic!("it may be tried again: {other}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

/// Asks a store until it answers, or fails with `words`; what it said at last.
async fn until(store: &SharedStore, words: Option<&str>) -> String {
    for _ in 0..600 {
        match (store.check().await, words) {
            (Ok(()), None) => return String::new(),
            (Err(error), Some(words)) if error.to_string().contains(words) => return error.to_string(),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("a minute went by without {words:?}: {:?}", store.check().await);
}

/// A server with TLS; its authority, and another.
async fn behind_tls(folder: &Path) -> (Cluster, Authority, Authority) {
    let (own, other) = (Authority::new(folder, "own"), Authority::new(folder, "other"));
    let pair = own.sign("server", &["localhost", "127.0.0.1"]);
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", pair.cert, pair.key);
    (Cluster::with(folder, 1, &tls).await.unwrap(), own, other)
}

#[tokio::test]
async fn a_server_with_tls_is_known_by_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, own, other) = behind_tls(folder.path()).await;
    let plain = cluster.url("FLEET");
    let tls = plain.replace("nats://", "tls://");
    for url in [&tls, &plain] {
        let store = open(&format!("{url}?ca={}", own.file.display())).await.unwrap();
        store.check().await.unwrap();
        // Without an authority, or with another's, the remedy is named.
        for query in [String::new(), format!("?ca={}", other.file.display())] {
            let error = refused(&format!("{url}{query}")).await;
            assert!(error.contains("certificate") && error.contains("?ca=FILE"), "{url}{query}: {error}");
        }
    }
    let missing = folder.path().join("nothing.pem");
    let error = refused(&format!("{tls}?ca={}", missing.display())).await;
    assert!(error.contains("nothing.pem"), "{error}");
}

#[tokio::test]
async fn who_insists_on_tls_does_not_speak_to_a_server_without() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), 1).await.unwrap();
    let error = refused(&cluster.url("FLEET").replace("nats://", "tls://")).await;
    assert!(error.contains("write nats://"), "{error}");
}

/// An operator with an account for hubs and one for the system, as `nsc` would make them.
struct Nsc {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

/// When all tokens were made, so that an operator's is the same each time: servers take over no other while they run.
const ISSUED: u64 = 1_700_000_000;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of `subject` that `issuer` signs.
fn token(issuer: &KeyPair, subject: &KeyPair, expires: Option<u64>, claims: Value) -> String {
    let mut payload = json!({
        "jti": "made-by-a-test", "iat": ISSUED, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "a test's", "nats": claims,
    });
    if let Some(expires) = expires {
        payload["exp"] = json!(expires);
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(payload));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

impl Nsc {
    fn new() -> Self {
        Self { operator: KeyPair::new_operator(), system: KeyPair::new_account(), account: KeyPair::new_account() }
    }

    /// The servers' configuration; users whose tokens are older than `revoked` are not let in.
    fn configuration(&self, revoked: &[(&KeyPair, u64)]) -> String {
        let operator = json!({ "type": "operator", "version": 2, "system_account": self.system.public_key() });
        let operator = token(&self.operator, &self.operator, None, operator);
        let limits = |storage: i64| {
            json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
                "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
            })
        };
        let system = json!({ "type": "account", "version": 2, "limits": limits(0) });
        let mut account = json!({ "type": "account", "version": 2, "limits": limits(-1) });
        for (user, before) in revoked {
            account["revocations"][user.public_key()] = json!(before);
        }
        let [system, account] = [(&self.system, system), (&self.account, account)]
            .map(|(key, claims)| format!("{}: {:?}", key.public_key(), token(&self.operator, key, None, claims)));
        format!("operator: {operator:?}\nresolver: MEMORY\nresolver_preload: {{ {system}, {account} }}")
    }

    /// Writes the credentials of `user`.
    fn credentials(&self, file: &Path, user: &KeyPair, expires: Option<u64>) {
        let claims =
            json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
        let token = token(&self.account, user, expires, claims);
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(file, text).unwrap();
    }
}

/// A server that asks for tokens, and a file for a hub's.
async fn with_accounts(folder: &Path, nsc: &Nsc) -> (Cluster, PathBuf, String) {
    let cluster = Cluster::with(folder, 1, &nsc.configuration(&[])).await.unwrap();
    let file = folder.join("hub.creds");
    let url = format!("{}?credentials={}", cluster.url("FLEET"), file.display());
    (cluster, file, url)
}

/// Whether a refusal names the file and the remedy, and no secret.
fn names_the_file(error: &str, user: &KeyPair) {
    assert!(error.contains("hub.creds") && error.contains("renew"), "{error}");
    assert!(!error.contains(&user.seed().unwrap()), "{error}");
}

#[tokio::test]
async fn a_file_of_credentials_lets_a_hub_in_until_it_expires_and_again_when_it_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let (nsc, user) = (Nsc::new(), KeyPair::new_user());
    let (cluster, file, url) = with_accounts(folder.path(), &nsc).await;
    let error = refused(&cluster.url("FLEET")).await;
    assert!(error.contains("?credentials=FILE"), "{error}");

    nsc.credentials(&file, &user, Some(now() - 60));
    names_the_file(&refused(&url).await, &user);
    // Of another account's authority.
    Nsc { account: KeyPair::new_account(), ..Nsc::new() }.credentials(&file, &user, None);
    names_the_file(&refused(&url).await, &user);

    nsc.credentials(&file, &user, Some(now() + 4));
    let store = open(&url).await.unwrap();
    names_the_file(&until(&store, Some("renew")).await, &user);
    nsc.credentials(&file, &user, None);
    until(&store, None).await;
}

#[tokio::test]
async fn a_hub_whose_token_is_revoked_says_which_file_to_renew_and_goes_on_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let (nsc, user) = (Nsc::new(), KeyPair::new_user());
    let (cluster, file, url) = with_accounts(folder.path(), &nsc).await;
    nsc.credentials(&file, &user, None);
    let store = open(&url).await.unwrap();
    store.check().await.unwrap();

    let config = folder.path().join("n0.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    let (rest, _) = text.split_once("operator: ").unwrap();
    std::fs::write(&config, format!("{rest}{}\n", nsc.configuration(&[(&user, ISSUED)]))).unwrap();
    cluster.signal(0, "HUP").unwrap();
    names_the_file(&until(&store, Some("renew")).await, &user);
    names_the_file(&refused(&url).await, &user);

    nsc.credentials(&file, &KeyPair::new_user(), None);
    until(&store, None).await;
}

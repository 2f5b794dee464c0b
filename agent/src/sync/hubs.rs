//! The way to several hubs, one of which will do.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use pyralog_sync_protocol::Failure;
use pyralog_sync_protocol::frame::{RefusalKind, Reply};
use tokio::time::Instant;

use super::link::{Exchange, Link};
use super::report::{HubReport, SyncShared};
use super::roster::{Outcome, Roster, UpstreamPolicy};

/// Several hubs before one store. The sender sees one way upstream, which fails when all of them did.
pub(super) struct Hubs<L> {
    inner: Arc<Inner<L>>,
}

struct Inner<L> {
    /// Each with its URL, without a password.
    links: Vec<(String, L)>,
    roster: Mutex<Roster>,
    shared: Arc<SyncShared>,
}

impl<L: Link + Sync> Hubs<L> {
    pub(super) fn new(links: Vec<(String, L)>, policy: UpstreamPolicy, shared: Arc<SyncShared>) -> Self {
        let roster = Mutex::new(Roster::new(policy, links.len()));
        let inner = Inner { links, roster, shared };
        inner.publish();
        Self { inner: Arc::new(inner) }
    }
}

impl<L: Link + Sync + 'static> Link for Hubs<L> {
    fn exchange(&self, hello: bool, message: Bytes) -> Exchange {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.exchange(hello, message).await })
    }
}

impl<L: Link + Sync> Inner<L> {
    /// Asks one hub after the other until one answers. What a hub took of a message before it failed is no harm: the next
    /// finds it stored.
    async fn exchange(&self, hello: bool, message: Bytes) -> Result<Vec<u8>, Failure> {
        let (mut asked, mut failures, mut busy) = (Vec::new(), Vec::new(), None);
        loop {
            let picked = self.roster.lock().pick(&asked, busy.is_some(), Instant::now());
            let Some((index, (url, link))) = picked.and_then(|index| Some((index, self.links.get(index)?))) else {
                break;
            };
            asked.push(index);
            let answer = link.exchange(hello, message.clone()).await;
            let outcome = match &answer {
                Ok(reply) if is_busy(reply) => Outcome::Busy,
                Ok(_) => Outcome::Answered,
                Err(failure) => Outcome::Failed(words(failure)),
            };
            let changed = self.roster.lock().note(index, &outcome, Instant::now());
            self.publish();
            if changed && self.links.len() > 1 {
                tell(url, &outcome);
            }
            match (answer, outcome) {
                (Ok(reply), Outcome::Busy) => busy = busy.or(Some(reply)),
                (Ok(reply), _) => return Ok(reply),
                (Err(failure), _) => failures.push(failure),
            }
        }
        busy.ok_or_else(|| as_one(failures))
    }

    fn publish(&self) {
        let roster = self.roster.lock();
        let hubs = self.links.iter().zip(roster.view());
        let report =
            |((url, _), (in_use, last_error)): (&(String, L), _)| HubReport { url: url.clone(), in_use, last_error };
        self.shared.set_hubs(hubs.map(report).collect());
    }
}

fn is_busy(reply: &[u8]) -> bool {
    matches!(Reply::decode(reply), Ok(Reply::Refusal(refusal)) if matches!(refusal.kind, RefusalKind::Busy { .. }))
}

fn tell(url: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Failed(why) => tracing::warn!(hub = url, %why, "this hub failed; the next one is asked"),
        Outcome::Answered | Outcome::Busy => tracing::info!(hub = url, "this hub answers again"),
    }
}

fn words(failure: &Failure) -> String {
    match failure {
        Failure::Transport(why) => why.clone(),
        Failure::Status { code, message, .. } => format!("it answered {code}: {message}"),
    }
}

/// One failure for all: who can say when to come again is believed.
fn as_one(mut failures: Vec<Failure>) -> Failure {
    if failures.len() == 1
        && let Some(failure) = failures.pop()
    {
        return failure;
    }
    let all = failures.iter().map(words).collect::<Vec<_>>().join("; ");
    let said = failures.into_iter().filter_map(|failure| match failure {
        Failure::Status { code, retry_after, .. } => Some((code, retry_after)),
        Failure::Transport(_) => None,
    });
    match said.min_by_key(|(_, retry_after)| *retry_after) {
        Some((code, retry_after)) => Failure::Status { code, message: all, retry_after },
        None => Failure::Transport(all),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_several_failures_each_is_told_and_the_shortest_wait_counts() {
        let status = |code, wait: u64| Failure::Status {
            code,
            message: format!("says {code}"),
            retry_after: Some(Duration::from_secs(wait)),
        };
        let one = as_one(vec![Failure::Transport("a:1 is away".into()), status(503, 9), status(502, 3)]);
        let Failure::Status { code: 502, message, retry_after } = one else { panic!("{one:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(3)));
        assert!(message.contains("a:1 is away") && message.contains("says 503"), "{message}");
        assert_eq!(as_one(vec![status(503, 9)]), status(503, 9));
    }
}

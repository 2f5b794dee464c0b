//! Connections that wait for a place: whose host has the fewest is next.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pyralog_service::host;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::crowd::{Crowd, Mark, Member};

/// Connections that wait, unless file descriptors are scarce; beyond, the latest of the host that has the most waiting is closed.
pub const MAX_WAITING: usize = 128;

/// How long a request is left in peace. One that takes longer may have to make room for others: it could go on for ever.
const CREDIT: Duration = Duration::from_secs(10);
/// What a request that is under way gets to end when its connection has to leave.
const LEAVE_PATIENCE: Duration = Duration::from_millis(250);
const LAST_WORDS: Duration = Duration::from_millis(2);

/// By which a connection is told to leave.
#[derive(Debug, Default)]
pub(super) struct Guest {
    mark: Mark,
    leave: Notify,
    /// Whether a request is under way, and word of its end.
    busy: AtomicBool,
    done: Notify,
}

impl Guest {
    /// Tells it to leave.
    pub(super) fn send_away(&self) {
        self.leave.notify_one();
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.busy.store(true, Relaxed);
        self.mark.set(Instant::now() + CREDIT);
    }

    /// Its answer is written, or given up.
    pub(super) fn end(&self) {
        self.busy.store(false, Relaxed);
        self.mark.set(Instant::now());
        self.done.notify_one();
    }

    /// Completes when it has to leave. A request that is under way may end first, if that does not take long: a writer who
    /// gets no answer sends all of it again.
    pub(super) async fn leaves(&self) {
        self.leave.notified().await;
        let ended = async {
            while self.busy.load(Relaxed) {
                self.done.notified().await;
            }
            // The last of the answer is on its way to the socket.
            tokio::time::sleep(LAST_WORDS).await;
        };
        // Either way the place is needed.
        let _ = tokio::time::timeout(LEAVE_PATIENCE, ended).await;
    }
}

impl Member for Guest {
    fn mark(&self) -> &Mark {
        &self.mark
    }
}

/// A connection that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    since: Instant,
}

/// Those that wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Lobby {
    waiting: VecDeque<Waiting>,
    most: usize,
}

impl Lobby {
    /// One for at most `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), most }
    }

    /// Lets one in; gives the one that has to go if there are too many.
    pub(super) fn push(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) -> Option<Waiting> {
        self.waiting.push_back(Waiting { stream, peer: peer.ip(), since: now });
        if self.waiting.len() <= self.most {
            return None;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.waiting.iter().for_each(|waiting| *counts.entry(host(waiting.peer)).or_default() += 1);
        let (whose, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let latest = self.waiting.iter().rposition(|waiting| host(waiting.peer) == whose)?;
        self.waiting.remove(latest)
    }

    /// Takes out whose turn it is.
    pub(super) fn next(&mut self, crowd: &Arc<Crowd<Guest>>) -> Option<Waiting> {
        if self.waiting.len() > 1 {
            let inside = crowd.by_host();
            let of = |waiting: &Waiting| inside.get(&host(waiting.peer)).copied().unwrap_or_default();
            let (at, _) = self.waiting.iter().enumerate().min_by_key(|(at, waiting)| (of(waiting), *at))?;
            return self.waiting.remove(at);
        }
        self.waiting.pop_front()
    }

    /// Puts back one whose turn it was, as the first of all: there is no room yet.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.push_front(waiting);
    }

    /// Closes those that have waited for longer than `patience`; says how many.
    pub(super) fn tidy(&mut self, patience: Duration, now: Instant) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| now.saturating_duration_since(waiting.since) < patience);
        before - self.waiting.len()
    }
}

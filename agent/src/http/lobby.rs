//! Connections that wait for a place: whose host has the fewest is next, and hosts that have as many take turns.

use std::collections::{HashMap, HashSet, VecDeque};
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
/// How long a newcomer who has to shake hands is not silent, whatever it does: on a slow link that takes some exchanges.
const HANDSHAKE_CREDIT: Duration = Duration::from_secs(1);

/// By which a connection is told to leave.
#[derive(Debug, Default)]
pub(super) struct Guest {
    mark: Mark,
    leave: Notify,
    /// Whether its next answer is the last.
    last: AtomicBool,
    /// Whether a request is under way, and word of its end.
    busy: AtomicBool,
    done: Notify,
}

impl Guest {
    /// Tells it to leave.
    pub(super) fn send_away(&self) {
        self.leave.notify_one();
    }

    /// One that will shake hands first.
    pub(super) fn shakes_hands(&self) {
        self.mark.set(Instant::now() + HANDSHAKE_CREDIT);
    }

    /// Lets it leave after its next answer: others wait.
    pub(super) fn leave_after_answer(&self) {
        self.last.store(true, Relaxed);
    }

    /// Whether the answer that is about to be written is its last.
    pub(super) fn is_last(&self) -> bool {
        self.last.load(Relaxed)
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
    /// When each host that waits had its last turn. Without it a host with one place would wait for ever behind the crowd of another
    /// with one place: those have always come before it.
    turns: HashMap<IpAddr, u64>,
    turn: u64,
}

impl Lobby {
    /// One for at most `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), most, turns: HashMap::new(), turn: 0 }
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
        if self.waiting.len() <= 1 {
            self.turns.clear();
            return self.waiting.pop_front();
        }
        let inside = crowd.by_host();
        let rank = |from: IpAddr| {
            let of = |counts: &HashMap<IpAddr, usize>| counts.get(&from).copied().unwrap_or_default();
            (of(&inside), self.turns.get(&from).copied().unwrap_or_default())
        };
        let (at, waiting) =
            self.waiting.iter().enumerate().min_by_key(|(at, waiting)| (rank(host(waiting.peer)), *at))?;
        let whose = host(waiting.peer);
        self.turn += 1;
        self.turns.insert(whose, self.turn);
        if self.turns.len() > self.most {
            let hosts: HashSet<IpAddr> = self.waiting.iter().map(|waiting| host(waiting.peer)).collect();
            self.turns.retain(|from, _| hosts.contains(from));
        }
        self.waiting.remove(at)
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn lobby(hosts: &[&str]) -> Lobby {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut lobby = Lobby::new(MAX_WAITING);
        for host in hosts {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            assert!(lobby.push(stream, format!("{host}:1").parse().unwrap(), Instant::now()).is_none());
        }
        lobby
    }

    fn inside(crowd: &Arc<Crowd<Guest>>, host: &str) -> crate::crowd::Place<Guest> {
        crowd.enter(host.parse().unwrap(), Arc::default(), Instant::now())
    }

    #[tokio::test]
    async fn whose_host_has_the_fewest_inside_is_next() {
        let crowd = Crowd::new();
        let mut lobby = lobby(&["10.0.0.1", "10.0.0.1", "10.0.0.2"]).await;
        let _places = [inside(&crowd, "10.0.0.1"), inside(&crowd, "10.0.0.1"), inside(&crowd, "10.0.0.2")];
        let turns: Vec<_> = std::iter::from_fn(|| lobby.next(&crowd)).map(|waiting| waiting.peer.to_string()).collect();
        assert_eq!(turns, ["10.0.0.2", "10.0.0.1", "10.0.0.1"]);
    }

    #[tokio::test]
    async fn of_hosts_that_have_as_many_inside_none_waits_for_the_crowd_of_another() {
        let crowd = Crowd::new();
        let mut lobby = lobby(&["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"]).await;
        let _places = [inside(&crowd, "10.0.0.1"), inside(&crowd, "10.0.0.2")];
        let mut turns = Vec::new();
        for _ in 0..4 {
            // There is no room; those that are inside may be asked to leave, each by its own host.
            let waiting = lobby.next(&crowd).unwrap();
            turns.push(waiting.peer.to_string());
            lobby.put_back(waiting);
        }
        assert_eq!(turns, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    }
}

//! The connections of a listener: where they come from, since when they are silent, and who leaves when there are too many.
//!
//! Room for connections is shared out by address: a newcomer takes the place of one from the address that holds the most. Among
//! connections of one address, one that has been silent for a while makes room. So a host that opens thousands of them takes
//! places from itself alone.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyralog_service::host;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A connection that was silent for less does not make room for one from the same address: each would push out the one before.
const GRACE: Duration = Duration::from_millis(250);

/// Of those that have been silent for long, this part leaves at once, so that a crowd is not looked through for each newcomer.
const PART: usize = 16;

/// When a connection last did something useful.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    /// It did something useful at `now`. A time to come gives it credit: until then it is not silent.
    pub(crate) fn set(&self, now: Instant) {
        self.0.store(millis(now), Relaxed);
    }

    fn silence(&self, now: Instant) -> u64 {
        millis(now).saturating_sub(self.0.load(Relaxed))
    }
}

/// A handle by which a connection is told to leave, with its mark.
pub(crate) trait Member: Send + Sync {
    /// The mark.
    fn mark(&self) -> &Mark;
}

/// The connections of a listener.
///
/// Invariant: a member is in it for as long as its [`Place`] lives.
#[derive(Debug)]
pub(crate) struct Crowd<M> {
    members: Mutex<HashMap<u64, (IpAddr, Arc<M>)>>,
    next: AtomicU64,
    left: Notify,
    emptied: Notify,
}

/// A place in the crowd, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<M> {
    crowd: Arc<Crowd<M>>,
    number: u64,
}

impl<M> Drop for Place<M> {
    fn drop(&mut self) {
        let mut members = self.crowd.members.lock();
        members.remove(&self.number);
        self.crowd.left.notify_waiters();
        if members.is_empty() {
            self.crowd.emptied.notify_waiters();
        }
    }
}

impl<M: Member> Crowd<M> {
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            members: Mutex::default(),
            next: AtomicU64::new(0),
            left: Notify::new(),
            emptied: Notify::new(),
        })
    }

    /// Connections in it.
    pub(crate) fn len(&self) -> usize {
        self.members.lock().len()
    }

    /// Connections from each host.
    pub(crate) fn by_host(&self) -> HashMap<IpAddr, usize> {
        let mut counts = HashMap::new();
        self.members.lock().values().for_each(|(from, _)| *counts.entry(*from).or_default() += 1);
        counts
    }

    /// Gives a place to a connection from `peer`.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr, member: Arc<M>, now: Instant) -> Place<M> {
        member.mark().set(now);
        let number = self.next.fetch_add(1, Relaxed);
        self.members.lock().insert(number, (host(peer), member));
        Place { crowd: Arc::clone(self), number }
    }

    /// Does `act` to each, again and again as they may come, until all are gone.
    pub(crate) async fn empty(&self, act: impl Fn(&M)) {
        loop {
            let emptied = self.emptied.notified();
            {
                let members = self.members.lock();
                if members.is_empty() {
                    return;
                }
                members.values().for_each(|(_, member)| act(member));
            }
            emptied.await;
        }
    }

    /// Completes when somebody leaves from now on; to be made before one looks whether there is room.
    pub(crate) fn left(&self) -> Notified<'_> {
        self.left.notified()
    }

    /// Who has to leave for a newcomer from `peer`, when there is no room. None: it is the newcomer who cannot stay.
    pub(crate) fn surplus(&self, peer: IpAddr, now: Instant) -> Vec<Arc<M>> {
        let from = host(peer);
        let counts = self.by_host();
        let own = counts.get(&from).copied().unwrap_or_default();
        // Taking from one who would then have less than the newcomer would only turn the tables.
        let largest = counts.into_iter().filter(|(_, count)| *count > own + 1).max_by_key(|(_, count)| *count);
        let whose = largest.map_or(from, |(host, _)| host);
        let members = self.members.lock();
        let of_host = members.values().filter(|(from, _)| *from == whose);
        let mut silent: Vec<(u64, &Arc<M>)> = of_host.map(|(_, member)| (member.mark().silence(now), member)).collect();
        silent.sort_unstable_by_key(|(silence, _)| Reverse(*silence));
        let idle = silent.iter().take_while(|(silence, _)| *silence >= GRACE.as_millis() as u64).count();
        let leave = idle.div_ceil(PART).max(usize::from(whose != from));
        silent.into_iter().take(leave).map(|(_, member)| Arc::clone(member)).collect()
    }

    /// Of the connections from the host of `peer` the one that has been silent longest.
    pub(crate) fn longest_silent(&self, peer: IpAddr, now: Instant) -> Option<Arc<M>> {
        let (from, members) = (host(peer), self.members.lock());
        let of_host = members.values().filter(|(other, _)| *other == from);
        of_host.max_by_key(|(_, member)| member.mark().silence(now)).map(|(_, member)| Arc::clone(member))
    }
}

/// Milliseconds since this was first asked.
fn millis(now: Instant) -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(now.saturating_duration_since(*BEGAN).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOG: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const GUEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[derive(Debug)]
    struct Client(usize, Mark);

    impl Member for Client {
        fn mark(&self) -> &Mark {
            &self.1
        }
    }

    fn clients(count: usize) -> Vec<Arc<Client>> {
        (0..count).map(|number| Arc::new(Client(number, Mark::default()))).collect()
    }

    fn names(clients: &[Arc<Client>]) -> Vec<usize> {
        clients.iter().map(|client| client.0).collect()
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_longest_silent_of_the_largest_host() {
        let (crowd, hogs, begin) = (Crowd::new(), clients(9), Instant::now());
        let _hogs: Vec<_> = hogs[..8].iter().map(|hog| crowd.enter(HOG, Arc::clone(hog), begin)).collect();
        let guest = crowd.enter(GUEST, Arc::clone(&hogs[8]), begin);
        let now = begin + GRACE / 2;
        hogs[1..].iter().for_each(|hog| hog.mark().set(now));
        assert_eq!(names(&crowd.surplus(GUEST, now)), [0], "whatever the hog's do, one of them leaves");
        assert!(crowd.surplus(HOG, now).is_empty(), "none of its own has been silent for long");
        drop(guest);
        assert_eq!((crowd.len(), crowd.by_host().len()), (8, 1));
    }

    #[test]
    fn of_one_host_the_silent_make_room_a_part_of_them_at_once() {
        let (crowd, all, begin) = (Crowd::new(), clients(64), Instant::now());
        let _places: Vec<_> = all.iter().map(|client| crowd.enter(HOG, Arc::clone(client), begin)).collect();
        let now = begin + 2 * GRACE;
        all[40..].iter().for_each(|client| client.mark().set(now));
        let leaving = names(&crowd.surplus(HOG, now));
        assert_eq!(leaving.len(), 3, "a sixteenth of forty");
        assert!(leaving.iter().all(|number| *number < 40));
        // A credit keeps the silent from leaving.
        all.iter().for_each(|client| client.mark().set(now + GRACE));
        assert!(crowd.surplus(HOG, now).is_empty());
    }

    #[test]
    fn nobody_with_as_few_places_is_pushed_out_by_another() {
        let (crowd, both, now) = (Crowd::new(), clients(2), Instant::now());
        let _places = [crowd.enter(HOG, Arc::clone(&both[0]), now), crowd.enter(GUEST, Arc::clone(&both[1]), now)];
        assert!(crowd.surplus(GUEST, now).is_empty());
    }

    #[tokio::test]
    async fn who_leaves_is_noticed_by_who_waits() {
        let crowd = Crowd::new();
        let place = crowd.enter(HOG, Arc::clone(&clients(1)[0]), Instant::now());
        let left = crowd.left();
        drop(place);
        left.await;
        crowd.empty(|_| ()).await;
    }
}

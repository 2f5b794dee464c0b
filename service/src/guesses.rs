//! Guessing at passwords and tokens is made slow, by host, in little memory.
//!
//! A host may be wrong a few times. From then on each new wrong credential shuts it out for a time that grows up to a minute: what it
//! sends meanwhile is not looked at. Two things keep this from hitting those who do not guess. A wrong credential that is sent again
//! counts once: whoever is set up wrongly repeats itself, and learns nothing by it. And a credential that was right from a host is
//! looked at in any case, so that neighbours behind one address go on.
//!
//! No sockets and no clock: callers say who, when, and what is right.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{every_10s, host};

/// Different wrong credentials from one host that have no consequences.
const FREE: u32 = 10;
/// How long the first one beyond them shuts a host out; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// And up to this.
const LONGEST: Duration = Duration::from_secs(60);
/// A host of which nothing wrong was heard for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(15 * 60);
/// Hosts that are kept in mind; the one that has been quiet for longest goes first.
const HOSTS: usize = 512;
/// The latest wrong credentials of a host that are known when they come again.
const REPEATED: usize = 4;
/// Places for credentials that were right.
const RIGHT: usize = 4096;

/// What became of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// It was not looked at: its host is shut out for so long.
    ShutOut(Duration),
}

/// Wrong credentials by host, in 128 KiB at most.
#[derive(Debug)]
pub struct Guesses {
    /// Not to be foreseen, so that nobody chooses which tags meet.
    tags: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hosts: HashMap<IpAddr, Record>,
    /// Tags of host and credential, each at the place that it names; 0 is an empty place. One that is overwritten comes back with its
    /// next use.
    right: Box<[u64; RIGHT]>,
}

/// What is known of a host.
#[derive(Debug)]
struct Record {
    wrong: u32,
    last: Instant,
    shut_until: Instant,
    repeated: [u64; REPEATED],
}

impl Default for Guesses {
    fn default() -> Self {
        let state = State { hosts: HashMap::new(), right: Box::new([0; RIGHT]) };
        Self { tags: RandomState::new(), state: Mutex::new(state) }
    }
}

impl Guesses {
    /// Judges what `peer` shows at `door`, which the log calls so; `is_right` looks at it, unless the host is shut out.
    pub fn judge(
        &self,
        door: &'static str,
        peer: IpAddr,
        credential: &[u8],
        now: Instant,
        is_right: impl FnOnce() -> bool,
    ) -> Verdict {
        if let Some(left) = self.shut_out(peer, credential, now) {
            return Verdict::ShutOut(left);
        }
        if is_right() {
            self.right(peer, credential);
            return Verdict::Right;
        }
        if let Some(shut) = self.wrong(peer, credential, now) {
            every_10s!(held_back => tracing::warn!(
                %peer, held_back, "{door}: too many wrong credentials from this host: for {shut:?} no new ones are looked at"
            ));
        }
        Verdict::Wrong
    }

    /// How long `peer` is shut out; `None` where its credential is to be looked at.
    fn shut_out(&self, peer: IpAddr, credential: &[u8], now: Instant) -> Option<Duration> {
        let tag = self.tag(peer, credential);
        let state = self.state.lock();
        let left = state.hosts.get(&host(peer))?.shut_until.checked_duration_since(now)?;
        let known = state.right.get(place(tag)) == Some(&tag);
        (!left.is_zero() && !known).then_some(left)
    }

    /// The credential was right.
    fn right(&self, peer: IpAddr, credential: &[u8]) {
        let tag = self.tag(peer, credential);
        if let Some(known) = self.state.lock().right.get_mut(place(tag)) {
            *known = tag;
        }
    }

    /// The credential was wrong; says for how long that shuts the host out, if it does.
    fn wrong(&self, peer: IpAddr, credential: &[u8], now: Instant) -> Option<Duration> {
        let (peer, tag) = (host(peer), self.tag(peer, credential));
        let mut state = self.state.lock();
        state.make_room(peer, now);
        let fresh = Record { wrong: 0, last: now, shut_until: now, repeated: [0; REPEATED] };
        let record = state.hosts.entry(peer).or_insert(fresh);
        if record.repeated.contains(&tag) {
            return None;
        }
        record.last = now;
        record.repeated.rotate_right(1);
        record.repeated[0] = tag;
        record.wrong = record.wrong.saturating_add(1);
        let beyond = record.wrong.checked_sub(FREE + 1)?;
        let shut = FIRST.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX)).min(LONGEST);
        record.shut_until = now + shut;
        Some(shut)
    }

    /// Never 0, which marks an empty place.
    fn tag(&self, peer: IpAddr, credential: &[u8]) -> u64 {
        self.tags.hash_one((host(peer), credential)) | 1 << 63
    }
}

impl State {
    /// Forgets `peer` if it is forgiven, and another if there are too many.
    fn make_room(&mut self, peer: IpAddr, now: Instant) {
        if self.hosts.get(&peer).is_some_and(|record| now.saturating_duration_since(record.last) >= FORGIVEN) {
            self.hosts.remove(&peer);
        }
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&peer) {
            let quiet = self.hosts.iter().min_by_key(|(_, record)| record.last).map(|(host, _)| *host);
            quiet.and_then(|host| self.hosts.remove(&host));
        }
    }
}

fn place(tag: u64) -> usize {
    (tag % RIGHT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESSER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// Makes `count` wrong guesses that differ, each as soon as it is looked at, and says when the last was made.
    fn guess(guesses: &Guesses, peer: IpAddr, count: u32, mut now: Instant) -> Instant {
        for number in 0..count {
            let word = number.to_le_bytes();
            now += guesses.shut_out(peer, &word, now).unwrap_or_default();
            guesses.wrong(peer, &word, now);
        }
        now
    }

    #[test]
    fn a_few_mistakes_have_no_consequences_and_more_shut_the_host_out() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        assert_eq!(guess(&guesses, GUESSER, FREE, now), now);
        assert_eq!(guesses.shut_out(GUESSER, b"another", now), None);
        assert_eq!(guesses.wrong(GUESSER, b"another", now), Some(FIRST));
        assert_eq!(guesses.shut_out(GUESSER, b"one more", now), Some(FIRST));
        assert_eq!(guesses.shut_out(GUESSER, b"one more", now + FIRST), None);
    }

    #[test]
    fn each_further_guess_costs_twice_the_time_up_to_a_minute() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let mut at = guess(&guesses, GUESSER, FREE, now);
        let mut waits = Vec::new();
        for number in 0..40_u8 {
            waits.extend(guesses.wrong(GUESSER, &[number], at));
            at += *waits.last().unwrap();
        }
        let seconds: Vec<_> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(seconds[8..].iter().all(|seconds| *seconds == 60));
    }

    #[test]
    fn who_is_shut_out_learns_nothing_of_a_credential() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let judge = |credential: &[u8], now| guesses.judge("test", GUESSER, credential, now, || credential == b"right");
        assert_eq!(judge(b"wrong", now), Verdict::Wrong);
        let now = guess(&guesses, GUESSER, FREE, now);
        assert_eq!(judge(b"wrong", now), Verdict::ShutOut(FIRST));
        assert_eq!(judge(b"right", now), Verdict::ShutOut(FIRST));
        assert_eq!(judge(b"right", now + FIRST), Verdict::Right);
    }

    #[test]
    fn other_hosts_are_not_affected() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let now = guess(&guesses, GUESSER, FREE + 5, now);
        assert!(guesses.shut_out(GUESSER, b"x", now).is_some());
        assert_eq!(guesses.shut_out(OTHER, b"x", now), None);
    }

    #[test]
    fn what_was_right_from_a_host_is_looked_at_while_the_host_is_shut_out() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guesses.right(GUESSER, b"the neighbour's");
        guesses.right(OTHER, b"another's");
        let now = guess(&guesses, GUESSER, FREE + 5, now);
        assert_eq!(guesses.shut_out(GUESSER, b"the neighbour's", now), None);
        assert!(guesses.shut_out(GUESSER, b"another's", now).is_some(), "it was right from elsewhere");
    }

    #[test]
    fn whoever_repeats_the_same_mistake_is_never_shut_out() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for turn in 0..1000_u32 {
            // Four clients behind one address, each set up wrongly.
            let word = (turn % REPEATED as u32).to_le_bytes();
            assert_eq!(guesses.wrong(GUESSER, &word, now), None);
            assert_eq!(guesses.shut_out(GUESSER, &word, now), None);
        }
    }

    #[test]
    fn a_quarter_of_an_hour_without_mistakes_is_a_new_beginning() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let last = guess(&guesses, GUESSER, FREE + 5, now);
        assert!(guesses.wrong(GUESSER, b"a", last + FORGIVEN - Duration::from_secs(1)).is_some());
        assert_eq!(guesses.wrong(GUESSER, b"b", last + 2 * FORGIVEN), None);
    }

    #[test]
    fn a_flood_of_hosts_takes_no_more_memory_and_leaves_the_latest_in_mind() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..4 * HOSTS as u32 {
            let peer = IpAddr::V4(number.into());
            guess(&guesses, peer, FREE + 1, now + Duration::from_millis(number.into()));
        }
        let state = guesses.state.lock();
        assert_eq!(state.hosts.len(), HOSTS);
        assert!(state.hosts.contains_key(&IpAddr::V4((4 * HOSTS as u32 - 1).into())));
        let bytes = size_of::<[u64; RIGHT]>() + state.hosts.capacity() * (size_of::<(IpAddr, Record)>() + 1);
        assert!(bytes <= 128 << 10, "{bytes} bytes");
    }

    #[test]
    fn all_addresses_of_a_network_of_ipv6_are_one_host() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..=FREE {
            let peer = format!("2001:db8::{number:x}").parse().unwrap();
            guesses.wrong(peer, &number.to_le_bytes(), now);
        }
        assert!(guesses.shut_out("2001:db8::ffff".parse().unwrap(), b"x", now).is_some());
    }
}

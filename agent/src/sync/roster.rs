//! Which of several hubs is asked next. Any hub can answer any agent at any moment, so this is about reaching one alone.

use std::time::Duration;

use tokio::time::Instant;

/// How the hubs of `sync.upstream` are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamPolicy {
    /// One, until it fails; then the next.
    #[default]
    Failover,
    /// Another for each request.
    RoundRobin,
}

/// What came of asking a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered.
    Answered,
    /// It is there, and says that it has no time.
    Busy,
    /// There was no answer of the protocol.
    Failed(String),
}

/// A hub that failed is asked after the others for so long, twice as long each time in a row.
const REST: Duration = Duration::from_secs(5);
const MAX_REST: Duration = Duration::from_secs(300);

/// What is known of each hub.
#[derive(Debug)]
pub(super) struct Roster {
    policy: UpstreamPolicy,
    hubs: Vec<Known>,
    /// The one that was asked last.
    current: usize,
    /// Whether any was.
    begun: bool,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// Whether the last request to it was answered, and not with `busy`.
    well: bool,
    last_error: Option<String>,
    failures: u32,
    rests_until: Option<Instant>,
}

impl Roster {
    pub(super) fn new(policy: UpstreamPolicy, hubs: usize) -> Self {
        Self { policy, hubs: vec![Known::default(); hubs], current: 0, begun: false }
    }

    /// The hub to ask, of those that were not asked with this message: `None` when there is no sense in asking another.
    /// After a `busy` only one that is known to be well is worth it.
    pub(super) fn pick(&mut self, asked: &[usize], was_busy: bool, now: Instant) -> Option<usize> {
        let count = self.hubs.len();
        // In the order of the list, from the one in use on; or from the one after it.
        let ahead = usize::from(self.policy == UpstreamPolicy::RoundRobin && asked.is_empty() && self.begun);
        let order = (0..count).map(|step| (self.current + ahead + step) % count.max(1));
        let left: Vec<usize> = order.filter(|index| !asked.contains(index)).collect();
        let rests = |index: &&usize| self.hubs[**index].rests_until.is_some_and(|until| until > now);
        let picked = match was_busy {
            true => left.iter().find(|index| self.hubs[**index].well),
            false => left.iter().find(|index| !rests(index)).or(left.first()),
        };
        let picked = picked.copied()?;
        (self.current, self.begun) = (picked, true);
        Some(picked)
    }

    /// Takes what came of asking a hub. Says whether it was well before and failed now, or the other way round.
    pub(super) fn note(&mut self, index: usize, outcome: &Outcome, now: Instant) -> bool {
        let Some(hub) = self.hubs.get_mut(index) else { return false };
        let failed_before = hub.failures > 0;
        match outcome {
            Outcome::Answered => *hub = Known { well: true, ..Known::default() },
            Outcome::Busy => *hub = Known { last_error: Some("busy".into()), ..Known::default() },
            Outcome::Failed(why) => {
                let rest = REST.saturating_mul(1 << hub.failures.min(10)).min(MAX_REST);
                hub.failures = hub.failures.saturating_add(1);
                (hub.well, hub.last_error, hub.rests_until) = (false, Some(why.clone()), now.checked_add(rest));
            }
        }
        failed_before != (hub.failures > 0)
    }

    /// The hub in use, and why the last request to each failed.
    pub(super) fn view(&self) -> impl Iterator<Item = (bool, Option<String>)> + '_ {
        self.hubs.iter().enumerate().map(|(index, hub)| (index == self.current, hub.last_error.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for one message until a hub answers or none is left; `down` fail and `busy` are busy.
    fn ask(roster: &mut Roster, now: Instant, down: &[usize], busy: &[usize]) -> Vec<usize> {
        let (mut asked, mut was_busy) = (Vec::new(), false);
        while let Some(hub) = roster.pick(&asked, was_busy, now) {
            asked.push(hub);
            let outcome = match () {
                () if down.contains(&hub) => Outcome::Failed("down".into()),
                () if busy.contains(&hub) => Outcome::Busy,
                () => Outcome::Answered,
            };
            roster.note(hub, &outcome, now);
            was_busy |= outcome == Outcome::Busy;
            if outcome == Outcome::Answered {
                break;
            }
        }
        asked
    }

    #[test]
    fn a_hub_is_kept_until_it_fails_and_then_the_next_is_asked_at_once() {
        let (mut roster, now) = (Roster::new(UpstreamPolicy::Failover, 3), Instant::now());
        assert_eq!(ask(&mut roster, now, &[], &[]), [0]);
        assert_eq!(ask(&mut roster, now, &[0], &[]), [0, 1]);
        assert_eq!(ask(&mut roster, now, &[], &[]), [1], "no way back without a reason");
        assert_eq!(ask(&mut roster, now, &[1], &[]), [1, 2], "the first still rests");
        assert_eq!(ask(&mut roster, now, &[0, 1, 2], &[]), [2, 0, 1], "each once, rest or not");
        assert_eq!(ask(&mut roster, now + MAX_REST, &[], &[]), [1]);
    }

    #[test]
    fn each_request_goes_to_another_hub_and_those_that_failed_are_left_out_for_a_while() {
        let (mut roster, now) = (Roster::new(UpstreamPolicy::RoundRobin, 3), Instant::now());
        let firsts: Vec<_> = (0..6).map(|_| ask(&mut roster, now, &[], &[])[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
        assert_eq!(ask(&mut roster, now, &[0], &[]), [0, 1]);
        let firsts: Vec<_> = (0..4).map(|_| ask(&mut roster, now, &[0], &[])[0]).collect();
        assert_eq!(firsts, [2, 1, 2, 1]);
        let firsts: Vec<_> = (0..3).map(|_| ask(&mut roster, now + MAX_REST, &[], &[])[0]).collect();
        assert_eq!(firsts, [2, 0, 1]);
    }

    #[test]
    fn who_is_busy_is_waited_for_unless_another_is_known_to_be_well() {
        let (mut roster, now) = (Roster::new(UpstreamPolicy::Failover, 2), Instant::now());
        assert_eq!(ask(&mut roster, now, &[], &[0]), [0], "nothing is known of the other");
        let (mut roster, now) = (Roster::new(UpstreamPolicy::RoundRobin, 3), Instant::now());
        ask(&mut roster, now, &[], &[]);
        ask(&mut roster, now, &[], &[]);
        assert_eq!(ask(&mut roster, now, &[], &[2]), [2, 0]);
        assert_eq!(ask(&mut roster, now, &[], &[0, 1, 2]), [1, 0], "the third said that it is busy");
        assert_eq!(ask(&mut roster, now, &[], &[]), [1]);
    }

    #[test]
    fn a_change_is_told_once() {
        let (mut roster, now) = (Roster::new(UpstreamPolicy::Failover, 1), Instant::now());
        let failed = Outcome::Failed("down".into());
        let told =
            [Outcome::Answered, failed.clone(), failed, Outcome::Answered].map(|outcome| roster.note(0, &outcome, now));
        assert_eq!(told, [false, true, false, true]);
    }
}

//! What is to happen in a round. It follows from the seed and the number of the round alone, so that any round can be had again.

use std::fmt;
use std::time::{Duration, Instant};

use super::act::Act;
use super::faults::{Fault, millis};
use super::world::World;
use crate::Result;
use crate::generate::Random;

/// How often a fault is drawn that cannot happen beside those there are, before the round has to do with fewer.
const DRAWS: u32 = 8;

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its number, from 1.
    pub round: u64,
    /// The faults that happen at once.
    pub faults: Vec<Fault>,
    acts: Vec<(Duration, Act)>,
    /// How long nothing happens after the last act.
    calm: Duration,
}

impl Script {
    /// The round of this number: `first`, or else one of `faults`, and up to `at_once` faults in all.
    pub fn draw(seed: u64, round: u64, faults: &[Fault], first: Option<Fault>, at_once: u64, agents: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round);
        // Seeds that are alike begin alike.
        for _ in 0..16 {
            random.below(2);
        }
        let any = |random: &mut Random| faults.get(random.below(faults.len().max(1) as u64) as usize).copied();
        let mut chosen: Vec<Fault> = first.or_else(|| any(&mut random)).into_iter().collect();
        let count = 1 + random.below(at_once.max(1)) as usize;
        for _ in 0..DRAWS {
            if chosen.len() >= count {
                break;
            }
            let taken = chosen.iter().fold(0, |taken, fault| taken | fault.takes());
            chosen.extend(any(&mut random).filter(|fault| fault.takes() & taken == 0));
        }
        let mut acts = Vec::new();
        for fault in &chosen {
            let at = millis(&mut random, 50, if acts.is_empty() { 250 } else { 600 });
            acts.extend(fault.draw(agents, at, &mut random));
        }
        // Those of one fault stay in their order.
        acts.sort_by_key(|(at, _)| *at);
        Self { round, faults: chosen, acts, calm: millis(&mut random, 50, 250) }
    }

    /// Lets it happen. In the end every process runs, whatever held it down.
    ///
    /// # Errors
    /// When something does not come back; with the act.
    pub async fn happen(&self, world: &mut World) -> Result<()> {
        let begun = Instant::now();
        let hindered = self.faults.iter().any(|fault| fault.hinders_writers());
        for (at, act) in &self.acts {
            tokio::time::sleep_until((begun + *at).into()).await;
            act.happen(world, hindered).await.map_err(|error| format!("{act}: {error}"))?;
        }
        world.start_hubs().await?;
        tokio::time::sleep(self.calm).await;
        Ok(())
    }

    /// The faults, by name.
    pub fn names(&self) -> String {
        self.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(" + ")
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}, {}:", self.round, self.names())?;
        for (number, (at, act)) in self.acts.iter().enumerate() {
            let separator = if number == 0 { "" } else { ";" };
            write!(f, "{separator} {} ms {act}", at.as_millis())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;

    use super::*;

    fn round(seed: u64, round: u64) -> Script {
        Script::draw(seed, round, Fault::value_variants(), None, 3, 2)
    }

    #[test]
    fn a_round_follows_from_the_seed_and_its_number() {
        for number in 1..50 {
            assert_eq!(round(31, number), round(31, number));
        }
        let lines: BTreeSet<String> = (1..50).map(|number| round(31, number).to_string()).collect();
        assert_eq!(lines.len(), 49, "{lines:?}");
        assert_ne!(round(31, 1).acts, round(32, 1).acts);
    }

    #[test]
    fn one_to_three_faults_happen_at_once_and_none_takes_what_another_has() {
        let (mut counts, mut seen) = ([0; 4], BTreeSet::new());
        for number in 1..=600 {
            let script = round(7, number);
            counts[script.faults.len()] += 1;
            let bits: u32 = script.faults.iter().map(|fault| fault.takes().count_ones()).sum();
            let all = script.faults.iter().fold(0, |all, fault| all | fault.takes());
            assert_eq!(all.count_ones(), bits, "{script}");
            seen.extend(script.faults);
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|count| *count > 100), "{counts:?}");
        assert_eq!(seen.len(), Fault::value_variants().len());
    }

    #[test]
    fn whatever_a_round_takes_away_it_gives_back() {
        for script in (1..=600).map(|number| round(5, number)) {
            let count = |what: fn(&Act) -> bool| script.acts.iter().filter(|(_, act)| what(act)).count();
            assert_eq!(count(|act| matches!(act, Act::Kill(_))), count(|act| matches!(act, Act::Start(_))), "{script}");
            assert_eq!(count(|act| matches!(act, Act::Flood(_))), count(|act| matches!(act, Act::Ebb(_))), "{script}");
            assert!(script.acts.is_sorted_by_key(|(at, _)| *at), "{script}");
        }
    }
}

//! Topic aliases of one MQTT 5 connection.

use super::{
    budget::{ConnectionBudget, Reserved},
    limits,
};

/// The topics that a client gave numbers to, at most [`limits::TOPIC_ALIASES`].
///
/// Invariant: `charge` pays for the bytes of all topics held, or there are none.
#[derive(Default)]
pub(super) struct Aliases {
    topics: Vec<String>,
    charged: u64,
    charge: Option<Reserved>,
}

/// Why a topic could not be given its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AliasError {
    /// The number is over the maximum.
    Range,
    /// There is no memory for the topic.
    NoMemory,
}

impl Aliases {
    /// The topic of a number; `None` for a number without one.
    pub(super) fn topic(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias).checked_sub(1)?).map(String::as_str).filter(|topic| !topic.is_empty())
    }

    /// Gives a topic a number; the same again costs nothing.
    pub(super) fn set(&mut self, alias: u16, topic: &str, budget: &dyn ConnectionBudget) -> Result<(), AliasError> {
        if alias == 0 || alias > limits::TOPIC_ALIASES {
            return Err(AliasError::Range);
        }
        let at = usize::from(alias) - 1;
        if self.topics.get(at).is_some_and(|have| have == topic) {
            return Ok(());
        }
        let count = (at + 1).max(self.topics.len());
        let others: usize = self.topics.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, t)| t.capacity()).sum();
        let wanted = (others + topic.len() + count * size_of::<String>()) as u64;
        if wanted > self.charged {
            self.charge = Some(budget.reserve(wanted).ok_or(AliasError::NoMemory)?);
            self.charged = wanted;
        }
        self.topics.resize(count, String::new());
        if let Some(slot) = self.topics.get_mut(at) {
            *slot = topic.to_owned();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::mqtt::budget::Unlimited;

    #[test]
    fn an_alias_stands_for_the_last_topic_it_was_given() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.topic(1), None);
        aliases.set(3, "a/b", &Unlimited).unwrap();
        aliases.set(3, "a/c", &Unlimited).unwrap();
        assert_eq!(aliases.topic(3), Some("a/c"));
        assert_eq!(aliases.topic(1), None);
        assert_eq!(aliases.topic(0), None);
        assert_eq!(aliases.set(0, "x", &Unlimited), Err(AliasError::Range));
        assert_eq!(aliases.set(limits::TOPIC_ALIASES + 1, "x", &Unlimited), Err(AliasError::Range));
    }
}

//! A bounded memory of what was used lately.

use std::hash::Hash;

use hashbrown::{Equivalent, HashMap};

/// A map that keeps what was used lately: two generations, of which the older is dropped when the younger is full.
#[derive(Debug)]
pub(crate) struct Recent<K, V, const CAPACITY: usize> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V, const CAPACITY: usize> Default for Recent<K, V, CAPACITY> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V, const CAPACITY: usize> Recent<K, V, CAPACITY> {
    pub(crate) fn get<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&V> {
        self.get_mut(key).map(|value| &*value)
    }

    pub(crate) fn get_mut<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.put(key, value);
        }
        self.young.get_mut(key)
    }

    /// Keeps a value, for which another may be forgotten.
    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= CAPACITY / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten_in_time() {
        let mut recent = Recent::<Box<str>, usize, 8>::default();
        recent.put("used".into(), 1);
        recent.put("unused".into(), 2);
        for round in 0..8 {
            recent.put(format!("{round}").into(), round);
            assert_eq!(recent.get("used"), Some(&1));
            assert!(recent.young.len() + recent.old.len() <= 8 + 1);
        }
        assert_eq!(recent.get("unused"), None);
    }
}

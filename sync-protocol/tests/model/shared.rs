//! A part of the world's state that many states share: copied when it changes, hashed once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A value with its hash. Equal hashes are taken for equal values when states are ordered, never when they are compared.
#[derive(Debug, Clone)]
pub struct Shared<T> {
    value: Arc<T>,
    hash: u64,
}

impl<T: Hash + Clone> Shared<T> {
    pub fn new(value: T) -> Self {
        Self { hash: fingerprint(&value), value: Arc::new(value) }
    }

    /// Changes the value, of this state alone.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let value = Arc::make_mut(&mut self.value);
        let result = change(value);
        self.hash = fingerprint(value);
        result
    }

    /// The order in which parts that are a set stand in a state, so that states that differ in order alone are one.
    pub fn rank(&self) -> u64 {
        self.hash
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.value, &other.value) || self.value == other.value)
    }
}

/// A hash that is the same in every run.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

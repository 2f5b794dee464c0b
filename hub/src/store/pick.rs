//! What is wanted of the numbers in a folder.

use std::collections::BinaryHeap;

use super::MAX_PAGE;

/// Which numbers of a listing are wanted; keeps no more than it will return.
pub(super) enum Pick {
    /// The greatest that is at most `at_most`.
    Greatest { at_most: u64, found: Option<u64> },
    /// The `limit` least that are at least `from`.
    Page { from: u64, limit: usize, found: BinaryHeap<u64> },
}

impl Pick {
    pub(super) fn greatest(at_most: u64) -> Self {
        Self::Greatest { at_most, found: None }
    }

    pub(super) fn page(from: u64, limit: usize) -> Self {
        Self::Page { from, limit: limit.min(MAX_PAGE), found: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, number: u64) {
        match self {
            Self::Greatest { at_most, found } => {
                if number <= *at_most && found.is_none_or(|best| number > best) {
                    *found = Some(number);
                }
            }
            Self::Page { from, limit, found } => {
                if number >= *from && (found.len() < *limit || found.peek().is_some_and(|most| number < *most)) {
                    found.push(number);
                    if found.len() > *limit {
                        found.pop();
                    }
                }
            }
        }
    }

    pub(super) fn finish(self) -> Vec<u64> {
        match self {
            Self::Greatest { found, .. } => found.into_iter().collect(),
            Self::Page { found, .. } => found.into_sorted_vec(),
        }
    }
}

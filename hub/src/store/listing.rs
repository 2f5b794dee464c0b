//! Listing a folder of numbers a page at a time.
//!
//! A bucket gives names in order from any name on, a thousand in one answer. So the greatest number of a folder is found by
//! looking ever further and then halving, in a number of requests that grows with the logarithm of what the folder holds, and
//! nothing has to be kept up to date for it.

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore};

use super::names::{self, Digits};

/// Names that one look takes at most: what S3 puts into one answer.
pub(super) const PAGE: usize = 1_000;

/// How far the first look below a number goes that has an end: some hundred entries of a usual size.
const FIRST_STEP: u64 = 65_536;

/// How much further each look goes than the one before, as long as the end is not in sight.
const STRIDE: u64 = 16;

/// Looks of one search; what 64 bits can need is far less.
const MAX_LOOKS: usize = 256;

/// A folder whose objects have numbers for names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) folder: &'a Path,
    pub(super) digits: Digits,
}

/// The numbers that one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Page {
    /// Ascending.
    numbers: Vec<u64>,
    /// Whether there may be greater ones.
    more: bool,
}

impl Listing<'_> {
    /// Up to `limit` numbers from `from` on, ascending.
    pub(super) async fn numbers(&self, from: u64, limit: usize) -> Result<Vec<u64>, ObjectError> {
        Ok(self.page(from, limit).await?.numbers)
    }

    /// The greatest number up to `at_most`. If that is all numbers, a right `hint`, which is the greatest of before, saves all requests
    /// but one.
    pub(super) async fn greatest(&self, at_most: u64, hint: Option<u64>) -> Result<Option<u64>, ObjectError> {
        let mut search = Search::new(at_most, hint);
        for _ in 0..MAX_LOOKS {
            match search.next() {
                Next::Look { from } => search.found(from, &self.page(from, PAGE).await?),
                Next::Found(number) => return Ok(number),
            }
        }
        let source = format!("the names under {} come in no order", self.folder).into();
        Err(ObjectError::Generic { store: "list", source })
    }

    /// The number that the store itself gives first from `from` on, whatever it is.
    pub(super) async fn raw_from(&self, from: u64) -> Result<Option<u64>, ObjectError> {
        let before = names::numbered(self.folder, self.digits, from.saturating_sub(1));
        let first = self.objects.list_with_offset(Some(self.folder), &before).next().await.transpose()?;
        Ok(first.and_then(|found| names::number(&found.location, self.digits)))
    }

    async fn page(&self, from: u64, limit: usize) -> Result<Page, ObjectError> {
        let mut listing = match from.checked_sub(1) {
            // A listing begins after a name.
            Some(before) => {
                self.objects.list_with_offset(Some(self.folder), &names::numbered(self.folder, self.digits, before))
            }
            None => self.objects.list(Some(self.folder)),
        };
        let mut page = Page::default();
        while page.numbers.len() < limit {
            let Some(found) = listing.next().await else { return Ok(page) };
            let found = found?.location;
            if names::is_above_numbers(self.folder, &found, self.digits) {
                return Ok(page);
            }
            page.numbers.extend(names::number(&found, self.digits).filter(|number| *number >= from));
        }
        page.more = true;
        Ok(page)
    }
}

/// What a search does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Look at what there is from here on.
    Look { from: u64 },
    /// This is it.
    Found(Option<u64>),
}

/// The search for the greatest number up to a given one.
#[derive(Debug)]
struct Search {
    at_most: u64,
    hint: Option<u64>,
    /// The greatest number that was seen.
    low: Option<u64>,
    /// From here on there is none.
    high: Option<u64>,
    /// How far the next look goes.
    step: u64,
    /// The distance between the first and the last number of the last page. Of that page alone: where pages are looked at one
    /// after the other since the rest seems short, each look halves the rest all the same, or ends this.
    span: u64,
    done: bool,
}

impl Search {
    fn new(at_most: u64, hint: Option<u64>) -> Self {
        let hint = hint.filter(|_| at_most == u64::MAX);
        // What is sought below a number is sought near it; for all numbers the first page tells how far apart they are.
        let (step, high) = if at_most == u64::MAX { (0, None) } else { (FIRST_STEP, Some(at_most + 1)) };
        Self { at_most, hint, low: None, high, step, span: 0, done: false }
    }

    fn next(&self) -> Next {
        match (self.low, self.high) {
            (low, _) if self.done => Next::Found(low),
            (_, Some(0)) => Next::Found(None),
            (None, None) => Next::Look { from: self.hint.unwrap_or(0) },
            // Nothing so far: further down.
            (None, Some(high)) => Next::Look { from: high.saturating_sub(self.step) },
            // No end so far: further up.
            (Some(u64::MAX), None) => Next::Found(Some(u64::MAX)),
            (Some(low), None) => Next::Look { from: low.saturating_add(self.step.max(1)) },
            (Some(low), Some(high)) => match high - low {
                0 | 1 => Next::Found(Some(low)),
                // All of the rest may well be on one page.
                rest if rest <= self.span => Next::Look { from: low + 1 },
                rest => Next::Look { from: low + rest / 2 },
            },
        }
    }

    fn found(&mut self, from: u64, page: &Page) {
        let hinted = self.hint.take();
        let within = page.numbers.partition_point(|number| *number <= self.at_most);
        let (first, last) = (page.numbers.first().copied(), page.numbers[..within].last().copied());
        if hinted.is_some() && first != hinted {
            // Nothing is where something was: the store was emptied, or is another. Whatever else was there is gone too.
            return;
        }
        match last {
            Some(last) => {
                (self.low, self.span) = (Some(last), last - first.unwrap_or(last));
                self.step = self.step.max(self.span).saturating_mul(STRIDE);
                self.done = within < page.numbers.len() || !page.more;
            }
            None => {
                self.high = Some(from);
                self.step = self.step.saturating_mul(STRIDE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a look at a sorted folder finds.
    fn look(numbers: &[u64], from: u64) -> Page {
        let start = numbers.partition_point(|number| *number < from);
        let end = (start + PAGE).min(numbers.len());
        Page { numbers: numbers[start..end].to_vec(), more: end - start == PAGE }
    }

    fn run(numbers: &[u64], at_most: u64, hint: Option<u64>) -> (Option<u64>, usize) {
        let mut search = Search::new(at_most, hint);
        for looks in 0..MAX_LOOKS {
            match search.next() {
                Next::Look { from } => search.found(from, &look(numbers, from)),
                Next::Found(found) => return (found, looks),
            }
        }
        panic!("no end: {search:?}");
    }

    #[test]
    fn the_end_of_a_chain_takes_few_looks_however_long_it_is() {
        for (entries, rows, most) in [(0u64, 1, 1), (1, 1, 1), (999, 8_192, 1), (5_000, 1, 8), (5_000, 8_192, 8)] {
            let numbers: Vec<_> = (0..entries).map(|entry| entry * rows).collect();
            let (found, looks) = run(&numbers, u64::MAX, None);
            assert_eq!(found, numbers.last().copied());
            assert!(looks <= most, "{entries} entries of {rows}: {looks} looks");
            if let Some(last) = found {
                assert_eq!(run(&numbers, u64::MAX, Some(last)), (found, 1));
            }
        }
        let numbers: Vec<_> = (0..1_000_000).map(|entry| entry * 613).collect();
        let (found, looks) = run(&numbers, u64::MAX, None);
        assert_eq!(found, numbers.last().copied());
        assert!(looks <= 20, "{looks} looks");
    }

    #[test]
    fn a_hint_from_another_store_is_no_harm() {
        let numbers: Vec<_> = (0..100).map(|entry| entry * 10).collect();
        for hint in [5, 995, 100_000, u64::MAX] {
            assert_eq!(run(&numbers, u64::MAX, Some(hint)).0, Some(990), "{hint}");
        }
        assert_eq!(run(&[], u64::MAX, Some(7)).0, None);
    }

    proptest! {
        #[test]
        fn the_greatest_is_found_whatever_is_there(
            dense in 0u64..4_000,
            rows in 1u64..100_000,
            sparse in proptest::collection::vec(any::<u64>(), 0..50),
            at_most in any::<u64>(),
            near in any::<proptest::sample::Index>(),
            hint in any::<Option<u64>>(),
        ) {
            let mut numbers: Vec<_> = (0..dense).map(|entry| entry * rows).chain(sparse).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let near = if numbers.is_empty() { 0 } else { numbers[near.index(numbers.len())] };
            for at_most in [u64::MAX, at_most, near, near.saturating_sub(1), near.saturating_add(1)] {
                let expected = numbers[..numbers.partition_point(|number| *number <= at_most)].last().copied();
                for hint in [None, hint, Some(near), numbers.first().copied()] {
                    let (found, looks) = run(&numbers, at_most, hint);
                    prop_assert_eq!(found, expected);
                    prop_assert!(looks <= 150, "{} looks", looks);
                }
            }
        }
    }
}

//! The distinct tags of one column of an open segment.

use arrow_array::StringArray;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::column::grown;

/// Tags by number, and numbers by tag. A tag equal to the previous one, the common case, is found without a hash.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    ends: Vec<i32>,
    bytes: Vec<u8>,
    numbers: HashTable<i32>,
    hasher: RandomState,
    last: Option<i32>,
}

impl Dictionary {
    /// The number of `tag`, if it has one.
    pub(super) fn find(&mut self, tag: &str) -> Option<i32> {
        if let Some(last) = self.last
            && self.get(last) == tag.as_bytes()
        {
            return Some(last);
        }
        let hash = self.hasher.hash_one(tag.as_bytes());
        let found = self.numbers.find(hash, |number| self.get(*number) == tag.as_bytes()).copied();
        if found.is_some() {
            self.last = found;
        }
        found
    }

    /// The number of `tag`, a new one if need be. Room for a new one was charged by way of [`Self::growth`].
    pub(super) fn intern(&mut self, tag: &str, cap: usize) -> i32 {
        if let Some(number) = self.find(tag) {
            return number;
        }
        let Self { ends, bytes, numbers, hasher, .. } = self;
        reserve(ends, 1, usize::MAX);
        reserve(bytes, tag.len(), cap);
        bytes.extend_from_slice(tag.as_bytes());
        // Segments are sealed at 1 MiB or less, so lengths fit.
        let number = ends.len() as i32;
        ends.push(bytes.len() as i32);
        let hash_of = |number: &i32| hasher.hash_one(slice(ends, bytes, *number));
        if numbers.len() == numbers.capacity() {
            numbers.reserve(numbers.len().max(4), hash_of);
        }
        let hash = hash_of(&number);
        numbers.insert_unique(hash, number, hash_of);
        self.last = Some(number);
        number
    }

    /// An upper bound of the bytes allocated, old blocks still counted, when `tags` new ones of `len` bytes in all come.
    pub(super) fn growth(&self, tags: usize, len: usize, cap: usize) -> usize {
        let bytes = grown(self.bytes.len(), self.bytes.capacity(), len, cap);
        let ends = grown(self.ends.len(), self.ends.capacity(), tags, usize::MAX) * size_of::<i32>();
        let room = self.numbers.capacity() - self.numbers.len();
        let table = if tags > room { table_bytes((self.numbers.len() + tags) * 2) } else { 0 };
        bytes + ends + table
    }

    /// As [`Self::growth`], when they come one after the other and some may be the same.
    pub(super) fn growth_of_run(&self, tags: usize, len: usize, cap: usize) -> usize {
        let bytes = grown_one_by_one(self.bytes.len(), self.bytes.capacity(), len, cap);
        let ends = grown_one_by_one(self.ends.len(), self.ends.capacity(), tags, usize::MAX) * size_of::<i32>();
        let room = self.numbers.capacity() - self.numbers.len();
        let table = if tags > room { table_bytes((self.numbers.len() + tags) * 2) } else { 0 };
        bytes + ends + table
    }

    /// Bytes of heap held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.ends.capacity() * size_of::<i32>() + self.bytes.capacity() + self.numbers.allocation_size()
    }

    /// Bytes that the tags alone take.
    pub(super) fn raw_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<i32>()
    }

    /// Number of tags.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The tag of a number that [`Self::intern`] gave.
    pub(super) fn get(&self, number: i32) -> &[u8] {
        slice(&self.ends, &self.bytes, number)
    }

    /// The tags as an Arrow array.
    pub(super) fn into_array(self) -> Result<StringArray, ArrowError> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(self.bytes), None)
    }
}

fn slice<'a>(ends: &[i32], bytes: &'a [u8], number: i32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] as usize };
    &bytes[start..ends[number] as usize]
}

/// Makes room for `more` elements exactly as [`grown`] foretold.
pub(super) fn reserve<T>(vec: &mut Vec<T>, more: usize, cap: usize) {
    let capacity = grown(vec.len(), vec.capacity(), more, cap);
    if capacity > 0 {
        vec.reserve_exact(capacity - vec.len());
    }
}

/// An upper bound of what [`reserve`] allocates when `more` elements come in pieces: the last block, which doubling may make
/// almost twice what is needed, and the one before it while it is copied.
fn grown_one_by_one(len: usize, capacity: usize, more: usize, cap: usize) -> usize {
    let needed = len + more;
    if needed <= capacity { 0 } else { (needed * 2).clamp(16, cap.max(16)).max(needed) + needed }
}

/// An upper bound for a hash table of `entries` 4-byte values: buckets are a power of two, at most 7/8 full, one control
/// byte each.
fn table_bytes(entries: usize) -> usize {
    (entries * 8 / 7 + 1).next_power_of_two().max(16) * (size_of::<i32>() + 1) + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_their_numbers_and_growth_is_foretold() {
        let mut tags = Dictionary::default();
        for round in 0..3 {
            for i in 0..5_000 {
                let tag = format!("station-{}", i * 7919 % 5_000);
                let before = tags.heap_bytes();
                let known = tags.find(&tag).is_some();
                let growth = if known { 0 } else { tags.growth(1, tag.len(), usize::MAX) };
                assert_eq!(known, round > 0);
                assert_eq!(tags.intern(&tag, usize::MAX), i);
                assert!(tags.heap_bytes() <= before + growth, "{} > {before} + {growth}", tags.heap_bytes());
            }
        }
        assert_eq!(tags.len(), 5_000);
        assert_eq!(tags.into_array().unwrap().value(1), "station-2919");
    }

    #[test]
    fn the_growth_by_a_run_of_tags_is_bounded_however_it_falls() {
        for run in [1, 2, 5, 17, 63, 64, 65, 500, 1_025] {
            let mut tags = Dictionary::default();
            for base in (0..5_000).step_by(run) {
                let names: Vec<_> = (base..base + run).map(|i| format!("machine-{i}")).collect();
                let growth = tags.growth_of_run(run, names.iter().map(String::len).sum(), usize::MAX);
                let before = tags.heap_bytes();
                names.iter().for_each(|name| assert!(tags.intern(name, usize::MAX) >= 0));
                assert!(tags.heap_bytes() <= before + growth, "a run of {run}");
            }
        }
    }
}

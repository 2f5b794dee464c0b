//! The order of rows inside a segment: as they came, or the rows of each series together.
//!
//! Series interleaved row by row hide how alike the values of one series are. The rows of a series are those with equal tags;
//! since the tags come first in a segment, the reader finds the same order from them, and it costs one bit.

use std::collections::HashMap;

/// Up to this many combinations of codes, a table beats a hash map.
const MAX_TABLE: usize = 1 << 16;

/// Which rows belong together, by the tags seen so far.
#[derive(Debug)]
pub(super) struct Groups {
    ids: Vec<u32>,
    count: usize,
}

impl Groups {
    /// All rows in one group.
    pub(super) fn one(rows: usize) -> Self {
        Self { ids: vec![0; rows], count: 1 }
    }

    /// Splits the groups by the codes of one more tag, of which there are fewer than `distinct` kinds and one for null. Groups
    /// are numbered by first appearance.
    pub(super) fn split(&mut self, codes: impl Iterator<Item = Option<u32>>, distinct: usize) {
        if distinct == 0 {
            return;
        }
        let codes = codes.map(|code| code.map_or(0, |code| code as usize + 1));
        let (kinds, mut count) = (distinct + 1, 0);
        let mut next = || {
            count += 1;
            count - 1
        };
        match self.count.checked_mul(kinds) {
            Some(pairs) if pairs <= MAX_TABLE => {
                let mut table = vec![u32::MAX; pairs];
                for (id, code) in self.ids.iter_mut().zip(codes) {
                    let entry = &mut table[*id as usize * kinds + code];
                    if *entry == u32::MAX {
                        *entry = next();
                    }
                    *id = *entry;
                }
            }
            _ => {
                let mut table = HashMap::new();
                for (id, code) in self.ids.iter_mut().zip(codes) {
                    *id = *table.entry((*id, code)).or_insert_with(&mut next);
                }
            }
        }
        self.count = count as usize;
    }

    /// Whether grouping could change anything.
    pub(super) fn may_order(&self) -> bool {
        self.count > 1 && self.count < self.ids.len()
    }

    /// The rows group by group, in each as they came.
    pub(super) fn order(&self) -> Vec<u32> {
        let mut starts = vec![0u32; self.count + 1];
        for &id in &self.ids {
            starts[id as usize + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let mut order = vec![0; self.ids.len()];
        for (row, &id) in self.ids.iter().enumerate() {
            let place = &mut starts[id as usize];
            order[*place as usize] = row as u32;
            *place += 1;
        }
        order
    }
}

/// The order in which the rows of a column are written; `None` is as they came.
pub(super) type Order<'a> = Option<&'a [u32]>;

/// The valid ones of `values` in order. Every row in the order must be one of `values`.
pub(super) fn gather<T: Copy>(values: &[T], valid: Option<&[bool]>, order: Order<'_>) -> Vec<T> {
    match (order, valid) {
        (None, None) => values.to_vec(),
        (Some(order), None) => order.iter().map(|&row| values[row as usize]).collect(),
        (None, Some(valid)) => values.iter().zip(valid).filter(|(_, valid)| **valid).map(|(value, _)| *value).collect(),
        // `valid` is in the written order already.
        (Some(order), Some(valid)) => {
            order.iter().zip(valid).filter(|(_, valid)| **valid).map(|(&row, _)| values[row as usize]).collect()
        }
    }
}

/// The inverse of [`gather`]: a column of `rows` values, with the default where not valid.
pub(super) fn scatter<T: Copy + Default>(
    values: Vec<T>,
    rows: usize,
    valid: Option<&[bool]>,
    order: Order<'_>,
) -> Vec<T> {
    if order.is_none() && valid.is_none() {
        return values;
    }
    let mut out = vec![T::default(); rows];
    let mut values = values.into_iter();
    for place in 0..rows {
        if valid.is_none_or(|valid| valid[place]) {
            let row = order.map_or(place, |order| order[place] as usize);
            out[row] = values.next().unwrap_or_default();
        }
    }
    out
}

//! What retention needs of a store of objects: entries that can be deleted, and commits that are not fooled by it.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{Error as ObjectError, ObjectStoreExt};

use super::objects::{ObjectsStore, failed};
use super::pick::Pick;
use super::{Chain, MAX_PAGE, Place, Put, StoreError, names, seal};

/// Deletes that are asked for at once.
const AT_ONCE: usize = 16;

/// A chain's offsets are cut into stretches, 256 for each doubling of the offset and none shorter than 64. So a chain has few of
/// them however long it grows, and a retention that keeps more than a 256th of it is in another stretch than the chain's end.
const STRETCHES_LOG2: u32 = 8;
const SHORTEST_LOG2: u32 = 6;

/// The first offset of the stretch that `base` is in.
fn stretch(base: u64) -> u64 {
    let length_log2 = base.checked_ilog2().unwrap_or(0).saturating_sub(STRETCHES_LOG2).max(SHORTEST_LOG2);
    base >> length_log2 << length_log2
}

impl ObjectsStore {
    /// Creates an entry, unless something begins at `base`, or began there before retention deleted it.
    ///
    /// What is deleted is looked for after the create: it was written down before any name of its stretch was free again, so
    /// whoever finds the name free for that reason finds the note, and the mark. The entry stays where it is: it may be a good one after all,
    /// made and passed by others while this hub hung; and if not, its totals do not fit, and readers leave it out.
    pub(super) async fn commit_entry(&self, chain: Chain<'_>, base: u64, entry: Bytes) -> Result<Put, StoreError> {
        let name = names::object(Place::Entries(chain), base);
        let put = self.put(name.clone(), entry).await?;
        if put == Put::Created {
            // Mostly nothing near the end of a chain was ever deleted, and a look for one object is cheaper than a listing.
            let below = match self.exists(&names::deleted(chain, stretch(base))).await? {
                true => self.pick(Place::Trimmed(chain), Pick::greatest(u64::MAX)).await?.first().copied(),
                false => None,
            };
            if below.is_some_and(|below| base < below) {
                tracing::warn!(object = %name, below, "a commit came so late that retention has passed it: reading the chain again");
                return Ok(Put::Exists);
            }
            if self.local.is_none() {
                self.ends.set(&names::folder(Place::Entries(chain)), Some(base));
            }
        }
        Ok(put)
    }

    pub(super) async fn delete_entries(&self, chain: Chain<'_>, bases: &[u64]) -> Result<(), StoreError> {
        let stretches: BTreeSet<_> = bases.iter().map(|base| stretch(*base)).collect();
        let notes = stretches.into_iter().map(|first| self.note_deletion(chain, first));
        stream::iter(notes.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let place = Place::Entries(chain);
        let deletes = bases.iter().map(|base| {
            let name = names::object(place, *base);
            async move {
                match self.objects.delete(&name).await {
                    Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
                    Err(error) => Err(failed("delete", &name, &error)),
                }
            }
        });
        stream::iter(deletes.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        match &self.local {
            Some(local) if !bases.is_empty() => local.sync(&names::folder(place)).await,
            _ => Ok(()),
        }
    }

    /// Writes down, for good, that names of the stretch which begins at `first` may be free again from now on.
    async fn note_deletion(&self, chain: Chain<'_>, first: u64) -> Result<(), StoreError> {
        let name = names::deleted(chain, first);
        if !self.exists_for_good(name.clone()).await? {
            self.put(name, Bytes::new()).await?;
        }
        Ok(())
    }

    pub(super) async fn sizes(&self, chain: Chain<'_>, from: u64, limit: usize) -> Result<Vec<(u64, u64)>, StoreError> {
        let place = Place::Entries(chain);
        let (folder, digits) = (names::folder(place), names::digits(place));
        if let Some(local) = &self.local {
            let bases = local.numbers(&folder, digits, Pick::page(from, limit)).await?;
            return local.sizes(bases.into_iter().map(|base| (base, names::object(place, base))).collect()).await;
        }
        let mut listing = match from.checked_sub(1) {
            // A listing begins after a name.
            Some(before) => self.objects.list_with_offset(Some(&folder), &names::numbered(&folder, digits, before)),
            None => self.objects.list(Some(&folder)),
        };
        let mut sizes = Vec::new();
        while sizes.len() < limit.min(MAX_PAGE) {
            let Some(found) = listing.next().await else { break };
            let found = found.map_err(|error| failed("list", &folder, &error))?;
            if names::is_above_numbers(&folder, &found.location, digits) {
                break;
            }
            let base = names::number(&found.location, digits).filter(|base| *base >= from);
            sizes.extend(base.map(|base| (base, found.size.saturating_sub(seal::LEN as u64))));
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_follow_on_each_other_and_stay_few() {
        let mut first = 0;
        let mut count = 0;
        // Each begins where the one before ends, up to the last offset there is.
        loop {
            assert_eq!(stretch(first), first);
            let length = 1u64 << first.checked_ilog2().unwrap_or(0).saturating_sub(STRETCHES_LOG2).max(SHORTEST_LOG2);
            assert_eq!(stretch(first + (length - 1)), first, "{first}");
            assert!(length == 64 || length <= first / 256, "{first}");
            count += 1;
            match first.checked_add(length) {
                Some(next) => first = next,
                None => break,
            }
        }
        assert_eq!(count, 256 + 256 * (64 - 14));
    }
}

//! What retention needs of a store of objects: entries that can be deleted, and commits that are not fooled by it.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{Error as ObjectError, ObjectStoreExt};

use super::objects::{ObjectsStore, failed};
use super::pick::Pick;
use super::{Chain, MAX_PAGE, Place, Put, StoreError, names, seal};

/// Deletes that are asked for at once.
const AT_ONCE: usize = 16;

impl ObjectsStore {
    /// Creates an entry, unless something begins at `base`, or began there before retention deleted it.
    ///
    /// The mark is looked for after the create: it was there before anything below it was deleted, so whoever finds the name free
    /// for that reason finds the mark. The entry stays where it is: it may be a good one after all, made and passed by others
    /// while this hub hung; and if not, its totals do not fit, and readers leave it out.
    pub(super) async fn commit_entry(&self, chain: Chain<'_>, base: u64, entry: Bytes) -> Result<Put, StoreError> {
        let name = names::object(Place::Entries(chain), base);
        let put = self.put(name.clone(), entry).await?;
        if put == Put::Created {
            let below = self.pick(Place::Trimmed(chain), Pick::greatest(u64::MAX)).await?.first().copied();
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

//! A store on any object store that can create-if-absent: a directory today, a bucket tomorrow.

use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error as ObjectError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::directory::LocalRoot;
use super::{Chain, MAX_PAGE, Put, Store, StoreError, StoreFuture, names};

/// Largest object that the hub reads into memory. Entries are far smaller (the batch limit of the protocol); anything
/// above is not ours.
const MAX_OBJECT: u64 = 64 << 20;

/// Old heads deleted after one put, so that a put never turns into a long clean-up.
const MAX_STALE_HEADS: usize = 8;

/// Most records of a register that one call reads: all the logs that an epoch may have, twice over.
const MAX_REGISTER: u32 = 4_096;

/// Deepest cut of a long name (765 encoded bytes at most), see `names`.
const MAX_NAME_PARTS: usize = 8;

/// [`Store`] on top of an [`ObjectStore`] whose puts with [`PutMode::Create`] are atomic and durable.
#[derive(Debug, Clone)]
pub struct ObjectsStore {
    objects: Arc<dyn ObjectStore>,
    address: String,
    /// Set for a directory: it needs help to make what another process left behind durable, and lists faster.
    local: Option<Arc<LocalRoot>>,
}

impl ObjectsStore {
    /// A store on `objects`, which people know as `address`.
    pub fn new(objects: Arc<dyn ObjectStore>, address: impl Into<String>) -> Self {
        Self { objects, address: address.into(), local: None }
    }

    pub(super) fn on_directory(objects: Arc<dyn ObjectStore>, address: String, local: LocalRoot) -> Self {
        Self { objects, address, local: Some(Arc::new(local)) }
    }

    async fn put(&self, name: Path, object: Bytes) -> Result<Put, StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&name, PutPayload::from_bytes(object), options).await {
            Ok(_) => Ok(Put::Created),
            Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => {
                self.settle(&name).await?;
                Ok(Put::Exists)
            }
            Err(error) => Err(unavailable("write", &name, error)),
        }
    }

    async fn get(&self, name: &Path) -> Result<Option<Bytes>, StoreError> {
        let found = match self.objects.get_opts(name, GetOptions::default()).await {
            Ok(found) => found,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(unavailable("read", name, error)),
        };
        if found.meta.size > MAX_OBJECT {
            let reason = format!("{} bytes, more than any entry", found.meta.size);
            return Err(StoreError::Damaged { name: name.to_string(), reason });
        }
        match found.bytes().await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable("read", name, error)),
        }
    }

    async fn exists(&self, name: &Path) -> Result<bool, StoreError> {
        match self.objects.head(name).await {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(error) => Err(unavailable("read", name, error)),
        }
    }

    async fn exists_for_good(&self, name: Path) -> Result<bool, StoreError> {
        let exists = self.exists(&name).await?;
        if exists {
            self.settle(&name).await?;
        }
        Ok(exists)
    }

    /// Makes an object that somebody else created as durable as one of our own puts: its creator may have been killed
    /// between making it visible and syncing the folder.
    async fn settle(&self, name: &Path) -> Result<(), StoreError> {
        match &self.local {
            Some(local) => local.settle(name).await,
            None => Ok(()),
        }
    }

    /// The numbers which name the objects of a folder, as `pick` wants them.
    async fn numbers(&self, folder: &Path, width: usize, mut pick: Pick) -> Result<Vec<u64>, StoreError> {
        if let Some(local) = &self.local {
            return local.numbers(folder, width, pick).await;
        }
        let mut listing = self.objects.list(Some(folder));
        while let Some(found) = listing.next().await {
            let found = found.map_err(|error| unavailable("list", folder, error))?;
            if let Some(number) = names::number(&found.location, width) {
                pick.offer(number);
            }
        }
        Ok(pick.finish())
    }

    /// Names of the folders or objects directly in `folder`, relative to it, ascending.
    async fn children(&self, folder: &Path) -> Result<(Vec<Path>, Vec<Path>), StoreError> {
        let listing = match self.objects.list_with_delimiter(Some(folder)).await {
            Ok(listing) => listing,
            Err(ObjectError::NotFound { .. }) => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(unavailable("list", folder, error)),
        };
        let mut objects: Vec<_> = listing.objects.into_iter().map(|object| object.location).collect();
        objects.sort_unstable();
        Ok((listing.common_prefixes, objects))
    }

    /// Up to `limit` decoded names above `after` in a folder of folders, ascending.
    async fn decoded(&self, folder: Path, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let mut found = BinaryHeap::new();
        let mut open = vec![(folder, String::new(), 0)];
        while let Some((folder, prefix, depth)) = open.pop() {
            for child in self.children(&folder).await?.0 {
                let Some(part) = child.filename() else { continue };
                let parts = if prefix.is_empty() { part.to_owned() } else { format!("{prefix}/{part}") };
                if names::is_continued(part) {
                    if depth < MAX_NAME_PARTS {
                        open.push((child, parts, depth + 1));
                    }
                    continue;
                }
                let Some(name) = names::decode(&parts) else { continue };
                if after.is_none_or(|after| name.as_str() > after) {
                    found.push(name);
                    if found.len() > limit.min(MAX_PAGE) {
                        found.pop();
                    }
                }
            }
        }
        Ok(found.into_sorted_vec())
    }

    async fn register_from(&self, agent: &str, epoch: u32, from: u32) -> Result<Vec<Bytes>, StoreError> {
        let mut records = Vec::new();
        let positions = from..from.saturating_add(MAX_REGISTER);
        for position in positions {
            let name = names::register(agent, epoch, position);
            match self.get(&name).await? {
                Some(record) => records.push(record),
                None => break,
            }
        }
        if !records.is_empty() {
            self.settle(&names::register(agent, epoch, from)).await?;
        }
        Ok(records)
    }

    async fn newest_epoch(&self, agent: &str, known: u32) -> Result<Option<(u32, Bytes)>, StoreError> {
        // A known epoch can only be gone when somebody emptied the store; then the listing tells what there is.
        let newest = match known > 0 && self.exists(&names::epoch(agent, known)).await? {
            true => Some(known),
            false => {
                let folder = names::folder(agent, "epochs");
                let greatest = self.numbers(&folder, 10, Pick::greatest(u64::from(u32::MAX))).await?;
                greatest.first().and_then(|epoch| u32::try_from(*epoch).ok())
            }
        };
        let Some(mut newest) = newest else { return Ok(None) };
        // Epochs are dense, so one miss ends the search; another hub may have created some since.
        while let Some(next) = newest.checked_add(1) {
            if !self.exists(&names::epoch(agent, next)).await? {
                break;
            }
            newest = next;
        }
        let name = names::epoch(agent, newest);
        if newest != known {
            self.settle(&name).await?;
        }
        Ok(self.get(&name).await?.map(|record| (newest, record)))
    }

    async fn newest_heads(&self, agent: &str, epoch: u32) -> Result<Option<Bytes>, StoreError> {
        let folder = names::heads_folder(agent, epoch);
        // A newer one may replace what was just listed.
        for _ in 0..3 {
            let Some(order) = self.numbers(&folder, 20, Pick::greatest(u64::MAX)).await?.first().copied() else {
                return Ok(None);
            };
            if let Some(heads) = self.get(&names::heads(agent, epoch, order)).await? {
                return Ok(Some(heads));
            }
        }
        let reason = "they vanish as fast as they are listed".into();
        Err(StoreError::Unavailable { action: "read", name: folder.to_string(), reason })
    }

    async fn replace_heads(&self, agent: &str, epoch: u32, order: u64, heads: Bytes) -> Result<Put, StoreError> {
        let put = self.put(names::heads(agent, epoch, order), heads).await?;
        if put == Put::Created {
            let folder = names::heads_folder(agent, epoch);
            let older = Pick::page(0, MAX_STALE_HEADS);
            let stale = self.numbers(&folder, 20, older).await?;
            for old in stale.into_iter().filter(|old| *old < order) {
                // Leftovers cost space alone, and the next put tries again.
                let _ = self.objects.delete(&names::heads(agent, epoch, old)).await;
            }
        }
        Ok(put)
    }

    async fn chain_end(&self, chain: Chain<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
        let folder = names::chain(chain);
        let Some(base) = self.numbers(&folder, 20, Pick::greatest(u64::MAX)).await?.first().copied() else {
            return Ok(None);
        };
        let name = names::entry(chain, base);
        self.settle(&name).await?;
        match self.get(&name).await? {
            Some(entry) => Ok(Some((base, entry))),
            None => Err(StoreError::Damaged { name: name.to_string(), reason: "it vanished while read".into() }),
        }
    }
}

impl Store for ObjectsStore {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            match &self.local {
                Some(local) => local.check().await,
                None => self.exists(&Path::from("ready")).await.map(|_| ()),
            }
        })
    }

    fn last_epoch<'a>(&'a self, agent: &'a str, known: u32) -> StoreFuture<'a, Option<(u32, Bytes)>> {
        Box::pin(self.newest_epoch(agent, known))
    }

    fn epoch<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.get(&names::epoch(agent, epoch)).await })
    }

    fn create_epoch<'a>(&'a self, agent: &'a str, epoch: u32, record: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::epoch(agent, epoch), record))
    }

    fn is_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, bool> {
        Box::pin(async move { self.exists(&names::closed(agent, epoch)).await })
    }

    fn mark_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::closed(agent, epoch), Bytes::new()))
    }

    fn heads<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(self.newest_heads(agent, epoch))
    }

    fn put_heads<'a>(&'a self, agent: &'a str, epoch: u32, order: u64, heads: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.replace_heads(agent, epoch, order, heads))
    }

    fn has_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8]) -> StoreFuture<'a, bool> {
        Box::pin(self.exists_for_good(names::schema(agent, fingerprint)))
    }

    fn schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8]) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.get(&names::schema(agent, fingerprint)).await })
    }

    fn put_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8], schema: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::schema(agent, fingerprint), schema))
    }

    fn note_schema<'a>(&'a self, chain: Chain<'a>, fingerprint: [u8; 8]) -> StoreFuture<'a, Put> {
        Box::pin(async move {
            let name = names::noted(chain, fingerprint);
            match self.exists_for_good(name.clone()).await? {
                true => Ok(Put::Exists),
                false => self.put(name, Bytes::new()).await,
            }
        })
    }

    fn noted_schemas<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Vec<[u8; 8]>> {
        Box::pin(async move {
            let noted = self.children(&names::noted_folder(chain)).await?.1;
            Ok(noted.iter().take(MAX_PAGE).filter_map(names::fingerprint).collect())
        })
    }

    fn last_entry<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>> {
        Box::pin(self.chain_end(chain))
    }

    fn commit<'a>(&'a self, chain: Chain<'a>, base: u64, entry: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::entry(chain, base), entry))
    }

    fn entry<'a>(&'a self, chain: Chain<'a>, base: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.get(&names::entry(chain, base)).await })
    }

    fn bases<'a>(&'a self, chain: Chain<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<u64>> {
        Box::pin(async move { self.numbers(&names::chain(chain), 20, Pick::page(from, limit)).await })
    }

    fn base_at<'a>(&'a self, chain: Chain<'a>, offset: u64) -> StoreFuture<'a, Option<u64>> {
        Box::pin(
            async move { Ok(self.numbers(&names::chain(chain), 20, Pick::greatest(offset)).await?.first().copied()) },
        )
    }

    fn agents<'a>(&'a self, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>> {
        Box::pin(self.decoded(names::agents(), after, limit))
    }

    fn logs<'a>(&'a self, agent: &'a str, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>> {
        Box::pin(self.decoded(names::folder(agent, "logs"), after, limit))
    }

    fn register<'a>(&'a self, agent: &'a str, epoch: u32, from: u32) -> StoreFuture<'a, Vec<Bytes>> {
        Box::pin(self.register_from(agent, epoch, from))
    }

    fn put_register<'a>(&'a self, agent: &'a str, epoch: u32, position: u32, record: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::register(agent, epoch, position), record))
    }

    fn epochs<'a>(&'a self, agent: &'a str) -> StoreFuture<'a, Vec<u32>> {
        Box::pin(async move {
            let epochs = self.numbers(&names::folder(agent, "epochs"), 10, Pick::page(0, MAX_PAGE)).await?;
            Ok(epochs.into_iter().filter_map(|epoch| u32::try_from(epoch).ok()).collect())
        })
    }

    fn log_epochs<'a>(&'a self, agent: &'a str, log: &'a str) -> StoreFuture<'a, Vec<u32>> {
        Box::pin(async move {
            let folders = self.children(&names::log_folder(agent, log)).await?.0;
            let epochs = folders.iter().filter_map(|folder| names::number(folder, 10));
            Ok(epochs.filter_map(|epoch| u32::try_from(epoch).ok()).collect())
        })
    }

    fn entry_name(&self, chain: Chain<'_>, base: u64) -> String {
        names::entry(chain, base).to_string()
    }
}

/// Which numbers of a listing are wanted; keeps no more than it will return.
pub(super) enum Pick {
    /// The greatest that is at most `at_most`.
    Greatest { at_most: u64, found: Option<u64> },
    /// The `limit` least that are at least `from`.
    Page { from: u64, limit: usize, found: BinaryHeap<u64> },
}

impl Pick {
    fn greatest(at_most: u64) -> Self {
        Self::Greatest { at_most, found: None }
    }

    fn page(from: u64, limit: usize) -> Self {
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

pub(super) fn unavailable(action: &'static str, name: &Path, error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable { action, name: name.to_string(), reason: error.to_string() }
}

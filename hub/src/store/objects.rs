//! A store on any object store that can create-if-absent: a directory or a bucket.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as ObjectError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::directory::LocalRoot;
use super::ends::Ends;
use super::listing::Listing;
use super::pick::Pick;
use super::words::words;
use super::{Chain, MAX_PAGE, Place, Put, Store, StoreError, StoreFuture, names, seal};

/// Largest object that the hub reads into memory. Entries are far smaller (the batch limit of the protocol); anything
/// above is not ours.
const MAX_OBJECT: u64 = 64 << 20;

/// Replaced objects deleted after one put, so that a put never turns into a long clean-up.
const MAX_STALE: usize = 8;

/// Most records of a register that one call reads: all the logs that an epoch may have, twice over.
const MAX_REGISTER: u32 = 4_096;

/// Records of a register that are read at the same time.
const READS: usize = 16;

/// How long to wait before an object that was refused as existing, and is not there, is put again.
const CONFLICT_WAITS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// Deepest cut of a long name (765 encoded bytes at most), see `names`.
const MAX_NAME_PARTS: usize = 8;

/// What is wrong where a name is listed and no object is found.
const NO_OBJECT: &str = "something is in its place that is no object, such as a folder; or it was just removed";

/// [`Store`] on top of an [`ObjectStore`] whose puts with [`PutMode::Create`] are atomic and durable, and which lists in the order
/// of names.
#[derive(Debug, Clone)]
pub struct ObjectsStore {
    pub(super) objects: Arc<dyn ObjectStore>,
    address: String,
    /// Set for a directory: it needs help to make what another process left behind durable, and lists faster.
    pub(super) local: Option<Arc<LocalRoot>>,
    /// An object that is there as long as the store is.
    mark: Option<Path>,
    pub(super) ends: Arc<Ends>,
}

impl ObjectsStore {
    /// A store on `objects`, which people know as `address`.
    pub fn new(objects: Arc<dyn ObjectStore>, address: impl Into<String>) -> Self {
        Self { objects, address: address.into(), local: None, mark: None, ends: Arc::default() }
    }

    pub(super) fn on_directory(objects: Arc<dyn ObjectStore>, address: String, local: LocalRoot) -> Self {
        Self { local: Some(Arc::new(local)), ..Self::new(objects, address) }
    }

    pub(super) fn with_mark(self, mark: Path) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// Creates an object. A client that repeats a request whose answer it did not hear may be told that its own object
    /// exists: whoever is told so looks at what is there, and finds itself.
    pub(super) async fn put(&self, name: Path, object: Bytes) -> Result<Put, StoreError> {
        let sealed = PutPayload::from_bytes(seal::put(name.as_ref(), &object));
        let mut waits = CONFLICT_WAITS.iter();
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.objects.put_opts(&name, sealed.clone(), options).await {
                Ok(_) => return Ok(Put::Created),
                Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => {}
                Err(error) => return Err(failed("write", &name, &error)),
            }
            self.settle(&name).await?;
            if self.exists(&name).await? {
                return Ok(Put::Exists);
            }
            if self.local.is_some() {
                return Err(damaged(&name, NO_OBJECT));
            }
            // S3 refuses a put also because of another that is under way, which may come to nothing (409).
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(unavailable("write", &name, "it is refused as there, and is not there")),
            }
        }
    }

    pub(super) async fn get(&self, name: &Path) -> Result<Option<Bytes>, StoreError> {
        let found = match self.objects.get_opts(name, GetOptions::default()).await {
            Ok(found) => found,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("read", name, &error)),
        };
        if found.meta.size > MAX_OBJECT {
            return Err(damaged(name, format!("it has {} bytes, more than any entry", found.meta.size)));
        }
        match found.bytes().await {
            Ok(bytes) => match seal::open(name.as_ref(), bytes) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(reason) => Err(damaged(name, reason)),
            },
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read", name, &error)),
        }
    }

    pub(super) async fn exists(&self, name: &Path) -> Result<bool, StoreError> {
        match self.objects.head(name).await {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("read", name, &error)),
        }
    }

    pub(super) async fn exists_for_good(&self, name: Path) -> Result<bool, StoreError> {
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

    /// The numbers which name the objects of a place, as `pick` wants them.
    pub(super) async fn pick(&self, place: Place<'_>, pick: Pick) -> Result<Vec<u64>, StoreError> {
        let (folder, digits) = (names::folder(place), names::digits(place));
        if let Some(local) = &self.local {
            return local.numbers(&folder, digits, pick).await;
        }
        let listing = Listing { objects: &*self.objects, folder: &folder, digits };
        let found = match pick {
            Pick::Page { from, limit, .. } => listing.numbers(from, limit).await,
            Pick::Greatest { at_most: u64::MAX, .. } => {
                let end = listing.greatest(u64::MAX, self.ends.get(&folder)).await;
                if let Ok(end) = &end {
                    self.ends.set(&folder, *end);
                }
                end.map(|end| end.into_iter().collect())
            }
            Pick::Greatest { at_most, .. } => {
                listing.greatest(at_most, None).await.map(|found| found.into_iter().collect())
            }
        };
        found.map_err(|error| failed("list", &folder, &error))
    }

    /// Names of the folders or objects directly in `folder`, relative to it, ascending.
    async fn children(&self, folder: &Path) -> Result<(Vec<Path>, Vec<Path>), StoreError> {
        let listing = match self.objects.list_with_delimiter(Some(folder)).await {
            Ok(listing) => listing,
            Err(ObjectError::NotFound { .. }) => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(failed("list", folder, &error)),
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
        let place = Place::Register(agent, epoch);
        let name_of = |position: u64| names::object(place, position);
        // Mostly there is nothing new.
        let Some(first) = self.get(&name_of(from.into())).await? else { return Ok(Vec::new()) };
        let next = u64::from(from) + 1;
        let listed = self.pick(place, Pick::page(next, MAX_REGISTER as usize - 1)).await?;
        let dense = listed.into_iter().zip(next..).take_while(|(position, expected)| position == expected);
        let mut reads = stream::iter(dense.map(|(position, _)| name_of(position)))
            .map(|name| async move { self.get(&name).await })
            .buffered(READS);
        let mut records = vec![first];
        while let Some(Some(record)) = reads.try_next().await? {
            records.push(record);
        }
        self.settle(&name_of(from.into())).await?;
        Ok(records)
    }

    async fn newest_epoch(&self, agent: &str, known: u32) -> Result<Option<(u32, Bytes)>, StoreError> {
        let name_of = |epoch: u32| names::object(Place::Epochs(agent), epoch.into());
        // A known epoch can only be gone when somebody emptied the store; then the listing tells what there is.
        let newest = match known > 0 && self.exists(&name_of(known)).await? {
            true => Some(known),
            false => {
                let greatest = self.pick(Place::Epochs(agent), Pick::greatest(u64::from(u32::MAX))).await?;
                greatest.first().and_then(|epoch| u32::try_from(*epoch).ok())
            }
        };
        let Some(mut newest) = newest else { return Ok(None) };
        // Epochs are dense, so one miss ends the search; another hub may have created some since.
        while let Some(next) = newest.checked_add(1) {
            if !self.exists(&name_of(next)).await? {
                break;
            }
            newest = next;
        }
        let name = name_of(newest);
        if newest != known {
            self.settle(&name).await?;
        }
        match self.get(&name).await? {
            Some(record) => Ok(Some((newest, record))),
            None => Err(damaged(&name, NO_OBJECT)),
        }
    }

    /// Creates an epoch, unless something of it is there already: its record was lost then, and whoever got the number a second time
    /// would be told that the records of somebody else are theirs.
    async fn new_epoch(&self, agent: &str, epoch: u32, record: Bytes) -> Result<Put, StoreError> {
        let name = names::object(Place::Epochs(agent), epoch.into());
        let register = self.pick(Place::Register(agent, epoch), Pick::page(0, 1)).await?;
        // Looked at in this order: another hub may have created it, and filled its register, meanwhile.
        if !register.is_empty() && !self.exists(&name).await? {
            return Err(damaged(&name, "it is gone, and a register of this epoch is there"));
        }
        self.put(name, record).await
    }

    /// The object with the greatest number in a place where newer ones replace older ones.
    pub(super) async fn newest(&self, place: Place<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
        let mut last = None;
        // A newer one may replace what was just listed.
        for _ in 0..3 {
            let Some(order) = self.pick(place, Pick::greatest(u64::MAX)).await?.first().copied() else {
                return Ok(None);
            };
            let name = names::object(place, order);
            if let Some(object) = self.get(&name).await? {
                return Ok(Some((order, object)));
            }
            last = Some(name);
        }
        Err(damaged(&last.unwrap_or_else(|| names::folder(place)), NO_OBJECT))
    }

    /// Creates an object in such a place, and deletes some of those that it replaces.
    pub(super) async fn replace(&self, place: Place<'_>, order: u64, object: Bytes) -> Result<Put, StoreError> {
        let put = match self.put(names::object(place, order), object).await {
            // There a moment ago, and gone since newer ones came: as good as there.
            Err(StoreError::Damaged { .. }) => Put::Exists,
            other => other?,
        };
        if put == Put::Created {
            let older = Pick::page(0, MAX_STALE);
            let stale = self.pick(place, older).await?;
            for old in stale.into_iter().filter(|old| *old < order) {
                // Leftovers cost space alone, and the next put tries again.
                let _ = self.objects.delete(&names::object(place, old)).await;
            }
        }
        Ok(put)
    }

    async fn chain_end(&self, chain: Chain<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
        let Some(base) = self.last_base(chain, u64::MAX).await? else { return Ok(None) };
        let name = names::object(Place::Entries(chain), base);
        self.settle(&name).await?;
        match self.get(&name).await? {
            Some(entry) => Ok(Some((base, entry))),
            None => Err(damaged(&name, NO_OBJECT)),
        }
    }

    async fn last_base(&self, chain: Chain<'_>, at_most: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.pick(Place::Entries(chain), Pick::greatest(at_most)).await?.first().copied())
    }

    /// Asks for one object; that one which should be there is gone is an answer, if the rest can still be listed.
    async fn check_mark(&self) -> Result<(), StoreError> {
        let mark = self.mark.clone().unwrap_or_else(|| Path::from("ready"));
        if !self.exists(&mark).await? && self.mark.is_some() {
            let above = mark.parent().unwrap_or_default();
            let listing = Listing { objects: &*self.objects, folder: &above, digits: names::digits(Place::Epochs("")) };
            listing.numbers(0, 1).await.map_err(|error| failed("list", &above, &error))?;
        }
        Ok(())
    }

    /// Whether the schema is there, and whole.
    async fn is_whole(&self, name: &Path) -> Result<bool, StoreError> {
        match self.get(name).await {
            Ok(found) => Ok(found.is_some()),
            Err(StoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn new_schema(&self, agent: &str, fingerprint: [u8; 8], schema: Bytes) -> Result<Put, StoreError> {
        let name = names::object(Place::Schemas(agent), u64::from_be_bytes(fingerprint));
        let put = self.put(name.clone(), schema.clone()).await?;
        if put == Put::Exists && !self.is_whole(&name).await? {
            // Whoever else does so writes the same bytes.
            let sealed = PutPayload::from_bytes(seal::put(name.as_ref(), &schema));
            self.objects.put(&name, sealed).await.map_err(|error| failed("write", &name, &error))?;
            tracing::warn!(object = %name, "replaced a damaged schema by what an agent sent");
            return Ok(Put::Created);
        }
        Ok(put)
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
                None => self.check_mark().await,
            }
        })
    }

    fn last_epoch<'a>(&'a self, agent: &'a str, known: u32) -> StoreFuture<'a, Option<(u32, Bytes)>> {
        Box::pin(self.newest_epoch(agent, known))
    }

    fn object<'a>(&'a self, place: Place<'a>, number: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.get(&names::object(place, number)).await })
    }

    fn numbers<'a>(&'a self, place: Place<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<u64>> {
        Box::pin(self.pick(place, Pick::page(from, limit)))
    }

    fn object_name(&self, place: Place<'_>, number: u64) -> String {
        names::object(place, number).to_string()
    }

    fn create_epoch<'a>(&'a self, agent: &'a str, epoch: u32, record: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.new_epoch(agent, epoch, record))
    }

    fn is_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, bool> {
        Box::pin(async move { self.exists(&names::object(Place::Closed(agent), epoch.into())).await })
    }

    fn mark_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::object(Place::Closed(agent), epoch.into()), Bytes::new()))
    }

    fn heads<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { Ok(self.newest(Place::Heads(agent, epoch)).await?.map(|(_, heads)| heads)) })
    }

    fn put_heads<'a>(&'a self, agent: &'a str, epoch: u32, order: u64, heads: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.replace(Place::Heads(agent, epoch), order, heads))
    }

    fn has_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8]) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let name = names::object(Place::Schemas(agent), u64::from_be_bytes(fingerprint));
            let whole = self.is_whole(&name).await?;
            if whole {
                self.settle(&name).await?;
            }
            Ok(whole)
        })
    }

    fn put_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8], schema: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.new_schema(agent, fingerprint, schema))
    }

    fn note_schema<'a>(&'a self, chain: Chain<'a>, fingerprint: [u8; 8]) -> StoreFuture<'a, Put> {
        Box::pin(async move {
            let name = names::object(Place::Notes(chain), u64::from_be_bytes(fingerprint));
            match self.exists_for_good(name.clone()).await? {
                true => Ok(Put::Exists),
                false => self.put(name, Bytes::new()).await,
            }
        })
    }

    fn last_entry<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>> {
        Box::pin(self.chain_end(chain))
    }

    fn commit<'a>(&'a self, chain: Chain<'a>, base: u64, entry: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.commit_entry(chain, base, entry))
    }

    fn base_at<'a>(&'a self, chain: Chain<'a>, offset: u64) -> StoreFuture<'a, Option<u64>> {
        Box::pin(self.last_base(chain, offset))
    }

    fn trimmed<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>> {
        Box::pin(self.newest(Place::Trimmed(chain)))
    }

    fn put_trimmed<'a>(&'a self, chain: Chain<'a>, below: u64, mark: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.replace(Place::Trimmed(chain), below, mark))
    }

    fn remove_entries<'a>(&'a self, chain: Chain<'a>, bases: &'a [u64]) -> StoreFuture<'a, ()> {
        Box::pin(self.delete_entries(chain, bases))
    }

    fn entry_sizes<'a>(&'a self, chain: Chain<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<(u64, u64)>> {
        Box::pin(self.sizes(chain, from, limit))
    }

    fn agents<'a>(&'a self, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>> {
        Box::pin(self.decoded(names::agents(), after, limit))
    }

    fn logs<'a>(&'a self, agent: &'a str, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>> {
        Box::pin(self.decoded(names::logs(agent), after, limit))
    }

    fn register<'a>(&'a self, agent: &'a str, epoch: u32, from: u32) -> StoreFuture<'a, Vec<Bytes>> {
        Box::pin(self.register_from(agent, epoch, from))
    }

    fn put_register<'a>(&'a self, agent: &'a str, epoch: u32, position: u32, record: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.put(names::object(Place::Register(agent, epoch), position.into()), record))
    }

    fn log_epochs<'a>(&'a self, agent: &'a str, log: &'a str) -> StoreFuture<'a, Vec<u32>> {
        Box::pin(async move {
            let folders = self.children(&names::log_folder(agent, log)).await?.0;
            let epochs = folders.iter().filter_map(|folder| names::number(folder, names::EPOCH));
            Ok(epochs.filter_map(|epoch| u32::try_from(epoch).ok()).collect())
        })
    }
}

fn damaged(name: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { name: name.to_string(), reason: reason.into() }
}

pub(super) fn failed(action: &'static str, name: &Path, error: &ObjectError) -> StoreError {
    unavailable(action, name, words(error))
}

pub(super) fn unavailable(action: &'static str, name: &Path, error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable { action, name: name.to_string(), reason: error.to_string() }
}

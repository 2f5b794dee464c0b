//! The disk: an object store in memory, with an operation's every way to go wrong.
//!
//! What a put answered `Ok` to is durable, and stays. A put that failed, or that was asked for by a hub that is gone, may have
//! happened, may happen later, or may never happen: that is all that the product's stores promise.

mod fate;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use pyralog_hub::store::{ObjectsStore, SharedStore};

use crate::sabotage::Sabotage;
use crate::world::World;
use fate::Ask;

/// What the store holds, by name.
#[derive(Debug, Default)]
pub struct Platter {
    objects: BTreeMap<String, Bytes>,
    /// For a store that is broken on purpose: creates until one is lost.
    creates: u64,
    /// How often it was put back to what it was once.
    age: u64,
}

/// The platter as one hub sees it, or as it is.
#[derive(Clone)]
pub struct Disk {
    world: World,
    /// `None`: at once and without a fault, for those who look on.
    hub: Option<usize>,
}

impl Disk {
    /// A hub's store on the world's platter.
    pub fn store(world: &World, hub: Option<usize>) -> SharedStore {
        let disk = Self { world: Arc::clone(world), hub };
        Arc::new(ObjectsStore::new(Arc::new(disk), "a simulated disk"))
    }

    async fn page(self, folder: Path, after: Option<String>) -> Result<Vec<ObjectMeta>> {
        let limit = if self.hub.is_some() { *self.world.disk_chance.lock().pick(&[2, 9, 1_000]) } else { usize::MAX };
        let name = folder.to_string();
        let read = move |platter: &mut Platter| Ok(platter.page(folder.as_ref(), after.as_deref(), limit));
        self.ask(Ask { what: "list", name, writes: false }, read).await
    }
}

impl Platter {
    /// All that it holds.
    pub fn copy(&self) -> BTreeMap<String, Bytes> {
        self.objects.clone()
    }

    /// Puts it back to what it held once; what was asked of it before will fail. Gives how many objects are gone.
    pub fn put_back(&mut self, objects: &BTreeMap<String, Bytes>) -> u64 {
        let gone = self.objects.keys().filter(|name| !objects.contains_key(*name)).count();
        self.objects.clone_from(objects);
        self.age += 1;
        gone as u64
    }

    /// The names of its objects from one on, ascending.
    pub(crate) fn names_from(&self, from: String) -> impl Iterator<Item = &str> {
        self.objects.range(from..).map(|(name, _)| name.as_str())
    }

    /// An object, as it is stored.
    pub(crate) fn object(&self, name: &str) -> Option<&Bytes> {
        self.objects.get(name)
    }

    fn delete(&mut self, name: &str, sabotage: Sabotage) -> Result<(), String> {
        self.may_delete(name).map_err(|why| format!("the hub deletes {name}: {why}"))?;
        self.objects.remove(name);
        if sabotage == Sabotage::GreedyDeletion && name.contains("/logs/") {
            // The one behind it, too.
            let next = self.names_from(format!("{name}\0")).next().map(str::to_owned);
            next.map(|next| self.objects.remove(&next));
        }
        Ok(())
    }

    /// How often it was put back.
    pub(crate) fn age(&self) -> u64 {
        self.age
    }

    fn put(&mut self, name: &str, object: Bytes, sabotage: Sabotage) -> Result<()> {
        let exists = self.objects.contains_key(name);
        if exists && sabotage != Sabotage::OverwritingStore {
            return Err(Error::AlreadyExists { path: name.into(), source: "it is there".into() });
        }
        self.creates += 1;
        let lost = sabotage == Sabotage::ForgetfulStore && name.contains("/logs/") && self.creates.is_multiple_of(9);
        if !lost {
            self.objects.insert(name.into(), object);
        }
        Ok(())
    }

    /// Up to `limit` objects in or below `folder`, above `after`.
    fn page(&self, folder: &str, after: Option<&str>, limit: usize) -> Vec<ObjectMeta> {
        let begins = format!("{folder}/");
        let from = after.map_or_else(|| begins.clone(), |after| format!("{after}\0"));
        let found = self.objects.range(from..).take_while(|(name, _)| name.starts_with(&begins));
        found.take(limit).map(|(name, object)| meta(name, object.len())).collect()
    }

    fn children(&self, folder: &str) -> ListResult {
        let begins = format!("{folder}/");
        let (mut folders, mut objects) = (BTreeSet::new(), Vec::new());
        for (name, object) in self.objects.range(begins.clone()..).take_while(|(name, _)| name.starts_with(&begins)) {
            match name[begins.len()..].split_once('/') {
                Some((child, _)) => {
                    folders.insert(format!("{begins}{child}"));
                }
                None => objects.push(meta(name, object.len())),
            }
        }
        let common_prefixes = folders.into_iter().filter_map(|folder| Path::parse(folder).ok()).collect();
        ListResult { common_prefixes, objects, extensions: Default::default() }
    }
}

fn meta(name: &str, len: usize) -> ObjectMeta {
    ObjectMeta {
        location: Path::parse(name).unwrap_or_default(),
        last_modified: DateTime::UNIX_EPOCH,
        size: len as u64,
        e_tag: None,
        version: None,
    }
}

#[async_trait::async_trait]
impl ObjectStore for Disk {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            // Whoever overwrites could destroy what was acknowledged.
            self.world.fail(format!("the hub overwrites {name}"));
        }
        let (object, path, world) = (Bytes::from(payload), name.to_string(), Arc::clone(&self.world));
        let ask = Ask { what: "put", name: path.clone(), writes: true };
        self.ask(ask, move |platter| {
            platter.put(&path, object, world.sabotage)?;
            world.ledger.lock().stored(&path);
            Ok(())
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart uploads".into(), implementer: self.to_string() })
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> Result<GetResult> {
        let path = name.to_string();
        let what = if options.head { "head" } else { "get" };
        let ask = Ask { what, name: path.clone(), writes: false };
        let found = self.ask(ask, move |platter| Ok(platter.objects.get(&path).cloned())).await?;
        let missing = || Error::NotFound { path: name.to_string(), source: "no such object".into() };
        let object = found.ok_or_else(missing)?;
        let (meta, range) = (meta(name.as_ref(), object.len()), 0..object.len() as u64);
        let body = if self.breaks_off() { Err(fate::failed("read")) } else { Ok(object) };
        let payload = GetResultPayload::Stream(stream::once(async move { body }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default(), extensions: Default::default() })
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let disk = self.clone();
        let delete = move |name: Result<Path>| {
            let disk = disk.clone();
            async move {
                let name = name?;
                let (path, world) = (name.to_string(), Arc::clone(&disk.world));
                let ask = Ask { what: "delete", name: path.clone(), writes: true };
                let delete = move |platter: &mut Platter| {
                    let deleted = platter.delete(&path, world.sabotage);
                    world.check(deleted);
                    Ok(())
                };
                disk.ask(ask, delete).await?;
                Ok(name)
            }
        };
        names.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (disk, folder) = (self.clone(), prefix.cloned().unwrap_or_default());
        // Page by page: what is created meanwhile is seen if it comes later in the order of names, as on real stores.
        let pages = stream::try_unfold(Some(None), move |at: Option<Option<String>>| {
            let (disk, folder) = (disk.clone(), folder.clone());
            async move {
                let Some(after) = at else { return Ok(None) };
                let page = disk.page(folder, after).await?;
                let next = page.last().map(|last| Some(last.location.to_string()));
                Ok::<_, Error>(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        futures_util::TryStreamExt::try_flatten(pages).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.map(ToString::to_string).unwrap_or_default();
        let ask = Ask { what: "children", name: folder.clone(), writes: false };
        self.ask(ask, move |platter| Ok(platter.children(&folder))).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copies".into(), implementer: self.to_string() })
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated disk")
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("hub", &self.hub).finish_non_exhaustive()
    }
}

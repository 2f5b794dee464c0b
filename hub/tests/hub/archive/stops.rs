//! An archiver that stops, or sleeps while another works, before or after any of its writes.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use pyralog_hub::archive::Archiver;
use pyralog_hub::store::open_directory;
use pyralog_lake::Lake;

use super::{Records, World, expect, files, long, once, records, rows};

/// What happens at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The archiver ends, and this write never happens.
    StopBefore,
    /// The archiver ends after it.
    StopAfter,
    /// The archiver sleeps, and another one does all there is to do.
    Sleep,
}

/// A directory under an archiver that something happens to.
#[derive(Debug, Clone)]
struct Eventful {
    inner: Arc<LocalFileSystem>,
    /// Writes until then.
    left: Arc<AtomicI64>,
    event: Event,
    store: PathBuf,
    lake: PathBuf,
}

impl Eventful {
    async fn before(&self) -> Result<i64> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        match self.event {
            Event::StopBefore if left <= 0 => Err(stopped()),
            Event::StopAfter if left < 0 => Err(stopped()),
            Event::Sleep if left == 0 => {
                Box::pin(once(&self.store, &self.lake)).await;
                Ok(left)
            }
            _ => Ok(left),
        }
    }

    fn after(&self, left: i64) -> Result<()> {
        if self.event == Event::StopAfter && left == 0 { Err(stopped()) } else { Ok(()) }
    }
}

fn stopped() -> Error {
    Error::Generic { store: "Eventful", source: "the archiver was stopped".into() }
}

impl fmt::Display for Eventful {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a directory with events")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Eventful {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let left = self.before().await?;
        let put = self.inner.put_opts(name, payload, options).await;
        self.after(left)?;
        put
    }

    async fn put_multipart_opts(&self, name: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(name, options).await
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(name, options).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |name: Result<Path>| {
            let this = this.clone();
            async move {
                let name = name?;
                let left = this.before().await?;
                let deleted = this.inner.delete(&name).await;
                this.after(left)?;
                deleted.map(|()| name)
            }
        };
        Box::pin(names.then(delete))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn copy(from: &FilePath, to: &FilePath) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test]
async fn an_archiver_may_stop_or_sleep_at_any_write() {
    let world = World::new().await;
    let mut device = world.device("a", 1).await;
    let pieces = [device.segment(10)];
    device.send(&world.hub.url(), &pieces).await;
    let early = world.folder.path().join("early");
    copy(&world.store(), &early);
    let pieces = [device.loss(5), device.segment(20)];
    device.send(&world.hub.url(), &pieces).await;
    let mut expected = Records::new();
    expect(&mut expected, "a", 1, 0..10);
    expect(&mut expected, "a", 1, 15..35);

    let (mut runs, mut whole) = (0, 0);
    for event in [Event::StopBefore, Event::StopAfter, Event::Sleep] {
        for at in 0..100 {
            let lake = world.folder.path().join(format!("{event:?}-{at}"));
            once(&early, &lake).await;
            let left = Arc::new(AtomicI64::new(at));
            let inner = Arc::new(LocalFileSystem::new_with_prefix(&lake).unwrap());
            let (store, path) = (world.store(), lake.clone());
            let eventful = Eventful { inner, left: Arc::clone(&left), event, store, lake: path };
            if let Ok(opened) = Lake::in_objects(Arc::new(eventful), "a lake".into()).await {
                let store = Arc::new(open_directory(&world.store()).unwrap());
                let round = Archiver::new(store, opened, None).round().await.unwrap();
                assert!(event != Event::Sleep || round.failed.is_empty(), "{event:?} at {at}: {:?}", round.failed);
            }
            runs += 1;
            // Also before the next archiver has looked: nothing is there twice, and nothing is there that was not sent.
            if event == Event::Sleep {
                assert_eq!(records(&lake, "climate"), expected, "{event:?} at write {at}");
            }
            once(&world.store(), &lake).await;
            assert_eq!(records(&lake, "climate"), expected, "{event:?} at write {at}");
            assert_eq!(files(&lake.join("log=climate")).len(), 1, "{event:?} at write {at}");
            let receipts: Vec<_> = rows(&lake.join("receipts")).iter().map(|row| long(&row["records"])).collect();
            assert_eq!(receipts, [5], "{event:?} at write {at}");
            if left.load(Ordering::SeqCst) >= 0 {
                whole += 1;
                break;
            }
        }
    }
    assert!(whole == 3 && runs > 20, "{runs} runs, {whole} of them to the end");
}

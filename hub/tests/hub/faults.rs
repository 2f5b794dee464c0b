//! A store that fails: the agent keeps its data and is told to come back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use pyralog_hub::store::ObjectsStore;
use pyralog_sync_protocol::frame::RefusalKind;

use crate::device::{Device, get, hub_on};

/// A directory that can run full.
#[derive(Debug)]
struct Full {
    inner: LocalFileSystem,
    full: Arc<AtomicBool>,
}

impl fmt::Display for Full {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a disk that runs full")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Full {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.full.load(Ordering::SeqCst) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull).into();
            return Err(Error::Generic { store: "Full", source });
        }
        self.inner.put_opts(name, payload, options).await
    }

    async fn put_multipart_opts(&self, name: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(name, options).await
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(name, options).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // In the order of names, as a store must.
        let listed = self.inner.list(prefix).collect::<Vec<_>>().map(|mut listed| {
            listed.sort_by_key(|found| found.as_ref().ok().map(|found| found.location.clone()));
            stream::iter(listed)
        });
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_full_disk_means_busy_and_the_data_arrives_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let inner = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let objects = Full { inner, full: Arc::clone(&full) };
    let hub = hub_on(Arc::new(ObjectsStore::new(Arc::new(objects), "a disk that runs full"))).await;
    let url = hub.url();
    let mut device = Device::new("board-17", "climate", 1);
    let busy = |kind: &RefusalKind| matches!(kind, RefusalKind::Busy { .. });
    let refusal = device.try_hello(&url).await.unwrap_err();
    assert!(busy(&refusal.kind) && refusal.detail.contains("write"), "{refusal:?}");

    full.store(false, Ordering::SeqCst);
    device.hello(&url).await;
    let pieces = [device.segment(10), device.segment(10)];
    assert_eq!(device.send(&url, &pieces[..1]).await, 10);
    full.store(true, Ordering::SeqCst);
    let (status, _) = device.post(&url, "batch", device.batch(&pieces)).await;
    assert_eq!(status, 503);
    assert!(busy(&device.try_send(&url, &pieces).await.unwrap_err().kind));
    // What was acknowledged can still be read.
    let (status, records) = get(&format!("{}/records?format=csv", device.at(&url))).await;
    assert_eq!((status, records.lines().count()), (200, 11));

    full.store(false, Ordering::SeqCst);
    assert_eq!(device.send(&url, &pieces).await, 20);
}

#[tokio::test]
async fn a_directory_that_is_gone_makes_the_hub_unready() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let hub = crate::device::hub(&path).await;
    let url = hub.url();
    std::fs::remove_dir_all(&path).unwrap();
    // A file where the directory was cannot be written into, whoever runs the test.
    std::fs::write(&path, b"").unwrap();
    let (status, body) = get(&format!("{url}/readyz")).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(get(&format!("{url}/healthz")).await.0, 200);
    let refusal = Device::new("board-17", "climate", 1).try_hello(&url).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Busy { .. }), "{refusal:?}");
}

//! What is particular to buckets, on a real S3 server.

mod opening;
mod requests;
mod sync;
mod trouble;

use std::sync::Arc;

use pyralog_e2e_s3::S3Server;
use pyralog_hub::store::{OpenError, SharedStore, open_bucket};

/// A server, and the folder where its objects are files.
pub struct Bucket {
    pub folder: tempfile::TempDir,
    pub server: S3Server,
}

impl Bucket {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = S3Server::start(folder.path()).unwrap();
        Self { folder, server }
    }

    /// The store as one hub sees it.
    pub async fn store(&self) -> SharedStore {
        Arc::new(open(&self.server.store("site/7")).await.unwrap())
    }

    /// The file of an object.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(pyralog_e2e_s3::BUCKET).join("site/7").join(name)
    }
}

async fn open(url: &str) -> Result<pyralog_hub::store::ObjectsStore, OpenError> {
    open_bucket(&url.parse().unwrap(), S3Server::environment()).await
}

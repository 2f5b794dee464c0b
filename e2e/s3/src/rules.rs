//! What is laid on top of `s3s-fs`: puts one after the other, and rules that can be broken.

use std::path::PathBuf;
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::sync::Mutex;

use crate::Misbehave;
use crate::door::State;

/// `s3s-fs` with its puts in a row.
#[derive(Debug)]
pub(crate) struct Rules {
    files: FileSystem,
    root: PathBuf,
    door: Arc<State>,
    /// `s3s-fs` looks whether an object exists, and writes it later.
    putting: Mutex<()>,
}

impl Rules {
    pub(crate) fn new(files: FileSystem, root: PathBuf, door: Arc<State>) -> Self {
        Self { files, root, door, putting: Mutex::new(()) }
    }
}

#[async_trait::async_trait]
impl S3 for Rules {
    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let _alone = self.putting.lock().await;
        // `s3s-fs` would make the folder.
        if !self.root.join(&req.input.bucket).is_dir() {
            return Err(S3Error::new(S3ErrorCode::NoSuchBucket));
        }
        if self.door.how() == Misbehave::IgnoreConditions {
            req.input.if_none_match = None;
        }
        if self.door.is_up(Misbehave::Conflict) {
            return Err(S3Error::with_message(S3ErrorCode::ConditionalRequestConflict, "another put is under way"));
        }
        self.files.put_object(req).await
    }

    async fn list_objects_v2(
        &self,
        mut req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        if self.door.how() == Misbehave::ListFromTheStart {
            req.input.start_after = None;
        }
        self.files.list_objects_v2(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(req).await
    }
}

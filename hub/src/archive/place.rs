//! The address of a lake, as people write it.

use std::sync::Arc;

use object_store::ObjectStore;
use pyralog_lake::{Lake, LakeError};

use crate::store::{BucketUrl, OpenError, StoreUrl, bucket_of_files};

/// Opens the lake at `url`, and makes it if need be.
///
/// # Errors
/// When it is no place for a lake, or cannot be reached.
pub async fn open_lake(url: &StoreUrl) -> Result<Lake, LakeError> {
    match url {
        StoreUrl::Directory(path) => Lake::in_directory(path).await,
        StoreUrl::Bucket(bucket) => Lake::in_objects(objects(bucket).await?, url.to_string()).await,
        other => Err(no_place(other)),
    }
}

/// Opens the lake at `url` for somebody who only reads: nothing is made.
///
/// # Errors
/// When there is no lake, or it cannot be reached.
pub async fn open_lake_to_read(url: &StoreUrl) -> Result<Lake, LakeError> {
    match url {
        StoreUrl::Directory(path) => Lake::in_directory_to_read(path).await,
        StoreUrl::Bucket(bucket) => Lake::in_objects_to_read(objects(bucket).await?, url.to_string()).await,
        other => Err(no_place(other)),
    }
}

async fn objects(bucket: &BucketUrl) -> Result<Arc<dyn ObjectStore>, LakeError> {
    bucket_of_files(bucket).await.map_err(|error| match error {
        OpenError::Unfit(reason) => LakeError::Unfit(reason),
        OpenError::Store(error) => LakeError::Unreachable(error.to_string()),
    })
}

fn no_place(url: &StoreUrl) -> LakeError {
    LakeError::Unfit(format!(
        "{url} is no place for files: a lake is a directory or a bucket, as file:///path, a plain path or s3://bucket/prefix"
    ))
}

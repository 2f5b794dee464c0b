//! The address of a lake, as people write it.

use pyralog_lake::{Lake, LakeError};

use crate::store::{OpenError, StoreUrl, bucket_of_files};

/// Opens the lake at `url`, and makes it if need be.
///
/// # Errors
/// When it is no place for a lake, or cannot be reached.
pub async fn open_lake(url: &StoreUrl) -> Result<Lake, LakeError> {
    match url {
        StoreUrl::Directory(path) => Lake::in_directory(path).await,
        StoreUrl::Bucket(bucket) => {
            let objects = bucket_of_files(bucket).await.map_err(|error| match error {
                OpenError::Unfit(reason) => LakeError::Unfit(reason),
                OpenError::Store(error) => LakeError::Unreachable(error.to_string()),
            })?;
            Lake::in_objects(objects, url.to_string()).await
        }
        other => Err(LakeError::Unfit(format!(
            "{other} is no place for files: a lake is a directory or a bucket, as file:///path, a plain path or s3://bucket/prefix"
        ))),
    }
}

//! The address of a lake, as people write it.

use pyralog_lake::{Lake, LakeError};

use crate::store::StoreUrl;

/// Opens the lake at `url`, and makes it if need be.
///
/// # Errors
/// When it is no place for a lake, or cannot be reached.
pub async fn open_lake(url: &StoreUrl) -> Result<Lake, LakeError> {
    match url {
        StoreUrl::Directory(path) => Lake::in_directory(path).await,
        other => {
            Err(LakeError::Unfit(format!("this build has no lake in {other}; write file:///path or a plain path")))
        }
    }
}

//! The directory store: objects are files, and what was acknowledged survives a power cut.
//!
//! `LocalFileSystem` writes `name#1`, syncs it, links it to `name` (which fails when that exists) and syncs the folder;
//! so an object is there whole or not at all, and the leftovers of a killed hub are ignored by listings.

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashSet;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::names::Digits;
use super::objects::{ObjectsStore, unavailable};
use super::pick::Pick;
use super::{StoreError, names};

/// Opens the directory at `path` as a store, creating it when it is missing.
pub fn open_directory(path: &FilePath) -> Result<ObjectsStore, StoreError> {
    let fail = |error: &dyn std::fmt::Display| StoreError::Unavailable {
        action: "open",
        name: path.display().to_string(),
        reason: error.to_string(),
    };
    std::fs::create_dir_all(path).map_err(|error| fail(&error))?;
    let objects = LocalFileSystem::new_with_prefix(path).map_err(|error| fail(&error))?.with_fsync(true);
    let root = path.canonicalize().map_err(|error| fail(&error))?;
    if let Some(parent) = root.parent() {
        sync_folder(parent).map_err(|error| fail(&error))?;
    }
    let address = format!("file://{}", root.display());
    Ok(ObjectsStore::on_directory(Arc::new(objects), address, LocalRoot { root, durable: Arc::default() }))
}

/// Folders remembered as durable; beyond, they are synced once more.
const MAX_FOLDERS: usize = 65_536;

/// What only a directory can or must do.
#[derive(Debug)]
pub(super) struct LocalRoot {
    root: PathBuf,
    /// Folders that this process knows to be durable with all above them. Folders are never removed.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl LocalRoot {
    /// Syncs every folder between `name` and the root. A killed process may have left a link or a folder unsynced; the
    /// contents of a visible file always were synced before.
    pub(super) async fn settle(&self, name: &Path) -> Result<(), StoreError> {
        let (root, file, durable) = (self.root.clone(), self.file(name), Arc::clone(&self.durable));
        let synced = blocking(move || {
            let known = |folder: &FilePath| lock(&durable).contains(folder);
            let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
            let mut synced = Vec::new();
            for folder in folders {
                sync_folder(folder)?;
                if known(folder) {
                    break;
                }
                synced.push(folder.to_path_buf());
            }
            // Only now: a folder is durable when all above it are.
            let mut durable = lock(&durable);
            let room = MAX_FOLDERS.saturating_sub(durable.len());
            durable.extend(synced.into_iter().take(room));
            Ok(())
        });
        synced.await.map_err(|error| unavailable("sync", name, error))
    }

    /// Reads a folder's names without looking at its files: a chain may have very many.
    pub(super) async fn numbers(&self, folder: &Path, digits: Digits, mut pick: Pick) -> Result<Vec<u64>, StoreError> {
        let path = self.file(folder);
        let listed = blocking(move || {
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pick.finish()),
                Err(error) => return Err(error),
            };
            for entry in entries {
                let name = entry?.file_name();
                // Temporary files (`…#1`) have another width and other characters.
                if let Some(number) = name.to_str().and_then(|name| names::number(&Path::from(name), digits)) {
                    pick.offer(number);
                }
            }
            Ok(pick.finish())
        });
        listed.await.map_err(|error| unavailable("list", folder, error))
    }

    /// How many bytes each of these files has before its seal; what is gone is left out.
    pub(super) async fn sizes(&self, files: Vec<(u64, Path)>) -> Result<Vec<(u64, u64)>, StoreError> {
        let (root, files) =
            (self.root.clone(), files.into_iter().map(|(n, name)| (n, self.file(&name))).collect::<Vec<_>>());
        let looked = blocking(move || {
            let size = |(number, file): (u64, PathBuf)| match std::fs::symlink_metadata(file) {
                Ok(found) => Some(Ok((number, found.len().saturating_sub(super::seal::LEN as u64)))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => Some(Err(error)),
            };
            files.into_iter().filter_map(size).collect()
        });
        looked.await.map_err(|error| StoreError::Unavailable {
            action: "list",
            name: root.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Syncs a folder in which files were deleted.
    pub(super) async fn sync(&self, folder: &Path) -> Result<(), StoreError> {
        let path = self.file(folder);
        blocking(move || sync_folder(&path)).await.map_err(|error| unavailable("sync", folder, error))
    }

    /// Whether the directory can be read and written.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let root = self.root.clone();
        let checked = blocking(move || {
            let probe = root.join(format!(".ready-{}", std::process::id()));
            std::fs::write(&probe, b"ready")?;
            std::fs::remove_file(&probe)
        });
        checked.await.map_err(|error| StoreError::Unavailable {
            action: "write to",
            name: self.root.display().to_string(),
            reason: error.to_string(),
        })
    }

    fn file(&self, name: &Path) -> PathBuf {
        let mut file = self.root.clone();
        file.extend(name.parts().map(|part| part.as_ref().to_owned()));
        file
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sync_folder(folder: &FilePath) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match std::fs::File::open(folder)?.sync_all() {
        // Nothing can be unsynced where nothing can be written.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        other => other,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

//! A lake: a folder of tables, in a directory or in an object store.

use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Says of a folder that it is a lake of ours.
const MARK: &str = "_pyralog.json";

/// What stands in it.
const MARK_TEXT: &str = "{\"pyralog_lake\":1}\n";

const OTHER_VERSION: &str = "its `_pyralog.json` is of another version of pyralog-hub; use that, or another lake";

const MAKES_ONE: &str = "name that which `pyralog-hub archive` was given, or let that make one there";

/// Longest encoded name of a folder; file systems take 255 bytes.
const MAX_FOLDER: usize = 200;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// A folder of tables.
#[derive(Clone)]
pub struct Lake {
    objects: Arc<dyn ObjectStore>,
    /// The directory, where it is one: what is written there is made durable by us.
    directory: Option<Arc<PathBuf>>,
    address: String,
}

/// Why a lake could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The environment failed; trying later may help.
    #[error("the lake cannot {action} {name}: {reason}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The object's name.
        name: String,
        /// The environment's own words.
        reason: String,
    },
    /// It cannot be reached.
    #[error("the lake is out of reach: {0}")]
    Unreachable(String),
    /// It is not as it must be, and stays so until a person changes it.
    #[error("{0}")]
    Unfit(String),
    /// Something in the lake is not as we left it.
    #[error("{name} in the lake: {reason}")]
    Foreign {
        /// What.
        name: String,
        /// How it is not.
        reason: String,
    },
    /// A file that was the table's is no more: it was compacted into another.
    #[error("{0} was compacted into another file since its table was looked at")]
    Gone(String),
    /// What a plan names is not to be had any more as the plan says.
    #[error("plan {number} of {table} cannot be finished as it was made: {reason}")]
    Changed {
        /// The plan.
        number: u64,
        /// Its table.
        table: String,
        /// What changed.
        reason: String,
    },
    /// Our fault.
    #[error("bug in the lake: {0}; please report it")]
    Ours(String),
}

impl LakeError {
    pub(crate) fn ours(error: impl std::fmt::Display) -> Self {
        Self::Ours(error.to_string())
    }
}

impl From<arrow_schema::ArrowError> for LakeError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::ours(error)
    }
}

impl From<parquet::errors::ParquetError> for LakeError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::ours(error)
    }
}

/// What a create-if-absent found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    Exists,
}

impl Lake {
    /// Opens the lake in a directory, and makes it if need be.
    pub async fn in_directory(path: &FilePath) -> Result<Self, LakeError> {
        let fail = |error: &dyn std::fmt::Display| {
            LakeError::Unfit(format!(
                "cannot use {} as a lake: {error}; name a directory that this user may write to",
                path.display()
            ))
        };
        std::fs::create_dir_all(path).map_err(|error| fail(&error))?;
        let path = path.canonicalize().map_err(|error| fail(&error))?;
        let objects = LocalFileSystem::new_with_prefix(&path).map_err(|error| fail(&error))?;
        let address = path.display().to_string();
        Self { objects: Arc::new(objects), directory: Some(Arc::new(path)), address }.checked().await
    }

    /// Opens a lake in any object store, whose root is the lake's.
    pub async fn in_objects(objects: Arc<dyn ObjectStore>, address: String) -> Result<Self, LakeError> {
        Self { objects, directory: None, address }.checked().await
    }

    /// Opens the lake in a directory for somebody who only reads: nothing is made.
    pub async fn in_directory_to_read(path: &FilePath) -> Result<Self, LakeError> {
        let address = path.display().to_string();
        let found = path.canonicalize().and_then(|path| Ok(LocalFileSystem::new_with_prefix(&path)?));
        match found {
            Ok(objects) => Self { objects: Arc::new(objects), directory: None, address }.known().await,
            Err(_) => Err(LakeError::Unfit(format!("there is no lake at {address}: {MAKES_ONE}"))),
        }
    }

    /// Opens a lake in any object store, whose root is the lake's, for somebody who only reads.
    pub async fn in_objects_to_read(objects: Arc<dyn ObjectStore>, address: String) -> Result<Self, LakeError> {
        Self { objects, directory: None, address }.known().await
    }

    /// A lake where a mark says so.
    async fn known(self) -> Result<Self, LakeError> {
        match self.read(MARK).await?.as_deref() {
            Some(text) if text == MARK_TEXT.as_bytes() => Ok(self),
            Some(_) => Err(LakeError::Unfit(format!("{}: {OTHER_VERSION}", self.address))),
            None => Err(LakeError::Unfit(format!("there is no lake at {}: {MAKES_ONE}", self.address))),
        }
    }

    /// Where it is, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A lake where a mark says so, or where nothing is yet; and creates must be refused where something is.
    async fn checked(self) -> Result<Self, LakeError> {
        let unfit = |reason: &str| Err(LakeError::Unfit(format!("{}: {reason}", self.address)));
        let found = self.read(MARK).await?;
        match found.as_deref() {
            None => {
                let listing =
                    self.objects.list_with_delimiter(None).await.map_err(|error| unavailable("list", "/", error))?;
                if !listing.objects.is_empty() || !listing.common_prefixes.is_empty() {
                    return unfit("it holds something else already; name an empty or a new folder for the lake");
                }
                self.create(MARK, MARK_TEXT.into()).await?;
            }
            Some(text) if text == MARK_TEXT.as_bytes() => {}
            Some(_) => return unfit(OTHER_VERSION),
        }
        match self.create(MARK, MARK_TEXT.into()).await? {
            Put::Exists => Ok(self),
            Put::Created => unfit(
                "it overwrites what must not be overwritten, so two archivers would destroy each other's work; use an object store \
                 that honours If-None-Match (conditional puts), or a directory",
            ),
        }
    }

    /// A whole object, `None` where there is none.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Bytes>, LakeError> {
        let fail = |error| unavailable("read", name, error);
        match self.objects.get(&path(name)?).await {
            Ok(found) => found.bytes().await.map(Some).map_err(fail),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// Bytes of a file that a table named.
    ///
    /// # Errors
    /// [`LakeError::Gone`] when it was compacted since.
    pub async fn read_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        match self.objects.get_range(&path(name)?, range).await {
            Ok(bytes) => Ok(bytes),
            Err(object_store::Error::NotFound { .. }) => Err(LakeError::Gone(name.into())),
            Err(error) => Err(unavailable("read", name, error)),
        }
    }

    /// The size of an object, `None` where there is none.
    pub(crate) async fn size(&self, name: &str) -> Result<Option<u64>, LakeError> {
        match self.objects.head(&path(name)?).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable("read", name, error)),
        }
    }

    /// Creates an object where there is none; it is durable afterwards, whoever created it, once its table's folder is settled.
    pub(crate) async fn create(&self, name: &str, bytes: Bytes) -> Result<Put, LakeError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = match self.objects.put_opts(&path(name)?, PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Put::Created,
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Put::Exists,
            Err(object_store::Error::NotImplemented { .. }) => {
                return Err(LakeError::Unfit(format!(
                    "{} cannot create an object only where there is none; use an object store that honours If-None-Match",
                    self.address
                )));
            }
            Err(error) => return Err(unavailable("write", name, error)),
        };
        self.settle(name).await?;
        Ok(put)
    }

    /// Writes an object, whether there is one or not.
    pub(crate) async fn replace(&self, name: &str, bytes: Bytes) -> Result<(), LakeError> {
        let put = self.objects.put(&path(name)?, PutPayload::from_bytes(bytes)).await;
        put.map_err(|error| unavailable("write", name, error))?;
        self.settle(name).await
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), LakeError> {
        match self.objects.delete(&path(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unavailable("delete", name, error)),
        }
    }

    /// Names of all objects below a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let found = self.objects.list(Some(&path(folder)?)).map_ok(|object| object.location.to_string());
        found.try_collect().await.map_err(|error| unavailable("list", folder, error))
    }

    /// Makes a file survive a power cut, as far as its folder is known to.
    async fn settle(&self, name: &str) -> Result<(), LakeError> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.sync(name, vec![name.to_owned(), folder.to_owned()]).await
    }

    /// Makes the folders in a table's folder, and that itself, survive a power cut.
    pub(crate) async fn settle_folder(&self, folder: &str) -> Result<(), LakeError> {
        self.sync(folder, vec![folder.to_owned(), String::new()]).await
    }

    async fn sync(&self, name: &str, what: Vec<String>) -> Result<(), LakeError> {
        let Some(root) = self.directory.clone() else { return Ok(()) };
        let sync = move || what.iter().try_for_each(|name| std::fs::File::open(root.join(name))?.sync_all());
        match tokio::task::spawn_blocking(sync).await {
            Ok(Ok(())) => Ok(()),
            // Another archiver has replaced and deleted it meanwhile.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Ok(Err(error)) => Err(unavailable("make durable", name, error)),
            Err(error) => Err(LakeError::ours(error)),
        }
    }
}

/// The folder of a log's table.
pub(crate) fn folder(log: &str) -> String {
    let encoded = utf8_percent_encode(log, ENCODED).to_string();
    if encoded.len() <= MAX_FOLDER {
        return format!("log={encoded}");
    }
    // The table's own name is whole; the folder's is cut where a character ends, and told from others by a hash.
    let sum = &blake3::hash(log.as_bytes()).to_hex()[..16];
    let mut cut = MAX_FOLDER - 17;
    while !log_part_ends_at(&encoded, cut) {
        cut -= 1;
    }
    format!("log={}~{sum}", &encoded[..cut])
}

/// Whether an encoded name can be cut here without cutting a `%XX` or a character of several.
fn log_part_ends_at(encoded: &str, cut: usize) -> bool {
    percent_decode_str(&encoded[..cut])
        .decode_utf8()
        .is_ok_and(|text| !text.ends_with('%') && utf8_percent_encode(&text, ENCODED).to_string() == encoded[..cut])
}

fn path(name: &str) -> Result<Path, LakeError> {
    Path::parse(name).map_err(LakeError::ours)
}

fn unavailable(action: &'static str, name: &str, error: impl std::fmt::Display) -> LakeError {
    LakeError::Unavailable { action, name: name.into(), reason: error.to_string() }
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Lake").field("address", &self.address).finish_non_exhaustive()
    }
}

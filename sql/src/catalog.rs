//! What a query is about, as seen from this side of the border: tables, their files, and parts that are in no file yet.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// Arrow IPC streams, each whole: a schema and any number of batches, uncompressed.
pub type IpcStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// Tables by name, all as they are at one moment for one query.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// The names of all tables.
    async fn names(&self) -> Result<Vec<String>, SourceError>;

    /// A table; `None` where there is none of that name.
    async fn table(&self, name: &str) -> Result<Option<Table>, SourceError>;
}

/// A table at one moment: each of its rows is in one of the files or one of the parts, and in no other.
#[derive(Clone)]
pub struct Table {
    /// Its columns: an Arrow IPC stream without batches. A file may lack some; a part must have all but `date`.
    pub schema: Bytes,
    /// Whether there is a last column `date`, a day of 32 bits: from each file's bounds, and for parts from `time`.
    pub has_date: bool,
    /// Parquet files.
    pub files: Vec<DataFile>,
    /// What is in no file yet.
    pub parts: Vec<Part>,
    /// Who reads them.
    pub source: Arc<dyn Source>,
}

/// Reads what a [`Table`] names.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Bytes of a file.
    async fn read(&self, file: &str, range: Range<u64>) -> Result<Bytes, SourceError>;

    /// The rows of the part with this index; may give more than what is wanted, but nothing less.
    fn part(&self, index: usize, wanted: Wanted) -> IpcStream;
}

/// What a query wants of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Times from here on, Unix nanoseconds.
    pub from: Option<i64>,
    /// Times before this, Unix nanoseconds.
    pub to: Option<i64>,
    /// So many rows at most.
    pub limit: Option<u64>,
}

/// A Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// What [`Source::read`] calls it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// What is known of its rows.
    pub bounds: Bounds,
}

/// Rows that are in no file yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// What is known of them.
    pub bounds: Bounds,
}

/// Lowest and highest values of some columns, both inclusive; `None` where they are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Column `agent`.
    pub agent: Option<(String, String)>,
    /// Column `log`.
    pub log: Option<(String, String)>,
    /// Column `epoch`.
    pub epoch: Option<(i64, i64)>,
    /// Column `offset`.
    pub offset: Option<(i64, i64)>,
    /// Column `time`, Unix microseconds.
    pub time: Option<(i64, i64)>,
    /// Column `date`, days since 1970.
    pub date: Option<i32>,
}

/// Why a table cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The environment failed; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// Something is not as it was stored; stays so until a person sees to it.
    #[error("{0}")]
    Damaged(String),
    /// What the table named is gone, since it was put in order meanwhile: the same query, asked again, finds it.
    #[error("{0}")]
    Stale(String),
    /// The query asks for too much, in words that say of what.
    #[error("{0}")]
    Refused(String),
    /// Our fault.
    #[error("bug: {0}; please report it")]
    Ours(String),
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (files, parts) = (self.files.len(), self.parts.len());
        out.debug_struct("Table").field("files", &files).field("parts", &parts).finish_non_exhaustive()
    }
}

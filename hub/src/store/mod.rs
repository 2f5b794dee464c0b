//! Where committed entries live.
//!
//! The hub keeps no state of its own: everything it promises is in a [`Store`], and any number of hubs may stand before
//! one. That is safe because every write is a create-if-absent under a name that orders by offset, so of two hubs that
//! commit at one place exactly one wins, and the other reads the chain again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

mod bucket;
mod directory;
mod ends;
mod jetstream;
mod listing;
mod names;
mod objects;
mod pick;
mod seal;
mod trimming;
mod url;
mod words;

#[cfg(feature = "lake")]
pub(crate) use bucket::bucket_of_files;
pub use bucket::{BucketUrl, open_bucket};
pub use directory::open_directory;
pub use jetstream::JetStreamUrl;
pub use objects::ObjectsStore;
pub use url::{StoreUrl, StoreUrlError, default_directory};

/// What every store operation returns: boxed, so that hubs hold any store behind one pointer.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Most object names that one page of a listing may hold; bounds the memory of a listing (8 bytes a base).
pub const MAX_PAGE: usize = 65_536;

/// One append-only chain of entries: what one agent committed to one log during one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain<'a> {
    /// The agent's id.
    pub agent: &'a str,
    /// The epoch in which the offsets count.
    pub epoch: u32,
    /// The log's name, as the agent wrote it.
    pub log: &'a str,
}

/// A [`Chain`] with names of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnedChain {
    /// The agent's id.
    pub agent: String,
    /// The epoch in which the offsets count.
    pub epoch: u32,
    /// The log's name.
    pub log: String,
}

impl OwnedChain {
    /// The chain.
    pub fn borrow(&self) -> Chain<'_> {
        Chain { agent: &self.agent, epoch: self.epoch, log: &self.log }
    }
}

/// A chain, and the fingerprint of a schema that it uses.
pub type Note = (OwnedChain, [u8; 8]);

/// Where the objects of one kind are kept; each has a number there, so that place and number name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place<'a> {
    /// Records of an agent's epochs, by epoch.
    Epochs(&'a str),
    /// Marks of an agent's epochs that have ended, by epoch; nothing is in them.
    Closed(&'a str),
    /// The register of an agent's epoch, by position.
    Register(&'a str, u32),
    /// Heads that an agent told of during an epoch, by their sum.
    Heads(&'a str, u32),
    /// An agent's schemas, by fingerprint as a big-endian number.
    Schemas(&'a str),
    /// The schemas that a chain uses, by fingerprint; nothing is in them.
    Notes(Chain<'a>),
    /// The entries of a chain, by base.
    Entries(Chain<'a>),
    /// Marks of what retention deleted of a chain, by the offset below which segments may be gone.
    Trimmed(Chain<'a>),
}

/// What a create-if-absent found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Nothing was there; the object is now stored and durable.
    Created,
    /// Another object has the name already; it is durable, and unchanged.
    Exists,
}

/// Why a store could not do as asked. The agent keeps its data in every case.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The environment failed: disk full, directory read-only or gone, network down. Trying later may help.
    #[error("the store cannot {action} {name}: {reason}")]
    Unavailable {
        /// What was tried: `write`, `read`, `list`.
        action: &'static str,
        /// The object's or folder's name.
        name: String,
        /// The environment's own words.
        reason: String,
    },
    /// An object is not what was stored there, or is gone.
    #[error("the store's object {name} is damaged or foreign: {reason}")]
    Damaged {
        /// The object's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Durable storage of epochs, schemas and entries. All writes are create-if-absent; a returned `Created` or `Exists`
/// means that the object survives a power cut. So does what [`last_epoch`](Self::last_epoch),
/// [`last_entry`](Self::last_entry), [`register`](Self::register) and [`has_schema`](Self::has_schema) find, since
/// acknowledgements rest on it; the other reads are for readers, and promise (and cost) less.
pub trait Store: Send + Sync + 'static {
    /// The store's address, for people.
    fn address(&self) -> String;

    /// Whether the store answers at present.
    fn check(&self) -> StoreFuture<'_, ()>;

    /// The largest object that it takes, in bytes, where that is less than what any hub writes.
    fn max_object(&self) -> Option<usize> {
        None
    }

    /// The highest epoch of `agent` that is at least `known`, with its record; `None` for an unknown agent.
    ///
    /// `known` is an epoch which the caller saw in this store before (0 when none): a hint that saves a listing, since
    /// epochs are dense.
    fn last_epoch<'a>(&'a self, agent: &'a str, known: u32) -> StoreFuture<'a, Option<(u32, Bytes)>>;

    /// The object with this number in a place, whole and as it was stored: another is [`StoreError::Damaged`].
    fn object<'a>(&'a self, place: Place<'a>, number: u64) -> StoreFuture<'a, Option<Bytes>>;

    /// Up to `limit` (at most [`MAX_PAGE`]) numbers of the objects in a place, ascending, from `from` on.
    fn numbers<'a>(&'a self, place: Place<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<u64>>;

    /// The name under which an object is stored, for messages to people.
    fn object_name(&self, place: Place<'_>, number: u64) -> String;

    /// The record of one epoch.
    fn epoch<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Option<Bytes>> {
        self.object(Place::Epochs(agent), epoch.into())
    }

    /// Creates `epoch` of `agent`. This create is the compare-and-set which decides who owns the epoch.
    fn create_epoch<'a>(&'a self, agent: &'a str, epoch: u32, record: Bytes) -> StoreFuture<'a, Put>;

    /// Whether `epoch` is marked as ended: nothing of it will ever be committed again.
    fn is_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, bool>;

    /// Marks `epoch` as ended.
    fn mark_closed<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Put>;

    /// The newest heads that `agent` reported during `epoch`.
    fn heads<'a>(&'a self, agent: &'a str, epoch: u32) -> StoreFuture<'a, Option<Bytes>>;

    /// Stores heads under `order`, a number that grows as heads grow; older ones may be deleted afterwards.
    fn put_heads<'a>(&'a self, agent: &'a str, epoch: u32, order: u64, heads: Bytes) -> StoreFuture<'a, Put>;

    /// Whether the schema with this fingerprint is stored, and whole.
    fn has_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8]) -> StoreFuture<'a, bool>;

    /// The schema with this fingerprint.
    fn schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8]) -> StoreFuture<'a, Option<Bytes>> {
        self.object(Place::Schemas(agent), u64::from_be_bytes(fingerprint))
    }

    /// Stores a schema under its fingerprint. One that is there and damaged is replaced: the fingerprint says what it was.
    fn put_schema<'a>(&'a self, agent: &'a str, fingerprint: [u8; 8], schema: Bytes) -> StoreFuture<'a, Put>;

    /// Notes that a chain uses the schema, so that readers find its columns without reading its entries.
    fn note_schema<'a>(&'a self, chain: Chain<'a>, fingerprint: [u8; 8]) -> StoreFuture<'a, Put>;

    /// The schemas noted for a chain, ordered by fingerprint.
    fn noted_schemas<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Vec<[u8; 8]>> {
        Box::pin(async move {
            let noted = self.numbers(Place::Notes(chain), 0, MAX_PAGE).await?;
            Ok(noted.into_iter().map(u64::to_be_bytes).collect())
        })
    }

    /// The last entry of a chain, with the offset at which it begins.
    fn last_entry<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>>;

    /// Commits an entry which begins at `base`. `Exists` means that another entry begins there, or began there before retention
    /// deleted it: read the chain again.
    ///
    /// The second is the store's own to see to: a hub that hung may still believe in an end of the chain that has long been
    /// passed and trimmed, where nothing is any more. Where an entry was removed none is ever `Created`.
    fn commit<'a>(&'a self, chain: Chain<'a>, base: u64, entry: Bytes) -> StoreFuture<'a, Put>;

    /// The entry which begins at `base`.
    fn entry<'a>(&'a self, chain: Chain<'a>, base: u64) -> StoreFuture<'a, Option<Bytes>> {
        self.object(Place::Entries(chain), base)
    }

    /// Up to `limit` (at most [`MAX_PAGE`]) bases of a chain, ascending, from `from` on.
    fn bases<'a>(&'a self, chain: Chain<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<u64>> {
        self.numbers(Place::Entries(chain), from, limit)
    }

    /// The greatest base of a chain at or below `offset`: where the entry which holds `offset` begins.
    fn base_at<'a>(&'a self, chain: Chain<'a>, offset: u64) -> StoreFuture<'a, Option<u64>>;

    /// Up to `limit` agent ids above `after`, ascending.
    fn agents<'a>(&'a self, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>>;

    /// Up to `limit` log names of `agent` above `after`, ascending.
    fn logs<'a>(&'a self, agent: &'a str, after: Option<&'a str>, limit: usize) -> StoreFuture<'a, Vec<String>>;

    /// The records of the register of an epoch's logs, from position `from` to its end: they are dense from 0.
    fn register<'a>(&'a self, agent: &'a str, epoch: u32, from: u32) -> StoreFuture<'a, Vec<Bytes>>;

    /// Creates the register's record at `position`.
    fn put_register<'a>(&'a self, agent: &'a str, epoch: u32, position: u32, record: Bytes) -> StoreFuture<'a, Put>;

    /// The epochs of `agent`, ascending.
    fn epochs<'a>(&'a self, agent: &'a str) -> StoreFuture<'a, Vec<u32>> {
        Box::pin(async move {
            let epochs = self.numbers(Place::Epochs(agent), 0, MAX_PAGE).await?;
            Ok(epochs.into_iter().filter_map(|epoch| u32::try_from(epoch).ok()).collect())
        })
    }

    /// The newest mark of what retention deleted from a chain, by its number: see [`put_trimmed`](Self::put_trimmed).
    fn trimmed<'a>(&'a self, chain: Chain<'a>) -> StoreFuture<'a, Option<(u64, Bytes)>>;

    /// Stores a mark (a [`TrimMark`](pyralog_sync_protocol::trim::TrimMark)) under `below`, the offset below which segments may
    /// be gone from now on. Marks with lower numbers may be deleted afterwards, the newest never is.
    fn put_trimmed<'a>(&'a self, chain: Chain<'a>, below: u64, mark: Bytes) -> StoreFuture<'a, Put>;

    /// Deletes the entries which begin at `bases`, each of them below a mark that [`put_trimmed`](Self::put_trimmed) stored, and
    /// none the chain's last. What is gone already is no failure. What this call deleted stays gone after a power cut.
    fn remove_entries<'a>(&'a self, chain: Chain<'a>, bases: &'a [u64]) -> StoreFuture<'a, ()>;

    /// Up to `limit` (at most [`MAX_PAGE`]) bases of a chain, ascending, from `from` on, each with the length of its entry.
    ///
    /// A store that knows sizes without reading entries should say so itself.
    fn entry_sizes<'a>(&'a self, chain: Chain<'a>, from: u64, limit: usize) -> StoreFuture<'a, Vec<(u64, u64)>> {
        Box::pin(async move {
            let mut sizes = Vec::new();
            for base in self.bases(chain, from, limit).await? {
                let entry = self.entry(chain, base).await?;
                sizes.extend(entry.map(|entry| (base, entry.len() as u64)));
            }
            Ok(sizes)
        })
    }

    /// The epochs in which `log` has entries, ascending.
    fn log_epochs<'a>(&'a self, agent: &'a str, log: &'a str) -> StoreFuture<'a, Vec<u32>>;

    /// All chains, or those of one log, in no order, where the store can tell them at once; `None` where agents have to be asked one by
    /// one, also because the chains are too many for one listing.
    fn all_chains<'a>(&'a self, _log: Option<&'a str>) -> StoreFuture<'a, Option<Vec<OwnedChain>>> {
        Box::pin(async { Ok(None) })
    }

    /// The schemas noted for all chains of a log, likewise.
    fn all_notes<'a>(&'a self, _log: &'a str) -> StoreFuture<'a, Option<Vec<Note>>> {
        Box::pin(async { Ok(None) })
    }

    /// The name of the entry which begins at `base`.
    fn entry_name(&self, chain: Chain<'_>, base: u64) -> String {
        self.object_name(Place::Entries(chain), base)
    }
}

/// A store behind one pointer, as the rest of the hub holds it.
pub type SharedStore = Arc<dyn Store>;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not as it must be, and stays so until a person changes it: the message says what, and how.
    #[error("{0}")]
    Unfit(String),
    /// It cannot be reached or written at present.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store at `url` for a hub, which makes what is missing.
pub async fn open(url: &StoreUrl) -> Result<SharedStore, OpenError> {
    match url {
        StoreUrl::Directory(path) => Ok(Arc::new(open_directory(path)?)),
        StoreUrl::Bucket(url) => bucket::open(url).await,
        StoreUrl::JetStream(url) => jetstream::open(url, jetstream::Missing::Make).await,
    }
}

/// Opens the store at `url` for whoever looks at it: one that is not there is no empty store, and nothing is written, where that can be had.
pub async fn open_to_read(url: &StoreUrl) -> Result<SharedStore, OpenError> {
    match url {
        StoreUrl::Directory(path) if !path.is_dir() => {
            Err(OpenError::Unfit(format!("there is no store at {}: name one with --store", path.display())))
        }
        StoreUrl::JetStream(url) => jetstream::open(url, jetstream::Missing::Refuse).await,
        StoreUrl::Bucket(url) => bucket::open_to_read(url).await,
        StoreUrl::Directory(_) => open(url).await,
    }
}

//! The ring: the newest records of all logs, in RAM, as columnar segments under one memory budget.
//!
//! A segment is *open* (column builders), then *sealed* (an immutable Arrow batch), then *packed* (compressed once; these very
//! bytes are shipped), then evicted: whole segments, those that the hub has first, oldest first. What is evicted before the
//! hub had it is a loss, and the ring keeps its range, reason and times until the hub has a receipt for it.
//!
//! ```
//! use pyralog_agent::records::{Records, Value};
//! use pyralog_agent::ring::{Budget, Clock, ReadRange, Ring, RingConfig};
//!
//! let ring = Ring::new(RingConfig::default(), Budget::new(64 << 20));
//! let clock = Clock::start();
//! let mut records = Records::new();
//! records.begin("climate", None);
//! records.push("temp", Value::F64(20.5));
//! records.finish();
//! assert_eq!(ring.append(&records, clock.now())?.rows, 1);
//!
//! let mut reader = ring.read("climate", ReadRange::default()).ok_or("no such log")?;
//! let chunk = reader.next_chunk()?.ok_or("no records")?;
//! assert_eq!((chunk.base, chunk.rows), (0, 0..1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Who calls what: ingest appends; one task waits for [`Events::sealed`] and calls [`Ring::pack_next`] until it says false,
//! and [`Ring::seal_due`] every second or so; the sync driver reads [`Ring::sync_logs`], ships what [`Ring::segment_at`] and
//! [`Ring::loss`] give, and brings the hub's answers back by [`Ring::apply_cursor`]. The ring knows none of its users.

mod append;
mod batch;
mod budget;
mod column;
mod config;
mod dictionary;
mod eviction;
#[cfg(any(test, debug_assertions))]
mod invariants;
mod log;
mod loss;
mod open;
mod pack;
mod rate;
mod read;
mod reject;
#[expect(clippy::module_inception, reason = "the file holds the type of that name")]
mod ring;
mod schema;
mod segment;
mod state;
mod summary;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

pub use append::{AppendError, Appended};
pub use batch::{ColumnBatch, ColumnSlice};
pub use budget::{Budget, Exhausted, Reservation};
pub use config::{Clock, EvictionPolicy, Now, RingConfig};
pub use log::{Account, HubCursor};
pub use loss::{Loss, LossReason};
pub use read::{Chunk, ReadError, ReadRange, Reader};
pub use ring::{Events, Ring, Use};
pub use segment::PackedSegment;
pub use summary::{LogSummary, RingStatus};
pub use sync::{CursorError, SyncLog};
pub use writer::{Writer, WriterError};

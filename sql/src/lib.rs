//! SQL over what a hub stores, by DataFusion: one table a log, fresh records and the lake's files together, each record once.
//!
//! DataFusion is on another Arrow than all the rest, so this crate knows neither stores nor lakes. Who has them is a
//! [`Catalog`], and what crosses over are names, bounds and Arrow IPC bytes ([`Table`], [`Source`]).
//!
//! An [`Engine`] only reads: statements other than queries are refused, nothing is written to disk, and memory, time and
//! the number of queries at once are capped ([`Limits`]). It has threads of its own, so that a long query keeps nobody
//! else waiting.

mod border;
mod catalog;
mod deep;
mod engine;
mod error;
mod files;
mod names;
mod output;
mod parts;
mod prune;
mod table;
mod times;

pub use catalog::{Bounds, Catalog, DataFile, IpcStream, Part, Source, SourceError, Table, Wanted};
pub use engine::{Answer, Engine, Limits, MAX_QUERY, Scanned, THREADS};
pub use error::SqlError;
pub use output::{Format, UnknownFormat};

//! What a hub stores, as tables that any engine reads: Parquet files in `log=…/date=…/` folders, with a Delta log beside them.
//!
//! This crate knows tables, files and plans. It knows no agents' protocol and no store: records come in as Arrow batches
//! ([`Rows::push`]).
//!
//! A [`Table`] grows by [`Plan`]s. A plan is created where none may be yet, names chains, ranges and files, and is finished by
//! whoever finds it unfinished, so neither a crash nor a second archiver gives a record twice.

mod adopt;
mod columns;
mod compact;
mod delta;
mod file;
mod lake;
mod plan;
mod reading;
mod receipts;
mod rows;
mod table;

pub use lake::{Lake, LakeError};
pub use plan::{Plan, Receipt, Source, Work};
pub use reading::{DataFile, Shape};
pub use rows::Rows;
pub use table::{Began, Finished, Mark, Table};

//! The Delta log of one table: what it is made of, how it is read, and the commit of its next version.
//!
//! We write what every reader of Delta understands (reader version 1, writer version 2). A commit creates the file of the next
//! version where none may be yet; that create is the table's compare-and-set.

mod action;
mod checkpoint;
mod log;

pub(crate) use action::{Action, Add, Format, Metadata, Remove};
pub(crate) use log::{Snapshot, commit, load};

//! The hub through its public doors: HTTP, the store trait, `verify`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[cfg(feature = "lake")]
mod archive;
mod binary;
mod bucket;
mod damage;
mod device;
mod doors;
mod faults;
mod nats;
mod nats_doors;
mod pki;
mod read;
mod replay;
mod retention;
mod slow_readers;
#[cfg(feature = "sql")]
mod sql;
mod store;
mod strangers;
mod sync;
mod tls;
mod verify;

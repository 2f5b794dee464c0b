//! The hub through its public doors: HTTP, the store trait, `verify`.

mod device;
mod doors;
mod faults;
mod read;
mod store;
mod sync;
mod verify;

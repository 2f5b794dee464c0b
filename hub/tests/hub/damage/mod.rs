//! Damage at rest: whatever happens to an object of a store, it is named, never served, and never acknowledged upon.

pub mod kinds;
mod names;
mod reads;
mod store;
mod sync;

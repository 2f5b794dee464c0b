//! How a Pyralog Edge agent ships its logs to a hub: frames and two state machines, without sockets, clocks, tasks or Arrow.
//!
//! The agent drives a [`Sender`]: it asks [`Sender::poll`] what to do, does it, and tells what happened.
//!
//! ```text
//! loop {
//!     match sender.poll(now, &ring) {
//!         Action::Wait { until } => sleep until then, or until there is demand,
//!         Action::Seal           => seal what the logs hold, and wait until it is packed,
//!         Action::Hello(bytes)   => POST …/hello, then handle_reply(now, reply) or handle_failure(now, why),
//!         Action::Batch(bytes)   => POST …/batch, likewise,
//!     }
//! }
//! ```
//!
//! The hub answers each request with a receiver: [`HelloReceiver`] or [`BatchReceiver`]. It asks [`poll`](BatchReceiver::poll)
//! which [`Step`] the store should take, takes it, and hands the [`Answer`] to [`handle`](BatchReceiver::handle), until the
//! step is a [`Step::Reply`].
//!
//! What they keep, whatever is lost, duplicated, delayed or reordered between them, and whichever side crashes:
//! the hub's log is gap-free; no offset is committed twice; an answer means durable; only the newest epoch commits; and
//! accepted = committed + pending + receipted.
//!
//! [`sidecar`] is a protocol of its own: how firmware without an allocator hands its readings to an agent.

#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "alloc")]
pub mod backoff;
#[cfg(feature = "alloc")]
pub mod chain;
#[cfg(feature = "alloc")]
pub mod cursor;
#[cfg(feature = "alloc")]
pub mod entry;
#[cfg(feature = "alloc")]
pub mod epoch;
#[cfg(feature = "alloc")]
pub mod frame;
#[cfg(feature = "alloc")]
pub mod ids;
pub mod limits;
#[cfg(feature = "alloc")]
pub mod receiver;
#[cfg(feature = "alloc")]
pub mod sender;
pub mod sidecar;
#[cfg(feature = "alloc")]
pub mod source;
#[cfg(feature = "alloc")]
pub mod trim;
pub mod wire;

#[cfg(feature = "alloc")]
pub use cursor::Cursor;
#[cfg(feature = "alloc")]
pub use ids::{AgentId, ChainHash, Epoch, Fingerprint, Incarnation, LogName};
#[cfg(feature = "alloc")]
pub use receiver::{Answer, BatchReceiver, HelloReceiver, Step};
#[cfg(feature = "alloc")]
pub use sender::{Action, Failure, Sender, SenderConfig, SenderState, SenderStatus};
#[cfg(feature = "alloc")]
pub use source::{Item, Source};

//! The front door of a Pyralog cluster: takes the batches of agents, commits them into storage that already exists, and
//! reads them back. The hub itself is stateless: any number of them can stand before one store, and a killed hub loses
//! nothing that it acknowledged.
//!
//! A request of an agent passes [`http`] (credentials, limits), is driven through the protocol's receiver by [`session`],
//! and ends in the [`store`]. Readers pass [`http`] too, and get records by [`scan`] and sums by [`account`].
//! [`retention`] deletes what is too old or too much; [`archive`] moves records into a lake, and [`sql`] asks both.

pub mod account;
#[cfg(feature = "lake")]
pub mod archive;
pub mod auth;
pub mod cli;
mod clock;
pub mod config;
#[cfg(feature = "lake")]
mod fleet;
pub mod http;
mod recent;
pub mod retention;
pub mod run;
pub mod scan;
pub mod session;
#[cfg(feature = "sql")]
pub mod sql;
pub mod store;
pub mod tls;
pub mod verify;

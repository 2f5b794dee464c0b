//! The front door of a Pyralog cluster: takes the batches of agents, commits them into storage that already exists, and
//! reads them back. The hub itself is stateless: any number of them can stand before one store, and a killed hub loses
//! nothing that it acknowledged.

pub mod auth;
pub mod config;
pub mod store;

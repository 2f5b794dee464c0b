//! A whole agent seen through its HTTP door: real listener, real sockets, ports of the system's choice.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod agent;
mod hostile;
mod read;
mod secure;
mod write;

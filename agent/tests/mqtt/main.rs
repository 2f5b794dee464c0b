//! The MQTT endpoint over real sockets, with the clients that people use.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod clients;
mod lifetimes;
mod limits;
mod support;
mod tls;

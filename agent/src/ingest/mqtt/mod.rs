//! The agent's own MQTT endpoint: a server for publishers, MQTT 3.1.1 and 5.0, QoS 0, 1 and 2, TCP and TLS.
//!
//! It takes messages and sends none: SUBSCRIBE is refused as the standard provides. A message is acknowledged after the
//! [`PublishSink`](crate::ingest::PublishSink) has it.
//!
//! `connection` is the protocol, without sockets or clock; `driver` moves bytes between it and a socket; `server`
//! accepts. Idle connections are cheap: buffers belong to the worker threads, a connection holds bytes only while a
//! packet of it is incomplete or its peer does not read.

mod access;
mod aliases;
mod budget;
mod close;
mod config;
mod connect;
mod connection;
mod control;
mod counters;
mod driver;
mod held;
mod limits;
mod publish;
mod reply;
mod server;
mod session;
mod shared;
mod wire;

pub use access::{Access, User};
pub use budget::{ConnectionBudget, Reserved, Unlimited};
pub use config::MqttServerConfig;
pub use counters::MqttCounters;
pub use server::{MqttEndpoint, serve};

#[cfg(test)]
mod tests;

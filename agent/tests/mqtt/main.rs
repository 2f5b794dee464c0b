//! The MQTT endpoint over real sockets, with the clients that people use.

mod clients;
mod lifetimes;
mod limits;
mod support;
mod tls;

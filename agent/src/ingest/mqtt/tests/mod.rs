//! The protocol, tested without sockets: bytes in, bytes out, time as told.

mod bytes;
mod control;
mod driver;
mod publish;
mod sessions;
mod support;

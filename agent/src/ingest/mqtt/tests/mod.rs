//! The protocol, tested without sockets: bytes in, bytes out, time as told.

mod bytes;
mod control;
mod publish;
mod sessions;
mod support;

//! Firmware at the agent's door: sockets and serial lines, with the producer that firmware runs on the other end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod devices;
mod doors;
mod support;

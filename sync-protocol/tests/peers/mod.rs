//! What both kinds of tests put around the state machines: a ring of numbers and a store in memory.

#![allow(dead_code, reason = "each kind of test uses its part")]

pub mod ring;
pub mod store;

use pyralog_sync_protocol::{Incarnation, LogName};

/// The record that was accepted at an offset: distinct for every incarnation, log and offset.
pub fn truth(incarnation: Incarnation, log: &LogName, offset: u64) -> u64 {
    let of = u64::from_le_bytes(incarnation.0[..8].try_into().unwrap());
    of.wrapping_mul(0x9e37_79b9) ^ (log.as_str().len() as u64) << 40 ^ offset
}

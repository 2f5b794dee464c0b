//! The segment crate through its public doors.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod batches;
mod golden;
mod hostile;
mod output;
mod round_trip;

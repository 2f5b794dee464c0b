//! The segment crate through its public doors.

mod batches;
mod golden;
mod hostile;
mod output;
mod round_trip;

//! What agent and hub tell a service manager such as systemd: that they are ready, what they do, and that they live.
//!
//! That a process lives says little: its loops may wait for a lock that nobody gives back. So each loop promises in its
//! [`Beat`] when it will be heard of again, and [`keep_fed`] feeds the watchdog for as long as all promises hold.

mod feeding;
mod manager;
mod pulse;

pub use feeding::keep_fed;
pub use manager::Manager;
pub use pulse::{Beat, Overdue, Progress, Pulse};

//! The memory cap on the real process: hostile and heavy clients, a curve of what is resident, and a neighbour who behaves.
//!
//! Each case starts an agent under a cap, lets clients loose on it for some seconds, and asks two things: did the process stay
//! under the cap plus 16 MiB, and did a client who does nothing wrong go on being served.

pub mod cases;
pub mod load;
pub mod neighbour;
pub mod plot;
pub mod report;
pub mod run;
pub mod sampler;
pub mod target;

pub use cases::{CASES, Case};
pub use run::{Outcome, raise_descriptors, run};

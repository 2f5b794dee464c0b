//! What agent and hub share as services, whatever it is that they serve: files that are read again when they change, TLS from PEM
//! files, credentials that a service manager hands over, secrets as digests, log lines that peers cannot multiply,
//! guesses that cost time, signals, and what a panic ends.
//!
//! Nothing here knows of records, logs or batches.

mod credential;
mod digest;
mod guesses;
mod host;
mod log_gate;
pub mod panics;
pub mod signals;
mod timed_io;
pub mod tls;
mod url;
mod watched;

pub use credential::credential_or_path;
pub use digest::{BadDigest, SecretDigest};
pub use guesses::{Guesses, Verdict};
pub use host::host;
pub use log_gate::LogGate;
pub use timed_io::TimedIo;
pub use url::without_password;
pub use watched::Watched;

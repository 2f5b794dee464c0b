//! Adapters that bring readings in: each is a pure decoder (bytes to [`Records`]) and a thin server.

mod backoff;
pub mod body;
pub mod decode;
pub mod host;
pub mod intake;
pub mod mqtt;
pub mod route;
pub mod sidecar;
pub mod subscriber;
pub mod upload;

use crate::records::Records;

/// Where an MQTT adapter hands a PUBLISH: decodes the payload by the routes and appends it to the ring.
///
/// Synchronous on purpose: decode and append are memory work of microseconds. When it returns `Ok`, the ring has the
/// record (or, for what could not be decoded, `_rejected` has the raw bytes), and the sensor may be acknowledged.
pub trait PublishSink: Send + Sync + 'static {
    /// Takes one message. `scratch` is the connection's reusable buffer; its contents on entry and exit do not matter.
    fn publish(&self, topic: &str, payload: &[u8], scratch: &mut Records) -> Result<(), PublishError>;
}

/// Why a PUBLISH was not taken. Bad payloads are not among these: they are kept raw in `_rejected` and acknowledged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublishError {
    /// The ring is full and its policy is to refuse rather than to evict: do not acknowledge, try again later.
    #[error("the ring is full and eviction_policy is \"reject\": nothing was stored, try again later")]
    Full,
    /// The message is larger than the ring can ever hold under its cap.
    #[error("a message of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// The largest payload that is taken.
        limit: usize,
    },
}

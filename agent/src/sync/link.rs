//! What the driver does not do itself: reach a hub, and pack. Production and simulation differ here and nowhere else.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use pyralog_sync_protocol::Failure;

use super::client::HubClient;
use crate::ring::Ring;

/// A message on its way, and the answer's way back. To drop it is to hang up: whether the hub took the message is not known.
pub type Exchange = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failure>> + Send>>;

/// The way to a hub.
pub trait Link: Send {
    /// Sends a hello, or else a batch, and gives the bytes of the protocol's answer. It must end: a link has a timeout.
    fn exchange(&self, hello: bool, message: Bytes) -> Exchange;
}

impl Link for HubClient {
    fn exchange(&self, hello: bool, message: Bytes) -> Exchange {
        let client = self.clone();
        Box::pin(async move { client.exchange(hello, message).await })
    }
}

/// Where segments are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// On a thread for blocking work: packing is milliseconds of work at a time, not for a thread that serves the network.
    OffThread,
    /// On the caller's own task, which gives way after each segment: for a simulation, where threads would race.
    Inline,
}

impl Packing {
    /// Packs all that waits in `ring`. False if packing broke, which is a fault of ours; what is packed stays packed.
    pub async fn pack_all(self, ring: &Ring) -> bool {
        match self {
            Self::OffThread => {
                let ring = ring.clone();
                let packed = tokio::task::spawn_blocking(move || while ring.pack_next() {}).await;
                packed.inspect_err(|error| tracing::error!(%error, "packing stopped")).is_ok()
            }
            Self::Inline => {
                while ring.pack_next() {
                    tokio::task::yield_now().await;
                }
                true
            }
        }
    }
}

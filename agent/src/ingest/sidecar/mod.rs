//! Firmware hands in its records: over Unix sockets and serial lines, by the sidecar protocol of `pyralog-sync-protocol`.
//!
//! A record is acknowledged when the ring has it. Each gets the name of its device as the tag `device`, unless it
//! brings one. What is no record, though it came as it was sent, is kept raw in `_rejected`.

mod endpoint;
mod link;
mod serial;
mod shared;
mod sink;
mod unix;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use endpoint::{Endpoint, FileMode};
pub use shared::{Counter, DeviceView, ListenView, SidecarStatus, SidecarView};
pub use sink::RingSink;
pub use unix::Socket;

use crate::ingest::intake::Intake;
use crate::ring::{Clock, Reservation, Use};
use pyralog_sync_protocol::limits::SIDECAR_MAX_DEVICES;
use shared::Shared;

/// What the table of all devices takes at most.
const DEVICES_COST: u64 = SIDECAR_MAX_DEVICES as u64 * 512;

/// The sockets of the configuration, bound before anything else starts.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Socket>);

impl Sockets {
    /// Binds all sockets among `listen`; serial lines are opened later, since they may come and go.
    ///
    /// # Errors
    /// Names the socket and the remedy.
    pub fn bind(listen: &[Endpoint], mode: u32) -> Result<Self, String> {
        let paths = listen.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Unix(path) => Some(path),
            Endpoint::Serial { .. } => None,
        });
        paths.map(|path| Socket::bind(path, mode)).collect::<Result<_, _>>().map(Self)
    }
}

/// What the links are started with.
pub struct Start {
    /// All endpoints.
    pub listen: Vec<Endpoint>,
    /// The sockets among them.
    pub sockets: Sockets,
    /// Connections to the sockets at a time.
    pub max_connections: usize,
    /// Where records go.
    pub intake: Arc<Intake>,
    /// The time.
    pub clock: Clock,
    /// Turns true when the agent stops.
    pub stop: watch::Receiver<bool>,
}

/// Starts a task for each endpoint.
///
/// # Errors
/// When there is no memory for the table of devices.
pub fn start(start: Start, status: &Arc<SidecarStatus>, tasks: &mut JoinSet<()>) -> Result<(), String> {
    let Start { listen, sockets, max_connections, intake, clock, stop } = start;
    if listen.is_empty() {
        return Ok(());
    }
    let held: Reservation = intake.ring().reserve_for(Use::Small, DEVICES_COST).map_err(|error| {
        format!("sidecar.listen: no memory for the table of devices ({error}); raise storage.max_memory")
    })?;
    status.listens_at(&listen);
    let shared = Arc::new(Shared::new(intake, clock, Arc::clone(status), max_connections, held));
    for socket in sockets.0 {
        tasks.spawn(unix::serve(socket, Arc::clone(&shared), stop.clone()));
    }
    for endpoint in listen {
        if let Endpoint::Serial { device, baud } = &endpoint {
            let line = serial::Line { name: endpoint.to_string(), device: device.clone(), baud: *baud };
            tasks.spawn(serial::serve(line, Arc::clone(&shared), stop.clone()));
        }
    }
    Ok(())
}

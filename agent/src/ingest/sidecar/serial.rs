//! Serial lines: opened, kept open, and opened again when the device comes back.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serial2_tokio::{SerialPort, Settings};
use tokio::sync::watch;

use super::link::{End, Link};
use super::shared::Shared;
use crate::ingest::backoff::Backoff;

/// A serial line of the configuration.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) device: PathBuf,
    pub(super) baud: u32,
}

/// Serves a line until the agent stops: a device that is missing or goes away is waited for.
pub(super) async fn serve(line: Line, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    loop {
        let trouble = match once(&line, &shared, &mut stop, &mut backoff).await {
            Ok(()) => return,
            Err(trouble) => trouble,
        };
        if shared.status.line(&line.name, Some(&trouble)) {
            tracing::warn!("sidecar: {}: {trouble}", line.name);
        }
        tokio::select! {
            stopped = stop.wait_for(|stop| *stop) => {
                drop(stopped);
                return;
            }
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
}

/// Opens the device and serves it; an error says why that ended, unless the agent stops.
async fn once(
    line: &Line,
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let port = open(&line.device, line.baud)?;
    // The configuration bounds the number of lines.
    let place = shared.status.enter(usize::MAX);
    let link = place.and_then(|place| Link::new(shared, &line.name, place, None));
    let mut link = link.ok_or("no memory under the cap; raise storage.max_memory")?;
    if shared.status.line(&line.name, None) {
        tracing::info!("sidecar: {} is open", line.name);
    }
    let ended = link.run(port, stop).await;
    if link.heard() {
        backoff.reset();
    }
    match ended {
        End::Stopped => Ok(()),
        End::Closed | End::Silent => Err("the device is gone; waiting for it to come back".to_owned()),
        End::Broken(error) => Err(format!("the device is gone ({error}); waiting for it to come back")),
    }
}

/// Opens a device: 8 bits, no parity, one stop bit, no flow control, bytes as they come.
fn open(device: &Path, baud: u32) -> Result<SerialPort, String> {
    // Settings that the device does not take are errors, too.
    let open = || {
        SerialPort::open(device, |mut settings: Settings| {
            settings.set_raw();
            settings.set_baud_rate(baud)?;
            Ok(settings)
        })
    };
    open().map_err(|error| format!("cannot open it at {baud} baud: {}", remedy(&error)))
}

fn remedy(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "there is no such device; plug it in, or see `ls /dev/serial/by-id` for its name".to_owned()
        }
        ErrorKind::PermissionDenied => format!("{error}; add the agent's user to the group of the device (dialout)"),
        _ => error.to_string(),
    }
}

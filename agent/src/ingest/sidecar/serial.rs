//! Serial lines: opened, kept open, and opened again when the device comes back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
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

/// What the system said, and what to do about it. A unit of systemd keeps devices out until it is told otherwise, and that has
/// three faces: no such device, no permission, and an operation that is not permitted.
fn remedy(error: &io::Error) -> String {
    let what = match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
            return "there is no such device; plug it in, or see `ls /dev/serial/by-id` for its name; a service sees none without \
                    PrivateDevices=no (drop-in serial.conf)"
                .to_owned();
        }
        Some(Errno::ACCESS) => {
            "let the agent's user into the device's group: `adduser USER dialout`, or SupplementaryGroups=dialout of the service \
             (drop-in serial.conf)"
        }
        Some(Errno::PERM) => {
            "let the service open it by DeviceAllow (drop-in serial.conf), and restart it once the device's driver is loaded"
        }
        Some(Errno::BUSY) => {
            "another program has it; `fuser DEVICE` names that program, often ModemManager or a console"
        }
        Some(Errno::NOTTY | Errno::INVAL) => "it is no serial line, or does not take that baud rate",
        Some(Errno::ISDIR) => "name the device in it",
        _ => return error.to_string(),
    };
    format!("{error}; {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_being_kept_out_has_its_own_remedy_in_one_line() {
        for (errno, words) in [
            (Errno::NOENT, "no such device; plug it in"),
            (Errno::ACCESS, "SupplementaryGroups=dialout"),
            (Errno::PERM, "DeviceAllow"),
            (Errno::BUSY, "another program has it"),
            (Errno::NOTTY, "no serial line"),
        ] {
            let told = remedy(&io::Error::from(errno));
            assert!(told.contains(words) && !told.contains('\n'), "{told}");
        }
        let told = open(Path::new("/dev/pyralog-there-is-no-such"), 9600).map(drop).unwrap_err();
        assert!(told.contains("cannot open it at 9600 baud: there is no such device"), "{told}");
    }
}

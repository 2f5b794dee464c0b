//! The way to the service manager: datagrams to the socket that it names in `NOTIFY_SOCKET` (`sd_notify(3)`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Longest status that is sent: `systemctl status` shows it as one line.
const MAX_STATUS: usize = 400;

/// The service manager that started us; without one, nothing is sent.
///
/// What cannot be sent is dropped: a manager that does not listen must not hold up what it manages.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|period| *period > 0 && for_us).map(Duration::from_micros);
        match Self::at(&address, watchdog) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET={} cannot be reached: {error}", address.to_string_lossy());
                Self::default()
            }
        }
    }

    /// The one that listens at `address`, a path or `@` and an abstract name, and wants to hear of us once in `watchdog`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn at(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket), watchdog })
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How often it wants to hear that we live.
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog
    }

    /// All that was asked for runs.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// The configuration is read again; [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reading the configuration again"));
    }

    /// A stop has begun that may take this long, and is not to be cut short.
    pub fn stopping(&self, status: &str, within: Duration) {
        let micros = within.as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS={}", line(status)));
    }

    /// What people should see.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// We live.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A full or absent manager is no reason to stop.
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// One line, and not a long one.
fn line(status: &str) -> String {
    let mut line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_STATUS).collect();
    if status.chars().nth(MAX_STATUS).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 2048];
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = listener.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn says_all(manager: &Manager, listener: &UnixDatagram) {
        manager.ready("taking\nreadings");
        assert_eq!(heard(listener), "READY=1\nSTATUS=taking readings");
        manager.reloading();
        let said = heard(listener);
        let time: u64 = said.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse().ok()).unwrap();
        assert!(said.starts_with("RELOADING=1\n") && time > 0, "{said}");
        manager.stopping("bye", Duration::from_secs(3));
        assert_eq!(heard(listener), "STOPPING=1\nEXTEND_TIMEOUT_USEC=3000000\nSTATUS=bye");
        manager.status(&"x".repeat(MAX_STATUS * 2));
        assert!(heard(listener).len() < MAX_STATUS + 20);
        manager.alive();
        assert_eq!(heard(listener), "WATCHDOG=1");
    }

    #[test]
    fn a_manager_is_told_by_its_path_and_by_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        says_all(&Manager::at(path.as_os_str(), None).unwrap(), &listener);

        let name = format!("pyralog-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        says_all(&Manager::at(OsStr::new(&format!("@{name}")), None).unwrap(), &listener);
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.as_os_str(), None).unwrap();
        (0..10_000).for_each(|_| manager.alive());
        assert!(Manager::at(OsStr::new("/no/such/socket"), None).is_err());
        Manager::default().ready("nobody listens");
    }
}

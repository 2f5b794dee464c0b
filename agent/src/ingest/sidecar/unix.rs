//! Unix sockets: bound with care for what is there already, and their connections.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::link::{End, Link};
use super::shared::{Counter, Shared};

/// How long a connection may stay without a good hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(60);

/// A bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, by which it is known as ours.
    file: (u64, u64),
}

impl Socket {
    /// Binds the socket `path` with these permission bits. A socket that nobody listens at any more, such as one of an
    /// agent that was killed, makes room; nothing else does.
    ///
    /// # Errors
    /// Names the path and the remedy.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, String> {
        let wrong = |why: String| format!("sidecar.listen: cannot listen at unix:{}: {why}", path.display());
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                make_room(path).map_err(wrong)?;
                UnixListener::bind(path)
            }
            other => other,
        };
        let listener = listener.map_err(|error| wrong(remedy(&error, path)))?;
        let file = fs::set_permissions(path, Permissions::from_mode(mode)).and_then(|()| fs::metadata(path));
        let file = file.map_err(|error| wrong(format!("its permissions cannot be set: {error}")))?;
        Ok(Self { listener, path: path.to_owned(), file: (file.dev(), file.ino()) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // If it is gone, or another has taken its place, there is nothing to tidy up.
        if fs::metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody listens at.
fn make_room(path: &Path) -> Result<(), String> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Err("there is a file of that name, and it is no socket; move it away or choose another path".to_owned());
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!("sidecar: nobody listens at {} any more: removing the socket", path.display());
            fs::remove_file(path).map_err(|error| format!("the old socket there cannot be removed: {error}"))
        }
        Ok(_) => Err("another program listens there; stop it or choose another path".to_owned()),
        Err(error) => {
            Err(format!("there is a socket that may be in use ({error}); stop its owner or choose another path"))
        }
    }
}

fn remedy(error: &io::Error, path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        ErrorKind::NotFound => format!(
            "the folder {folder} does not exist; create it (under systemd: RuntimeDirectory=pyralog makes /run/pyralog)"
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!(
            "{error}; let this user write to {folder}, or choose another path (under systemd: /run/pyralog is the agent's own)"
        ),
        ErrorKind::InvalidInput => format!("{error}; a socket's path has at most 107 bytes"),
        _ => error.to_string(),
    }
}

/// Serves a socket until the agent stops.
pub(super) async fn serve(socket: Socket, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut links = JoinSet::new();
    let name: Arc<str> = format!("unix:{}", socket.path.display()).into();
    loop {
        let accepted = tokio::select! {
            stopped = stop.wait_for(|stop| *stop) => {
                drop(stopped);
                break;
            }
            accepted = socket.listener.accept() => accepted,
            Some(_) = links.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => drop(links.spawn(one(stream, Arc::clone(&name), Arc::clone(&shared), stop.clone()))),
            Err(error) => {
                if let Some(held_back) = shared.log.pass(Instant::now()) {
                    tracing::warn!(link = &*name, held_back, "sidecar: cannot accept a connection: {error}");
                }
                // Out of descriptors, most likely: give others time to close.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(socket);
    while links.join_next().await.is_some() {}
}

async fn one(stream: UnixStream, name: Arc<str>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let place = shared.status.enter(shared.max_connections);
    let refused = if place.is_none() { "sidecar.max_connections is reached" } else { "no memory under the cap" };
    let Some(mut link) = place.and_then(|place| Link::new(&shared, &name, place, Some(HELLO_PATIENCE))) else {
        shared.status.add(Counter::TurnedAway, 1);
        if let Some(held_back) = shared.log.pass(Instant::now()) {
            tracing::warn!(link = &*name, held_back, "sidecar: connection turned away: {refused}");
        }
        return;
    };
    match link.run(stream, &mut stop).await {
        End::Stopped | End::Closed => {}
        End::Silent => {
            if let Some(held_back) = shared.log.pass(Instant::now()) {
                tracing::warn!(link = &*name, held_back, "sidecar: closed a connection on which nobody said hello");
            }
        }
        End::Broken(error) => tracing::debug!(link = &*name, "sidecar: connection broken: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_listens_at_makes_room_and_one_in_use_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind, as by an agent that was killed");
        let socket = Socket::bind(&path, 0o640).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let told = Socket::bind(&path, 0o660).unwrap_err();
        assert!(told.contains("another program listens there"), "{told}");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays_and_a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let told = Socket::bind(&path, 0o660).unwrap_err();
        assert!(told.contains("it is no socket"), "{told}");
        assert_eq!(fs::read(&path).unwrap(), b"data");
        let told = Socket::bind(&folder.path().join("none/s.sock"), 0o660).unwrap_err();
        assert!(told.contains("none does not exist; create it"), "{told}");
    }
}

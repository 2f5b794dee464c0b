//! A real S3 server for tests: `s3s` (HTTP, signatures, XML) on `s3s-fs` (objects are files), with a door that counts requests
//! and can misbehave.
//!
//! What `s3s-fs` honours: signatures of version 4, `If-None-Match: *` on puts, `start-after`, pages of 1,000 keys in the order of
//! names. What it does not: it looks whether an object exists and writes it in two steps, so here one put at a time is
//! let in (`rules`), and it makes a bucket that is not there, which is refused here; it syncs nothing to disk; and it keeps what it knows of an object in a file that has the whole
//! key for a name, so keys end at some 150 bytes.

mod door;
mod rules;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use door::{Counts, Misbehave};
use rules::Rules;

/// The bucket that there is.
pub const BUCKET: &str = "fleet";

/// Who may use it.
pub const KEY: &str = "AKIDEXAMPLE";

/// The secret of [`KEY`].
pub const SECRET: &str = "wJalrXUtnFEMI-EXAMPLE";

/// A running server, with a thread of its own; it ends when this is dropped, with all connections.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    door: Arc<door::State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// A server for what is in `folder`, at any port.
    ///
    /// # Errors
    /// When the folder or the port is not to be had.
    pub fn start(folder: &Path) -> io::Result<Self> {
        Self::start_at(folder, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The same, at an address: that of one that ended, for example.
    ///
    /// # Errors
    /// When the folder or the address is not to be had.
    pub fn start_at(folder: &Path, address: SocketAddr) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(folder).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let door = Arc::new(door::State::default());
        let mut service = S3ServiceBuilder::new(Rules::new(files, folder.to_path_buf(), Arc::clone(&door)));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let state = Arc::clone(&door);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                // It fails outside of a runtime alone.
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = door::serve(listener, service, state) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, door, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a store below `prefix` of the bucket.
    pub fn store(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://{}", self.address)
    }

    /// The variables that let a client in.
    pub fn environment() -> Vec<(String, String)> {
        [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)]
            .map(|(key, value)| (key.into(), value.into()))
            .into()
    }

    /// The requests so far.
    pub fn counts(&self) -> Counts {
        self.door.counts()
    }

    /// How it misbehaves from now on.
    pub fn misbehave(&self, how: Misbehave) {
        self.door.misbehave(how, 0);
    }

    /// The same, once it has done `puts` more puts as it should; for those that are about a put.
    pub fn misbehave_after(&self, puts: u64, how: Misbehave) {
        self.door.misbehave(how, puts);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

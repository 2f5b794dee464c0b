//! One link from its first byte to its last, whatever it is made of.

use std::io;
use std::time::Duration;

use pyralog_sync_protocol::sidecar::Consumer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::shared::{LinkPlace, Shared};
use super::sink::RingSink;
use crate::records::Records;
use crate::ring::{Reservation, Use};

/// Bytes read at once.
const READ: usize = 4 * 1024;
/// What a link may keep of a record from one to the next: more than the longest record takes.
const KEPT_SCRATCH: usize = 8 * 1024;
/// What a link takes: its buffers, the answers that wait, its task.
pub(super) const LINK_COST: u64 = (READ + KEPT_SCRATCH + 4 * 1024) as u64;

/// How a link ended.
#[derive(Debug)]
pub(super) enum End {
    /// The agent stops.
    Stopped,
    /// The other side closed it.
    Closed,
    /// Nobody said hello in time.
    Silent,
    /// Reading or writing failed.
    Broken(io::Error),
}

/// One link.
pub(super) struct Link<'a> {
    shared: &'a Shared,
    name: &'a str,
    place: LinkPlace,
    consumer: Consumer,
    scratch: Records,
    /// When a hello must have come; `None`: any time will do.
    hello_by: Option<Instant>,
    _held: Reservation,
}

impl<'a> Link<'a> {
    /// A link in the place `place`, if there is memory for it.
    pub(super) fn new(shared: &'a Shared, name: &'a str, place: LinkPlace, patience: Option<Duration>) -> Option<Self> {
        let held = shared.intake.ring().reserve_for(Use::Small, LINK_COST).ok()?;
        let hello_by = patience.map(|patience| Instant::now() + patience);
        let (consumer, scratch) = (Consumer::new(), Records::new());
        Some(Self { shared, name, place, consumer, scratch, hello_by, _held: held })
    }

    /// Whether a device said hello on it.
    pub(super) fn heard(&self) -> bool {
        self.consumer.device().is_some()
    }

    /// Sees it through to its end.
    pub(super) async fn run(&mut self, stream: impl AsyncRead + AsyncWrite, stop: &mut watch::Receiver<bool>) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        self.converse(&mut reader, &mut writer, stop).await.unwrap_or_else(End::Broken)
    }

    async fn converse<S: AsyncRead + AsyncWrite>(
        &mut self,
        reader: &mut ReadHalf<S>,
        writer: &mut WriteHalf<S>,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<End> {
        let mut bytes = vec![0; READ];
        loop {
            let hello_by = self.hello_by.filter(|_| self.consumer.device().is_none());
            tokio::select! {
                stopped = stop.wait_for(|stop| *stop) => {
                    drop(stopped);
                    return Ok(End::Stopped);
                }
                // Who does not read the answers is still read from: they are capped, and made again when they are asked for.
                wrote = writer.write(self.consumer.unsent()), if !self.consumer.unsent().is_empty() => match wrote? {
                    0 => return Ok(End::Closed),
                    count => self.consumer.sent(count),
                },
                read = reader.read(&mut bytes) => match read? {
                    0 => return Ok(End::Closed),
                    count => self.take(bytes.get(..count).unwrap_or_default()),
                },
                () = until(hello_by) => return Ok(End::Silent),
            }
        }
    }

    /// Memory work of microseconds: decode, append, note what to answer.
    fn take(&mut self, bytes: &[u8]) {
        let Self { shared, name, place, consumer, scratch, .. } = self;
        let before = consumer.counters();
        {
            let mut state = shared.status.state.lock();
            let mut sink = RingSink { intake: &shared.intake, scratch, clock: shared.clock };
            consumer.receive(bytes, shared.clock.now().unix_ns, &mut state.sessions, &mut sink);
            let now = std::time::Instant::now();
            if state.heard(place.number, consumer.device(), now)
                && let Some(device) = consumer.device()
            {
                tracing::info!(link = name, device, "sidecar: a device said hello");
            }
        }
        scratch.shrink_to(KEPT_SCRATCH);
        shared.status.add_link(before, consumer.counters());
        if let Some(error) = consumer.take_error()
            && let Some(held_back) = shared.log.pass(std::time::Instant::now())
        {
            tracing::warn!(link = name, device = consumer.device(), held_back, "sidecar: {error}");
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! Moves bytes between a socket and a [`Connection`].
//!
//! One read takes in as much as there is, every packet in it is handled inline, and all their acknowledgements go out in
//! one write. The read buffer, the answers and the decode scratch belong to the worker thread and are lent for a turn.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{
    close::CloseReason,
    connection::{Connection, Flow},
    held::Held,
    limits,
    shared::{Shared, Turn},
};
use crate::records::Records;

thread_local! {
    static LENT: RefCell<Lent> = RefCell::new(Lent::new());
}

/// What a worker thread lends to the connection whose turn it is.
struct Lent {
    input: Vec<u8>,
    out: Vec<u8>,
    scratch: Records,
}

impl Lent {
    /// Bytes of answers and scratch that a thread keeps between turns.
    const KEEP: usize = 64 * 1024;

    fn new() -> Self {
        Self { input: vec![0; limits::READ_BYTES], out: Vec::with_capacity(1024), scratch: Records::new() }
    }

    fn tidy(&mut self) {
        self.out.clear();
        self.out.shrink_to(Self::KEEP);
        self.scratch.shrink_to(Self::KEEP);
    }
}

/// Lends this thread's scratch for a call of the sink outside a turn.
pub(super) fn with_scratch<T>(use_it: impl FnOnce(&mut Records) -> T) -> T {
    LENT.with_borrow_mut(|lent| use_it(&mut lent.scratch))
}

/// A connection, its socket, and what neither has taken yet.
pub(super) struct Driver<S> {
    pub(super) stream: S,
    pub(super) connection: Connection,
    shared: Arc<Shared>,
    /// Input that is not consumed: part of a packet, or what came behind a message that waits for the ring.
    pending: Held,
    /// Length that `pending` must reach before it is worth a look.
    need: usize,
    /// Answers that the socket did not take.
    unsent: Held,
    /// Since when the socket takes none.
    unsent_since: Option<Instant>,
    unflushed: bool,
    /// How much to read at once: little for a slow sensor, so that little has to be kept when the ring is full.
    read_size: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    const READ_LEAST: usize = 2 * limits::FREE_BUFFER;

    pub(super) fn new(stream: S, connection: Connection, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            connection,
            shared,
            pending: Held::default(),
            need: 0,
            unsent: Held::default(),
            unsent_since: None,
            unflushed: false,
            read_size: Self::READ_LEAST,
        }
    }

    /// Runs the connection until it ends; what is left in `unsent` is its farewell.
    pub(super) fn poll_run(&mut self, cx: &mut Context<'_>, sleep: Pin<&mut Sleep>) -> Poll<CloseReason> {
        LENT.with_borrow_mut(|lent| {
            let ended = self.poll_turns(cx, sleep, lent);
            lent.tidy();
            ended
        })
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>, lent: &mut Lent) -> Poll<CloseReason> {
        self.connection.leash.watch(cx.waker());
        loop {
            if let Some(why) = self.connection.leash.pulled() {
                let reason = self.turn(lent, |connection, turn| connection.handle_call_off(why, turn));
                return Poll::Ready(self.part(reason, &lent.out));
            }
            let sent = self.poll_unsent(cx);
            let due = self.poll_timer(cx, sleep.as_mut()).is_ready();
            if due && let Some(reason) = self.time_is_up(lent) {
                return Poll::Ready(self.part(reason, &lent.out));
            }
            if let Err(error) = ready!(sent) {
                return Poll::Ready(CloseReason::Broken(error));
            }
            let ended = match (self.is_waiting(), due) {
                (true, false) => return Poll::Pending,
                (true, true) => self.feed(0, lent),
                (false, _) => match ready!(self.poll_read(cx, &mut lent.input)) {
                    Ok(0) => Some(CloseReason::HungUp),
                    Ok(count) => self.feed(count, lent),
                    Err(reason) => {
                        self.turn(lent, |connection, turn| connection.say_farewell(&reason, turn));
                        Some(reason)
                    }
                },
            };
            let sent = self.send(cx, &lent.out);
            lent.out.clear();
            if let Some(reason) = ended.or(sent.err()) {
                return Poll::Ready(reason);
            }
        }
    }

    /// Whether the peer is not read from: a message waits for the ring.
    fn is_waiting(&self) -> bool {
        self.connection.is_stalled()
    }

    /// Ready when the next thing that depends on time is due. The timer is moved only when it fires too early or has to
    /// fire earlier, not for every packet.
    fn poll_timer(&self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        let next = match self.unsent_since {
            Some(since) => since + limits::WRITE_PATIENCE,
            None => self.connection.next_timeout(self.shared.config.connect_timeout),
        };
        if sleep.deadline().into_std() > next {
            sleep.as_mut().reset(next.into());
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if next <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(next.into());
        }
    }

    fn time_is_up(&mut self, lent: &mut Lent) -> Option<CloseReason> {
        if self.unsent_since.is_some_and(|since| since.elapsed() >= limits::WRITE_PATIENCE) {
            return Some(CloseReason::NotReading);
        }
        self.turn(lent, Connection::handle_timeout)
    }

    /// Reads as much as there is room for: behind an incomplete packet, no more than is sure to find a place.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Poll<Result<usize, CloseReason>> {
        let mut size = self.read_size;
        if !self.pending.is_empty() && self.need > self.pending.capacity() {
            // Doubling, so that a peer which announces a large packet and sends none gets no large buffer.
            let total = self.need.min(2 * self.pending.capacity().max(self.pending.len()));
            if !self.pending.make_room(total, &*self.shared.budget) {
                return Poll::Ready(Err(CloseReason::NoMemory));
            }
            size = self.pending.capacity().saturating_sub(self.pending.len());
        }
        let end = size.clamp(1, input.len());
        let mut buffer = ReadBuf::new(input.get_mut(..end).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map_err(CloseReason::Broken)?;
        let count = buffer.filled().len();
        if count == end {
            self.read_size = (self.read_size * 2).min(limits::READ_BYTES);
        } else if count < self.read_size / 8 {
            self.read_size = (self.read_size / 2).max(Self::READ_LEAST);
        }
        Poll::Ready(Ok(count))
    }

    /// Hands the first `count` bytes of the read buffer to the connection, after what is pending.
    fn feed(&mut self, count: usize, lent: &mut Lent) -> Option<CloseReason> {
        let Lent { input, out, scratch } = lent;
        let mut fresh = input.get(..count).unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        let mut turn = Turn::new(&shared, Instant::now(), scratch, out);
        loop {
            let direct = self.pending.is_empty();
            let result = if direct {
                let result = self.connection.receive(fresh, &mut turn);
                fresh = fresh.get(result.consumed..).unwrap_or_default();
                result
            } else {
                let missing = self.need.saturating_sub(self.pending.len()).min(fresh.len());
                let (more, rest) = fresh.split_at(missing);
                if !self.pending.keep(more, &*shared.budget) {
                    return self.no_memory(&mut turn);
                }
                fresh = rest;
                if self.pending.len() < self.need {
                    return None;
                }
                let result = self.connection.receive(self.pending.bytes(), &mut turn);
                self.pending.discard(result.consumed);
                result
            };
            match result.flow {
                Flow::Close(reason) => return Some(reason),
                Flow::Stalled => {
                    // Looked at again as it is: nothing more is wanted.
                    self.need = 0;
                    self.read_size = Self::READ_LEAST;
                    let kept = self.pending.keep(fresh, &*shared.budget);
                    return if kept { None } else { self.no_memory(&mut turn) };
                }
                Flow::Need(total) => self.need = total,
            }
            if fresh.is_empty() {
                return None;
            }
            if direct {
                let kept = self.pending.keep(fresh, &*shared.budget);
                return if kept { None } else { self.no_memory(&mut turn) };
            }
        }
    }

    fn no_memory(&self, turn: &mut Turn<'_>) -> Option<CloseReason> {
        self.connection.say_farewell(&CloseReason::NoMemory, turn);
        Some(CloseReason::NoMemory)
    }

    /// Writes answers, and keeps what the socket does not take.
    fn send(&mut self, cx: &mut Context<'_>, out: &[u8]) -> Result<(), CloseReason> {
        if out.is_empty() {
            return Ok(());
        }
        let mut rest = out;
        while self.unsent.is_empty() && !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(CloseReason::Broken(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Err(CloseReason::Broken(error)),
                Poll::Pending => break,
            }
        }
        self.unflushed = true;
        if rest.is_empty() {
            return Ok(());
        }
        if self.unsent.keep(rest, &*self.shared.budget) { Ok(()) } else { Err(CloseReason::NoMemory) }
    }

    /// Ready when all answers are out. Until then nothing is read: a peer that does not read gets no more answers.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let sent = self.poll_write_all(cx);
        match sent {
            Poll::Pending => _ = self.unsent_since.get_or_insert_with(Instant::now),
            Poll::Ready(_) => self.unsent_since = None,
        }
        sent
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.unsent.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, self.unsent.bytes()))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.unsent.discard(count);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps the farewell for the end.
    fn part(&mut self, reason: CloseReason, farewell: &[u8]) -> CloseReason {
        // Without memory for it the connection closes without a word.
        let _ = self.unsent.keep(farewell, &*self.shared.budget);
        self.unflushed = true;
        reason
    }

    fn turn<T>(&mut self, lent: &mut Lent, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> T {
        let shared = Arc::clone(&self.shared);
        act(&mut self.connection, &mut Turn::new(&shared, Instant::now(), &mut lent.scratch, &mut lent.out))
    }
}

//! The device's side: a fixed buffer of records, and what goes over the link.

use heapless::Vec;

use super::frame::{Deframer, Frame};
use super::message::{FromAgent, FromDevice, Hello, Numbered, Refusal};
use super::record::{RecordBuf, TooLong};
use crate::limits::{SIDECAR_MAX_NAME, SIDECAR_MAX_RECORD, SIDECAR_MAX_REPLY};

/// After so many waits in vain for an acknowledgement a hello asks who is there.
const MAX_SILENCES: u8 = 3;

/// Added to a boot id that the agent knows from another life: odd, so that none comes twice for long.
const NEXT_BOOT: u64 = 0x9e37_79b9_7f4a_7c15;

/// How long a [`Producer`] waits, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For the first answer; it doubles with each wait in vain.
    pub patience: u64,
    /// At most for an answer, and after a refusal that time alone can mend.
    pub longest: u64,
    /// Between two hellos, by which the agent keeps up with the device's clock.
    pub refresh: u64,
}

impl Timing {
    /// For serial lines of 9,600 baud and more.
    pub const DEFAULT: Self = Self { patience: 500_000, longest: 8_000_000, refresh: 600_000_000 };
}

/// What a device holds of its records, and the way they take to the agent. `N` is the size of the buffer in bytes, at
/// least 256; a record takes one byte more than it is long.
///
/// ```text
/// producer.start(device, boot)                       once; a number that no other life of this device had
/// loop {
///     producer.append(&record)                       whenever there is a reading
///     producer.receive(now, bytes from the link)
///     n = producer.transmit(now, &mut bytes)         then write bytes[..n]; 0: nothing to send now
/// }
/// ```
/// `now` is microseconds since boot. Records wait for an acknowledgement and are sent again without one. When the
/// buffer is full the oldest are dropped, and counted.
///
/// Invariants: the buffer holds the records from `oldest` to before `head`, each with a length byte before it; `cursor`
/// is the position of record `next` in it, and `oldest <= next <= head`.
#[derive(Debug, Default)]
pub struct Producer<const N: usize> {
    device: Option<&'static str>,
    boot: u64,
    state: State,
    /// `None`: the default. So a new producer is all zeros, and a static one takes no flash.
    timing: Option<Timing>,
    buffer: Vec<u8, N>,
    oldest: u64,
    head: u64,
    dropped: u64,
    next: u64,
    cursor: usize,
    frame: Frame,
    sent: usize,
    replies: Deframer<SIDECAR_MAX_REPLY>,
    /// When an answer is overdue; `None`: nothing is waited for.
    deadline: Option<u64>,
    patience: u64,
    silences: u8,
    /// Nothing is sent before.
    quiet_until: u64,
    refresh_at: u64,
    /// What was refused last, as it is on the link; zeros: nothing.
    refusal: (u8, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Not started: there is no boot id yet.
    #[default]
    Silent,
    /// The agent has not answered a hello yet.
    Greeting,
    /// The agent knows us.
    Open,
}

impl<const N: usize> Producer<N> {
    const LARGE_ENOUGH: () =
        assert!(N > SIDECAR_MAX_RECORD, "the buffer of a Producer takes one record at least: N >= 256");

    /// A producer with nothing in it.
    pub const fn new() -> Self {
        let () = Self::LARGE_ENOUGH;
        Self {
            device: None,
            boot: 0,
            state: State::Silent,
            timing: None,
            buffer: Vec::new(),
            oldest: 0,
            head: 0,
            dropped: 0,
            next: 0,
            cursor: 0,
            frame: Frame::new(),
            sent: 0,
            replies: Deframer::new(),
            deadline: None,
            patience: 0,
            silences: 0,
            quiet_until: 0,
            refresh_at: 0,
            refusal: (0, 0),
        }
    }

    /// Waits otherwise than [`Timing::DEFAULT`] says; to be told before [`start`](Self::start).
    pub const fn set_timing(&mut self, timing: Timing) {
        self.timing = Some(timing);
    }

    /// Lets it speak. `device` is its name; `boot` names this life of it: a random number, or a counter that outlives a
    /// reset. Were it that of a life before, the agent could take new records for old ones.
    ///
    /// # Errors
    /// When the name is empty or longer than 64 bytes; then it stays silent.
    pub fn start(&mut self, device: &'static str, boot: u64) -> Result<(), TooLong> {
        if device.is_empty() || device.len() > SIDECAR_MAX_NAME {
            return Err(TooLong);
        }
        if self.state == State::Silent {
            self.device = Some(device);
            self.boot = boot;
            self.patience = self.timing().patience;
            self.state = State::Greeting;
        }
        Ok(())
    }

    /// Tells that the link is a new one, such as a socket that was opened again: what was under way is lost.
    pub fn reconnected(&mut self) {
        // The next frame takes its place.
        self.sent = usize::MAX;
        self.replies.clear();
        self.patience = self.timing().patience;
        self.quiet_until = 0;
        self.greet();
    }

    /// Takes a record and gives its sequence number; the oldest ones make room for it if they must.
    ///
    /// # Errors
    /// When the record does not fit into a frame; then nothing changes.
    pub fn append(&mut self, record: &RecordBuf) -> Result<u64, TooLong> {
        let bytes = record.bytes()?;
        while self.buffer.capacity() - self.buffer.len() <= bytes.len() && self.oldest < self.head {
            self.forget(self.oldest + 1);
            self.dropped += 1;
        }
        // A record fits into an empty buffer, and its length into a byte: see `LARGE_ENOUGH` and `limits`.
        let _ = self.buffer.push(bytes.len() as u8);
        let _ = self.buffer.extend_from_slice(bytes);
        let sequence = self.head;
        self.head += 1;
        Ok(sequence)
    }

    /// Writes what goes over the link next into `out`, and says how much that is.
    pub fn transmit(&mut self, now: u64, out: &mut [u8]) -> usize {
        let mut written = 0;
        while written < out.len() {
            let unsent = self.frame.bytes().get(self.sent..).unwrap_or_default();
            if unsent.is_empty() {
                if !self.stage(now) {
                    break;
                }
                continue;
            }
            for (to, from) in out.iter_mut().skip(written).zip(unsent) {
                *to = *from;
                written += 1;
                self.sent += 1;
            }
        }
        written
    }

    /// Takes bytes that came over the link.
    pub fn receive(&mut self, now: u64, bytes: &[u8]) {
        for byte in bytes {
            // What is damaged is said again, or asked for by the timer.
            if let Some(Ok(payload)) = self.replies.push(*byte)
                && let Ok(message) = FromAgent::read(payload)
            {
                self.hear(now, message);
            }
        }
    }

    /// Records that wait for an acknowledgement.
    pub fn pending(&self) -> u64 {
        self.head - self.oldest
    }

    /// The sequence number of the next record.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Records that were dropped without an acknowledgement. One whose acknowledgement was lost may be at the agent all
    /// the same.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether the agent answers.
    pub fn is_connected(&self) -> bool {
        self.state == State::Open
    }

    /// What the agent refused last.
    pub fn last_refusal(&self) -> Option<Refusal> {
        Refusal::of(self.refusal.0, self.refusal.1)
    }

    fn timing(&self) -> Timing {
        self.timing.unwrap_or(Timing::DEFAULT)
    }

    /// Makes the next frame, if there is something to say.
    fn stage(&mut self, now: u64) -> bool {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.wait_in_vain();
        }
        if now < self.quiet_until {
            return false;
        }
        match self.state {
            State::Silent => false,
            State::Greeting => self.deadline.is_none() && self.stage_hello(now),
            State::Open if now >= self.refresh_at => self.stage_hello(now),
            State::Open => self.stage_record(now),
        }
    }

    fn stage_hello(&mut self, now: u64) -> bool {
        let Some(device) = self.device else { return false };
        let Self { boot, oldest, head, dropped, .. } = *self;
        FromDevice::Hello(Hello { device, boot, now, oldest, head, dropped }).put(&mut self.frame);
        // From the delimiter on: it ends whatever was on the link.
        self.sent = 0;
        self.refresh_at = now.saturating_add(self.timing().refresh);
        self.await_answer(now);
        true
    }

    fn stage_record(&mut self, now: u64) -> bool {
        let Some((len, rest)) = self.buffer.get(self.cursor..).and_then(<[u8]>::split_first) else { return false };
        let len = usize::from(*len);
        let Some(body) = rest.get(..len) else { return false };
        FromDevice::Record(Numbered { sequence: self.next, oldest: self.oldest, body }).put(&mut self.frame);
        self.sent = 1;
        self.cursor += 1 + len;
        self.next += 1;
        self.await_answer(now);
        true
    }

    fn await_answer(&mut self, now: u64) {
        self.deadline.get_or_insert(now.saturating_add(self.patience));
    }

    fn wait_in_vain(&mut self) {
        self.patience = (self.patience * 2).min(self.timing().longest);
        self.silences = self.silences.saturating_add(1);
        if self.silences >= MAX_SILENCES { self.greet() } else { self.go_back() }
    }

    /// Says hello next.
    fn greet(&mut self) {
        if self.state == State::Open {
            self.state = State::Greeting;
        }
        self.silences = 0;
        self.go_back();
    }

    /// Sends everything again that has no acknowledgement.
    fn go_back(&mut self) {
        self.deadline = None;
        self.cursor = 0;
        self.next = self.oldest;
    }

    fn hear(&mut self, now: u64, message: FromAgent) {
        match message {
            FromAgent::Welcome { boot, next } if boot == self.boot && next <= self.head => {
                if self.state == State::Greeting {
                    self.state = State::Open;
                    self.go_back();
                }
                self.acknowledged(now, next);
            }
            FromAgent::Ack { boot, next } if boot == self.boot && next <= self.head && self.state == State::Open => {
                self.acknowledged(now, next);
            }
            FromAgent::Refusal(refusal) => self.refused(now, refusal),
            // To another life.
            FromAgent::Welcome { .. } | FromAgent::Ack { .. } => {}
        }
    }

    fn acknowledged(&mut self, now: u64, next: u64) {
        if next > self.oldest {
            self.forget(next);
            self.patience = self.timing().patience;
            self.deadline = None;
        }
        self.silences = 0;
        if self.next == self.oldest {
            self.deadline = None;
        } else {
            self.await_answer(now);
        }
    }

    fn refused(&mut self, now: u64, refusal: Refusal) {
        self.refusal = refusal.parts();
        match refusal {
            Refusal::UnknownSession => self.greet(),
            Refusal::Expected(next) => {
                self.go_back();
                while self.next < next && self.next < self.head {
                    self.cursor += self.entry_len(self.cursor);
                    self.next += 1;
                }
            }
            Refusal::Full(retry) => {
                self.go_back();
                self.quiet_until = now.saturating_add(retry.saturating_mul(1_000).min(self.timing().longest));
            }
            Refusal::BootReused if self.state == State::Greeting => {
                self.boot = self.boot.wrapping_add(NEXT_BOOT);
                self.greet();
            }
            Refusal::Version(_) | Refusal::UnknownKind(_) | Refusal::TooManyDevices => {
                self.greet();
                self.quiet_until = now.saturating_add(self.timing().longest);
            }
            // A late answer to a hello that was said twice.
            Refusal::BootReused => {}
        }
    }

    /// Lets go of all records before `next`, which is at most `head`.
    fn forget(&mut self, next: u64) {
        let mut end = 0;
        while self.oldest < next {
            end += self.entry_len(end);
            self.oldest += 1;
        }
        let len = self.buffer.len();
        // Swaps, since the library's way to move bytes takes 1.3 KB of flash on a Cortex-M0.
        for at in end..len {
            self.buffer.swap(at - end, at);
        }
        self.buffer.truncate(len.saturating_sub(end));
        self.cursor = self.cursor.saturating_sub(end);
        self.next = self.next.max(self.oldest);
    }

    fn entry_len(&self, at: usize) -> usize {
        1 + self.buffer.get(at).map_or(0, |len| usize::from(*len))
    }
}

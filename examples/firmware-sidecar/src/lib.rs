//! What the firmware does, wherever it runs: it takes a reading at each tick, and keeps the link to the agent going.
//!
//! `src/bin/board.rs` runs it on a Cortex-M over a UART, `src/bin/host.rs` on this machine over a Unix socket.

#![no_std]

mod readings;

pub use readings::{LOG, Reading};

use pyralog_sync_protocol::sidecar::{Producer, RecordBuf, Time};

/// The name of the device.
pub const DEVICE: &str = "press-4";
/// Bytes of the buffer for records that wait for an acknowledgement: nine or ten of ours.
pub const BUFFER: usize = 768;

/// A link of bytes that never waits.
pub trait Link {
    /// Takes as many of `bytes` as it can now, and says how many.
    fn write(&mut self, bytes: &[u8]) -> usize;
    /// Puts what has come into `bytes`, and says how much that is.
    fn read(&mut self, bytes: &mut [u8]) -> usize;
}

/// The application.
#[derive(Debug, Default)]
pub struct App {
    /// Its records and their way to the agent.
    pub producer: Producer<BUFFER>,
    /// The number of the next reading.
    next: u32,
    /// How many there will be.
    last: u32,
    /// When the next one is due, in microseconds since boot.
    due: u64,
    /// Microseconds from one to the next.
    interval: u32,
    /// What the link has not taken yet.
    chunk: [u8; 16],
    written: usize,
    filled: usize,
}

impl App {
    /// An application that has not started. It is all zeros, so that a static one takes no flash.
    pub const fn new() -> Self {
        Self { producer: Producer::new(), next: 0, last: 0, due: 0, interval: 0, chunk: [0; 16], written: 0, filled: 0 }
    }

    /// Lets it take `count` readings, `interval` microseconds apart, in a life of the device named by `boot`.
    pub fn start(&mut self, boot: u64, interval: u32, count: u32) {
        // The name is a good one: a test makes sure.
        let _ = self.producer.start(DEVICE, boot);
        self.interval = interval;
        self.last = count;
    }

    /// One turn of the main loop; `now` is microseconds since boot.
    pub fn turn(&mut self, now: u64, link: &mut impl Link) {
        if now >= self.due && self.next < self.last {
            self.due = self.due.max(now.saturating_sub(u64::from(self.interval))) + u64::from(self.interval);
            // Our records are short enough, all of them: a test makes sure.
            let mut record = RecordBuf::empty();
            Reading::new(self.next).put(&mut record, Time::SinceBoot(now));
            let _ = self.producer.append(&record);
            self.next += 1;
        }
        let mut bytes = [0; 16];
        let count = link.read(&mut bytes);
        self.producer.receive(now, bytes.get(..count).unwrap_or_default());
        if self.written == self.filled {
            self.written = 0;
            self.filled = self.producer.transmit(now, &mut self.chunk);
        }
        let unwritten = self.chunk.get(self.written..self.filled).unwrap_or_default();
        self.written += link.write(unwritten);
    }

    /// Tells that the link is a new one.
    pub fn reconnected(&mut self) {
        self.written = self.filled;
        self.producer.reconnected();
    }

    /// Whether all readings are taken and acknowledged.
    pub fn is_done(&self) -> bool {
        self.next == self.last && self.producer.pending() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that takes everything and gives nothing.
    struct Sent(usize);

    impl Link for Sent {
        fn write(&mut self, bytes: &[u8]) -> usize {
            self.0 += bytes.len();
            bytes.len()
        }

        fn read(&mut self, _: &mut [u8]) -> usize {
            0
        }
    }

    #[test]
    fn a_started_application_says_hello_and_takes_its_readings() {
        let (mut app, mut link) = (App::new(), Sent(0));
        app.start(7, 1_000, 10);
        for now in 0..20_000 {
            app.turn(now, &mut link);
        }
        assert_eq!((app.producer.head(), app.producer.pending() + app.producer.dropped()), (10, 10));
        assert!(app.producer.pending() >= 9);
        assert!(link.0 > DEVICE.len() && !app.is_done());
    }
}

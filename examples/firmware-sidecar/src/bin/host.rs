//! The firmware on this machine, over a Unix socket of an agent.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use firmware_sidecar::{App, Link};

/// Hand readings to an agent as a microcontroller would.
///
/// Start the agent with --set sidecar.listen=unix:/tmp/sidecar.sock, then:
///   firmware-sidecar --socket /tmp/sidecar.sock --count 1000
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// The agent's socket; while nobody listens there, readings are buffered and the oldest dropped.
    #[arg(long)]
    socket: PathBuf,
    /// How many readings to take.
    #[arg(long, default_value_t = 100)]
    count: u32,
    /// Microseconds from one to the next.
    #[arg(long, default_value_t = 10_000)]
    interval_us: u32,
    /// Names this life of the device; another one each time.
    #[arg(long)]
    boot: u64,
}

/// How long to rest when there was nothing to do.
const REST: Duration = Duration::from_micros(500);
/// How long to wait before the next attempt to connect.
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let args = Args::parse();
    let mut app = App::new();
    app.start(args.boot, args.interval_us, args.count);
    let start = Instant::now();
    let mut socket = Socket { stream: None, try_at: start, idle: true };
    while !app.is_done() {
        if socket.connect(&args.socket) {
            app.reconnected();
        }
        socket.idle = true;
        app.turn(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX), &mut socket);
        if socket.idle {
            std::thread::sleep(REST);
        }
    }
    let (head, dropped) = (app.producer.head(), app.producer.dropped());
    // Whoever does not read this is not told.
    let _ = writeln!(std::io::stdout(), "readings {head} dropped {dropped}");
    ExitCode::SUCCESS
}

struct Socket {
    stream: Option<UnixStream>,
    try_at: Instant,
    idle: bool,
}

impl Socket {
    /// Connects if there is no connection and it is time to; says whether there is a new one.
    fn connect(&mut self, path: &Path) -> bool {
        if self.stream.is_some() || Instant::now() < self.try_at {
            return false;
        }
        self.try_at = Instant::now() + PAUSE;
        self.stream = UnixStream::connect(path).and_then(|stream| stream.set_nonblocking(true).map(|()| stream)).ok();
        self.stream.is_some()
    }

    fn done(&mut self, outcome: std::io::Result<usize>) -> usize {
        match outcome {
            Ok(0) => self.stream = None,
            Ok(count) => {
                self.idle = false;
                return count;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.stream = None,
        }
        0
    }
}

impl Link for Socket {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match &mut self.stream {
            Some(stream) if !bytes.is_empty() => {
                let outcome = stream.write(bytes);
                self.done(outcome)
            }
            _ => 0,
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        let outcome = stream.read(bytes);
        self.done(outcome)
    }
}

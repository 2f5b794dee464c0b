//! Drives any MQTT broker with QoS 1 publishes and prints the acknowledgements per second.
//!
//! ```text
//! cargo run --release -p pyralog-examples --bin mqtt_load -- 127.0.0.1:1883 --messages 1000000
//! ```
//!
//! Each connection keeps a window of messages in flight and sends as many new ones as came back acknowledged, in one
//! write. Every packet identifier must come back exactly once, or the run fails.

use std::{
    collections::VecDeque,
    io::{Error, Read, Result, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use clap::Parser;

/// Publish with QoS 1 from many connections and count the acknowledgements.
#[derive(Parser, Clone)]
struct Args {
    /// The broker, host:port.
    broker: String,
    /// Connections, each with a thread of its own.
    #[arg(long, default_value_t = 4)]
    connections: u64,
    /// Messages in flight on each connection.
    #[arg(long, default_value_t = 100)]
    window: u16,
    /// Messages in all.
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Topic; the number of the connection is put behind it.
    #[arg(long, default_value = "plant/line1/climate")]
    topic: String,
    /// Speak MQTT 5.0 instead of 3.1.1.
    #[arg(long)]
    v5: bool,
    /// User name, if the broker wants one.
    #[arg(long)]
    username: Option<String>,
    /// Password, if the broker wants one.
    #[arg(long)]
    password: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.window == 0 || args.connections == 0 {
        return Err(Error::other("--window and --connections must be at least 1"));
    }
    let began = Instant::now();
    let threads: Vec<_> = (0..args.connections)
        .map(|number| {
            let args = args.clone();
            std::thread::spawn(move || publish_all(&args, number))
        })
        .collect();
    let mut acked = 0;
    for thread in threads {
        acked += thread.join().map_err(|_| Error::other("a connection's thread panicked"))??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = acked as f64 / seconds;
    let Args { connections, window, .. } = args;
    writeln!(
        std::io::stdout(),
        "{connections} connections, window {window}: {acked} acknowledged in {seconds:.2} s, {rate:.0} acks/s"
    )
}

/// Publishes one connection's share; gives the number of acknowledgements.
fn publish_all(args: &Args, number: u64) -> Result<u64> {
    let share = args.messages / args.connections + u64::from(number < args.messages % args.connections);
    let mut stream = TcpStream::connect(&args.broker)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(&connect(args, number))?;
    let mut connack = [0; 512];
    let got = stream.read(&mut connack)?;
    if !matches!(connack.get(..got), Some([0x20, _, _, 0, ..])) {
        return Err(Error::other(format!("the broker refused the connection: {:02x?}", connack.get(..got))));
    }

    let topic = format!("{}/{number}", args.topic);
    let mut free: VecDeque<u16> = (1..=args.window).collect();
    let mut in_flight = vec![false; usize::from(args.window) + 1];
    let mut acks = Acks::new();
    let (mut sent, mut acked) = (0, 0);
    let (mut out, mut body, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    while acked < share {
        out.clear();
        while sent < share
            && let Some(id) = free.pop_front()
        {
            body.clear();
            publish(&mut body, args.v5, &topic, id, sent)?;
            packet(&mut out, 0x32, &body);
            in_flight[usize::from(id)] = true;
            sent += 1;
        }
        stream.write_all(&out)?;
        acks.read(&mut stream, &mut ids)?;
        for id in ids.drain(..) {
            match in_flight.get_mut(usize::from(id)) {
                Some(waiting) if *waiting => *waiting = false,
                _ => return Err(Error::other(format!("packet {id} was acknowledged but not in flight"))),
            }
            free.push_back(id);
            acked += 1;
        }
    }
    stream.write_all(&[0xe0, 0])?;
    Ok(acked)
}

fn connect(args: &Args, number: u64) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if args.v5 { 5 } else { 4 }, 2, 0, 60];
    if args.v5 {
        body.push(0);
    }
    string(&mut body, &format!("load-{}-{number}", std::process::id()));
    if let Some(name) = &args.username {
        body[7] |= 0x80;
        string(&mut body, name);
        if let Some(password) = &args.password {
            body[7] |= 0x40;
            string(&mut body, password);
        }
    }
    let mut out = Vec::new();
    packet(&mut out, 0x10, &body);
    out
}

/// Writes a PUBLISH whose payload is a small JSON object that differs from message to message.
fn publish(body: &mut Vec<u8>, v5: bool, topic: &str, id: u16, sequence: u64) -> Result<()> {
    string(body, topic);
    body.extend_from_slice(&id.to_be_bytes());
    if v5 {
        body.push(0);
    }
    let (whole, tenth) = (18 + sequence % 9, sequence % 10);
    write!(body, r#"{{"seq":{sequence},"temp":{whole}.{tenth},"humidity":4{tenth}.5,"station":"north"}}"#)
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut length = body.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
}

/// Reads PUBACKs and keeps the bytes of one that is not whole yet.
struct Acks {
    input: Vec<u8>,
    rest: Vec<u8>,
}

impl Acks {
    fn new() -> Self {
        Self { input: vec![0; 16 * 1024], rest: Vec::new() }
    }

    fn read(&mut self, stream: &mut TcpStream, ids: &mut Vec<u16>) -> Result<()> {
        let count = stream.read(&mut self.input)?;
        if count == 0 {
            return Err(Error::other("the broker closed the connection"));
        }
        self.rest.extend_from_slice(&self.input[..count]);
        let mut at = 0;
        while let Some([kind, length, body @ ..]) = self.rest.get(at..) {
            let Some(body) = body.get(..usize::from(*length)) else { break };
            match (kind, body) {
                // A third byte is the reason code of MQTT 5; 0x10: taken, though nobody subscribes.
                (0x40, [high, low] | [high, low, 0 | 0x10, ..]) => ids.push(u16::from_be_bytes([*high, *low])),
                _ => return Err(Error::other(format!("the broker sent {kind:02x} {body:02x?} instead of a PUBACK"))),
            }
            at += 2 + body.len();
        }
        self.rest.drain(..at);
        Ok(())
    }
}

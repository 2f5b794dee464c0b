//! MQTT: whole conversations of one client through the endpoint's own driver, with a ring behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use pyralog_agent::ingest::intake::Intake;
use pyralog_agent::ingest::mqtt::{MqttEndpoint, MqttServerConfig, Reserved};
use pyralog_agent::ingest::route::Routes;
use pyralog_agent::ingest::{PublishError, PublishSink};
use pyralog_agent::records::Records;
use pyralog_agent::ring::Budget;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bytes_in::Input;
use crate::ring::{ring, settle};

/// What all connections together may hold.
const MEMORY: u64 = 1 << 20;

/// Longest wait for a conversation whose input has ended: for a will with a delay it would be minutes.
const PATIENCE: Duration = Duration::from_millis(5);

/// Counts what the ring took.
struct Counting {
    intake: Intake,
    taken: AtomicU64,
}

impl PublishSink for Counting {
    fn publish(&self, topic: &str, payload: &[u8], scratch: &mut Records) -> Result<(), PublishError> {
        let done = self.intake.publish(topic, payload, scratch);
        self.taken.fetch_add(u64::from(done.is_ok()), Relaxed);
        done
    }
}

/// The first byte chooses a CONNECT to put before the rest, and in how large pieces it comes; the rest is what a client sends.
pub fn mqtt(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let connect: &[u8] = match choice % 4 {
        0 => b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a",
        1 => b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a",
        _ => b"",
    };
    let sent = [connect, input.0].concat();
    let piece = usize::from(choice / 4) * 16 + 1;

    let (ring, clock) = ring();
    let routes = Routes::new(&[]).map_err(|(_, error)| error).unwrap();
    let sink = Arc::new(Counting { intake: Intake::new(ring.clone(), clock, routes), taken: AtomicU64::new(0) });
    let budget = Budget::new(MEMORY);
    let charged = Arc::clone(&budget);
    let reserve = move |bytes| charged.reserve(bytes).ok().map(|held| Box::new(held) as Reserved);
    let config = MqttServerConfig::new(([127, 0, 0, 1], 0).into());
    let endpoint = MqttEndpoint::new(config, sink.clone(), Arc::new(reserve));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answers = runtime.block_on(talk(&endpoint, &sent, piece));
    let acks = count_acks(&answers);
    let (taken, counters) = (sink.taken.load(Relaxed), endpoint.counters());
    assert!(acks <= taken, "{acks} PUBACKs for {taken} messages that the ring took");
    assert!(counters.acked() <= counters.received() && counters.received() <= taken);
    assert_eq!(counters.connections(), 0);
    drop(endpoint);
    drop(runtime);
    assert_eq!(budget.used(), 0, "a connection that is over still holds memory");
    settle(&ring);
}

/// Sends everything, ends the stream, and gives what came back.
async fn talk(endpoint: &MqttEndpoint, sent: &[u8], piece: usize) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(4096);
    let (mut from, mut to) = tokio::io::split(client);
    let mut answers = Vec::new();
    let client = async {
        let send = async {
            for piece in sent.chunks(piece) {
                if to.write_all(piece).await.is_err() {
                    break;
                }
            }
            let _ = to.shutdown().await;
        };
        let mut buffer = [0; 1024];
        let receive = async {
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                answers.extend_from_slice(&buffer[..count]);
            }
        };
        tokio::join!(send, receive);
    };
    let peer = ([127, 0, 0, 1], 1).into();
    let _ = tokio::time::timeout(PATIENCE, async { tokio::join!(client, endpoint.converse(server, peer)) }).await;
    answers
}

/// PUBACKs that say that the message was taken. All our answers are short: lengths of one byte, or two.
fn count_acks(mut answers: &[u8]) -> u64 {
    let mut count = 0;
    while let [first, rest @ ..] = answers {
        let (len, rest) = match rest {
            [low @ 0..0x80, rest @ ..] => (usize::from(*low), rest),
            [low, high, rest @ ..] => (usize::from(low & 0x7f) | usize::from(*high) << 7, rest),
            _ => break,
        };
        let body = rest.get(..len).unwrap_or(rest);
        let good = body.get(2).is_none_or(|reason| *reason < 0x80);
        count += u64::from(*first == 0x40 && body.len() >= 2 && good);
        answers = rest.get(len..).unwrap_or_default();
    }
    count
}

//! After warm-up a QoS 1 message costs no allocation, from the socket to the acknowledgement.
//!
//! A binary of its own, since it counts with a global allocator. The server runs on this thread, whose allocations are
//! counted; the client runs on another.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use pyralog_agent::{
    ingest::{
        PublishError, PublishSink,
        mqtt::{MqttEndpoint, MqttServerConfig, Unlimited},
    },
    records::{Records, Value},
};
use tokio::sync::Notify;

const WARM_UP: usize = 2_000;
const MEASURED: usize = 20_000;
const IN_FLIGHT: usize = 50;

/// Puts topic and payload into the scratch buffer, as a decoder would.
struct Decoder;

impl PublishSink for Decoder {
    fn publish(&self, topic: &str, payload: &[u8], scratch: &mut Records) -> Result<(), PublishError> {
        scratch.clear();
        scratch.begin("mqtt", None);
        scratch.push("topic", Value::Tag(topic));
        scratch.push("value", Value::Binary(payload));
        scratch.finish();
        Ok(())
    }
}

#[test]
fn a_qos_1_message_costs_no_allocation_after_warm_up() {
    for (version, properties) in [(4, &[][..]), (5, &[0][..]), (5, &[3, 0x23, 0, 1][..])] {
        let allocations = allocations_while_publishing(version, properties);
        println!("protocol level {version}, properties {properties:?}: {allocations} allocations, {MEASURED} messages");
        assert_eq!(allocations, 0);
    }
}

fn allocations_while_publishing(version: u8, properties: &'static [u8]) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let warm = Arc::new(Notify::new());
    let done = Arc::new(Notify::new());
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = MqttEndpoint::new(MqttServerConfig::new(address), Arc::new(Decoder), Arc::new(Unlimited));
        tokio::spawn(async move { endpoint.serve(listener, None, std::future::pending()).await });
        address
    });
    let client = {
        let (warm, done) = (Arc::clone(&warm), Arc::clone(&done));
        std::thread::spawn(move || publish(address, version, properties, &warm, &done))
    };
    runtime.block_on(warm.notified());
    let counted = allocation_counter::measure(|| runtime.block_on(done.notified()));
    client.join().unwrap();
    counted.count_total
}

fn publish(address: SocketAddr, version: u8, properties: &[u8], warm: &Notify, done: &Notify) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut connect = vec![0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 60];
    connect.extend_from_slice(if version == 5 { &[0, 0, 1, b'a'] } else { &[0, 1, b'a'] });
    stream.write_all(&[&[0x10, connect.len() as u8], connect.as_slice()].concat()).unwrap();
    let mut connack = [0; 256];
    assert!(stream.read(&mut connack).unwrap() >= 4);

    let message = [b"\0\x0dplant/climate\0\x01", properties, br#"{"temp": 21.5, "humidity": 40.5}"#].concat();
    let burst = [&[0x32, message.len() as u8], message.as_slice()].concat().repeat(IN_FLIGHT);
    let mut acks = [0; 4 * IN_FLIGHT];
    for sent in (0..WARM_UP + MEASURED).step_by(IN_FLIGHT) {
        if sent == WARM_UP {
            warm.notify_one();
        }
        stream.write_all(&burst).unwrap();
        stream.read_exact(&mut acks).unwrap();
        assert!(acks.chunks_exact(4).all(|ack| ack == [0x40, 2, 0, 1]));
    }
    done.notify_one();
}

//! The driver over a pipe that passes only a few bytes at a time.

use std::{future::poll_fn, pin::pin, sync::Arc};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{
    bytes::conversation,
    support::{PEER, World, connect_v3, publish},
};
use crate::ingest::mqtt::{close::CloseReason, connection::Connection, driver::Driver, session::Leash, wire::Version};

/// Runs a driver against a client that writes `input` and reads what comes, through a pipe of `size` bytes.
fn run(world: &World, size: usize, input: &[u8]) -> (Vec<u8>, CloseReason) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, server) = tokio::io::duplex(size);
        let connection =
            Connection::new(world.shared.number(), PEER, Arc::new(Leash::default()), Box::new(()), world.now());
        let mut driver = Driver::new(server, connection, Arc::clone(&world.shared));
        let serve = async move {
            let mut timer = pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
            let reason = poll_fn(|cx| driver.poll_run(cx, timer.as_mut())).await;
            // The farewell; the client may have hung up already.
            let _ = poll_fn(|cx| driver.poll_unsent(cx)).await;
            reason
        };
        let (reason, answers) = tokio::join!(serve, converse(client, input));
        (answers, reason)
    })
}

async fn converse(client: DuplexStream, input: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut answers = Vec::new();
    let write = async {
        // Fails when the server closes first.
        let _ = writer.write_all(input).await;
    };
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut answers));
    read.unwrap();
    answers
}

#[test]
fn a_conversation_through_a_narrow_pipe_gives_the_same_answers() {
    for version in [Version::V3, Version::V5] {
        let (connect, rest, expected) = conversation(version);
        let properties: Option<&[u8]> = if version == Version::V5 { Some(&[]) } else { None };
        let large = publish(1, 9, "large", properties, &[b'x'; 4000]);
        let input = [connect, rest, large, vec![0xc0, 0, 0xe0, 0]].concat();
        let expected = [expected, vec![0x40, 2, 0, 9, 0xd0, 0]].concat();
        for size in [1, 2, 3, 5, 8, 13, 100, 1000, 5000, 1 << 20] {
            let world = World::new();
            let (answers, reason) = run(&world, size, &input);
            assert!(answers.ends_with(&expected), "{size}: {answers:02x?}");
            assert!(matches!(reason, CloseReason::Disconnected { .. }), "{size}: {reason}");
            assert_eq!(world.taken().len(), 5, "{size}");
        }
    }
}

#[test]
fn a_peer_that_reads_slowly_gets_every_answer() {
    let world = World::new();
    let messages: Vec<u8> = (1..=2000).flat_map(|id| publish(1, id, "t", None, b"x")).collect();
    let (answers, _) = run(&world, 16, &[connect_v3("a", true), messages, vec![0xe0, 0]].concat());
    let expected: Vec<u8> = (1..=2000u16).flat_map(|id| [0x40, 2, (id >> 8) as u8, id as u8]).collect();
    assert_eq!(answers[4..], expected);
    assert_eq!(world.taken().len(), 2000);
}

#[test]
fn the_farewell_comes_after_all_acknowledgements() {
    let world = World::new();
    let input = [connect_v3("a", true), publish(1, 1, "t", None, b"x"), publish(1, 2, "#", None, b"x")].concat();
    for size in [1, 3, 1000] {
        let (answers, reason) = run(&world, size, &input);
        assert_eq!(answers, [0x20, 2, 0, 0, 0x40, 2, 0, 1]);
        assert!(matches!(reason, CloseReason::Topic(_)));
    }
}

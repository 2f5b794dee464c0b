//! Caps on connections, packets and memory, and a ring that is full.

use std::time::Duration;

use crate::support::{Client, Server, connect, publish, wait_until};

#[test]
fn a_connection_over_the_cap_takes_the_place_of_the_silent_one_and_not_of_the_lively() {
    let server = Server::with(u64::MAX / 2, |config| config.max_connections = 2);
    let silent = server.client(&connect("silent", true, None));
    let mut lively = server.client(&connect("lively", true, None));
    let mut turned_away = 0;
    // Until the other has been silent for long enough, newcomers are closed.
    wait_until("a place", || {
        lively.send(&[0xc0, 0]);
        assert_eq!(lively.packet(), [0xd0, 0]);
        let mut newcomer = Client::open(server.address);
        newcomer.send(&connect("new", true, None));
        let answer = newcomer.packet_or_end();
        turned_away += u64::from(answer.is_empty());
        !answer.is_empty()
    });
    assert!(silent.rest().is_empty());
    lively.send(&[0xc0, 0]);
    assert_eq!(lively.packet(), [0xd0, 0]);
    assert_eq!(server.endpoint.counters().turned_away(), turned_away);
}

#[test]
fn memory_is_reserved_for_what_is_held_and_given_back() {
    let server = Server::new();
    let mut client = server.client(&connect("a", true, None));
    let idle = server.reserved();
    assert!((4096..8192).contains(&idle), "{idle}");
    let large = publish(1, 1, &vec![b'x'; 100_000]);
    client.send(&large[..90_000]);
    wait_until("the buffer", || server.reserved() > idle + 80_000);
    assert!(server.reserved() < idle + 260_000);
    client.send(&large[90_000..]);
    assert_eq!(client.packet(), [0x40, 2, 0, 1]);
    wait_until("the memory", || server.reserved() == idle);
    drop(client);
    wait_until("the memory", || server.reserved() == 0);
}

#[test]
fn a_large_packet_announced_and_not_sent_takes_no_memory() {
    let server = Server::new();
    let mut client = server.client(&connect("a", true, None));
    let idle = server.reserved();
    client.send(&publish(1, 1, &vec![b'x'; 200_000])[..3000]);
    wait_until("the buffer", || server.reserved() > idle);
    assert!(server.reserved() < idle + 20_000, "{}", server.reserved());
}

#[test]
fn without_memory_nobody_new_is_let_in_and_large_packets_are_not_held() {
    let server = Server::with(16 * 1024, |_| ());
    let mut client = server.client(&connect("a", true, Some(0)));
    client.send(&publish(0, 0, &vec![b'x'; 100_000]));
    let goodbye = client.packet();
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x97));
    drop(client);
    wait_until("the memory", || server.reserved() == 0);
    let held: Vec<_> = (0..3).map(|n| server.client(&connect(&n.to_string(), true, None))).collect();
    assert!(Client::open(server.address).rest().is_empty());
    assert!(server.reserved() <= 16 * 1024);
    drop(held);
    assert!(server.messages().is_empty());
}

#[test]
fn whoever_is_let_in_has_memory_for_a_session() {
    let server = Server::with(5 * 4096 + 600, |_| ());
    let mut clients: Vec<_> = (0..6).map(|_| Client::open(server.address)).collect();
    wait_until("all of them", || server.endpoint.counters().turned_away() >= 2);
    let mut let_in = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&connect(&number.to_string(), true, None));
        let answer = client.packet_or_end();
        assert!(answer.is_empty() || answer == [0x20, 2, 0, 0], "{answer:02x?}");
        let_in += usize::from(!answer.is_empty());
    }
    assert_eq!(let_in, 4);
}

#[test]
fn a_full_ring_delays_the_acknowledgement_until_there_is_room() {
    let server = Server::new();
    let mut client = server.client(&connect("a", true, None));
    server.fill(true);
    let burst: Vec<u8> = (1..=500).flat_map(|id| publish(1, id, format!("{id:>200}").as_bytes())).collect();
    client.send(&burst);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.endpoint.counters().acked(), 0);
    assert!(server.messages().is_empty());
    server.fill(false);
    for id in 1..=500u16 {
        assert_eq!(client.packet(), [0x40, 2, (id >> 8) as u8, id as u8]);
    }
    let payloads = server.payloads(500);
    assert!(payloads.iter().zip(1..).all(|(payload, id): (_, u32)| payload.trim() == id.to_string()));
}

#[test]
fn a_client_is_told_by_closing_that_the_ring_stays_full() {
    let server = Server::with(u64::MAX / 2, |config| config.full_patience = Duration::from_millis(50));
    server.fill(true);
    let mut client = server.client(&connect("a", true, None));
    client.send(&publish(1, 1, b"x"));
    assert!(client.rest().is_empty(), "no acknowledgement");
    assert_eq!(server.endpoint.counters().refused(), 1);
}

#[test]
fn a_malformed_packet_ends_its_connection_and_no_other() {
    let server = Server::new();
    let mut good = server.client(&connect("good", true, None));
    for bytes in [&[0x36, 3, 0, 1, b't'][..], &[0x30, 0xff, 0xff, 0xff, 0xff], &[0x00, 0], &[0x30, 3, 0, 1, b'#']] {
        let mut bad = server.client(&connect("bad", true, None));
        bad.send(bytes);
        assert!(bad.rest().is_empty());
    }
    good.send(&publish(1, 1, b"x"));
    assert_eq!(good.packet(), [0x40, 2, 0, 1]);
    wait_until("the count", || server.endpoint.counters().malformed() == 4);
}

//! How connections begin and end.

use std::time::Duration;

use crate::support::{Client, Server, connect, packet, publish, string, wait_until};

#[test]
fn a_shutdown_says_goodbye_and_ends() {
    let mut server = Server::new();
    let mut new = server.client(&connect("new", true, Some(0)));
    let old = server.client(&connect("old", true, None));
    let silent = Client::open(server.address);
    new.send(&packet(0x32, b"\0\x01t\0\x01\0x"));
    assert_eq!(new.packet(), [0x40, 2, 0, 1]);
    wait_until("three connections", || server.endpoint.counters().connections() == 3);
    server.stop();
    let goodbye = new.packet();
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8b));
    assert!(new.rest().is_empty() && old.rest().is_empty() && silent.rest().is_empty());
    assert_eq!(server.endpoint.counters().connections(), 0);
    assert_eq!(server.reserved(), 0);
    assert_eq!(server.messages().len(), 1, "no will of a client that did not vanish");
}

#[test]
fn a_second_connection_with_the_same_identifier_ends_the_first() {
    let server = Server::new();
    let mut first = server.client(&connect("a", false, Some(60)));
    let mut second = server.client(&connect("a", false, Some(60)));
    let goodbye = first.packet();
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8e));
    assert!(first.rest().is_empty());
    second.send(&[0xc0, 0]);
    assert_eq!(second.packet(), [0xd0, 0]);
}

#[test]
fn a_qos_2_message_repeated_over_a_new_connection_comes_in_once() {
    let server = Server::new();
    let mut first = server.client(&connect("a", false, None));
    first.send(&publish(2, 9, b"once"));
    assert_eq!(first.packet(), [0x50, 2, 0, 9]);
    drop(first);
    let mut second = Client::open(server.address);
    second.send(&connect("a", false, None));
    assert_eq!(second.packet(), [0x20, 2, 1, 0]);
    let mut again = publish(2, 9, b"once");
    again[0] |= 8;
    second.send(&again);
    assert_eq!(second.packet(), [0x50, 2, 0, 9]);
    second.send(&[0x62, 2, 0, 9]);
    assert_eq!(second.packet(), [0x70, 2, 0, 9]);
    assert_eq!(server.messages().len(), 1);
}

/// CONNECT of MQTT 5 with a will that waits `delay` seconds, in a session of ten minutes.
fn with_will(id: &str, clean: bool, delay: u8) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0x04 | u8::from(clean) << 1, 0, 60];
    body.extend_from_slice(&[5, 0x11, 0, 0, 2, 0x58]);
    string(&mut body, id);
    body.extend_from_slice(&[5, 0x18, 0, 0, 0, delay]);
    string(&mut body, "gone");
    string(&mut body, id);
    packet(0x10, &body)
}

#[test]
fn a_client_that_vanishes_leaves_its_will() {
    let server = Server::new();
    drop(server.client(&with_will("quick", true, 0)));
    wait_until("the will", || server.messages() == [("gone".to_owned(), "quick".to_owned())]);
}

#[test]
fn a_will_with_a_delay_is_dropped_when_the_client_goes_on_and_published_when_it_begins_anew() {
    let server = Server::new();
    drop(server.client(&with_will("back", false, 200)));
    let mut client = Client::open(server.address);
    client.send(&with_will("back", false, 200));
    let connack = client.packet();
    assert_eq!(connack[2..4], [1, 0], "the session is still there");
    drop(client);
    let client = server.client(&with_will("back", true, 200));
    wait_until("the will of the session that ended", || server.messages().len() == 1);
    drop(client);
}

#[test]
fn a_delayed_will_does_not_hold_up_a_shutdown() {
    let mut server = Server::new();
    drop(server.client(&with_will("slow", false, 200)));
    wait_until("the end of the connection", || server.endpoint.counters().connections() == 0);
    server.stop();
    assert_eq!(server.messages(), [("gone".to_owned(), "slow".to_owned())]);
}

#[test]
fn who_says_nothing_is_sent_away() {
    let server = Server::with(u64::MAX / 2, |config| config.connect_timeout = Duration::from_millis(100));
    assert!(Client::open(server.address).rest().is_empty());
    let mut slow = Client::open(server.address);
    slow.send(&connect("a", true, None)[..8]);
    assert!(slow.rest().is_empty());
}

#[test]
fn what_is_no_mqtt_is_sent_away_at_once() {
    let server = Server::new();
    let mut browser = Client::open(server.address);
    browser.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n");
    assert!(browser.rest().is_empty());
    assert_eq!(server.endpoint.counters().malformed(), 1);
}

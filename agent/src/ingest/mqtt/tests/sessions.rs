//! Sessions, takeovers, wills and time.

use std::time::Duration;

use super::support::{World, connect_v3, connect_v5, packet, publish, string};
use crate::ingest::mqtt::{close::CloseReason, session::CallOff};

const GRACEFUL: CloseReason = CloseReason::Disconnected { with_will: false };

#[test]
fn a_kept_session_remembers_qos_2_identifiers_over_a_broken_connection() {
    let world = World::new();
    let message = publish(2, 5, "t", None, b"x");
    let mut first = world.connected(&connect_v3("a", false));
    first.says(&message);
    first.ends(&CloseReason::HungUp);

    let mut second = world.connection();
    assert_eq!(second.says(&connect_v3("a", false)), [0x20, 2, 1, 0], "session present");
    assert_eq!(second.says(&message), [0x50, 2, 0, 5]);
    assert_eq!(second.says(&[0x62, 2, 0, 5]), [0x70, 2, 0, 5]);
    assert_eq!(world.taken().len(), 1);
}

#[test]
fn a_clean_session_forgets() {
    let world = World::new();
    let message = publish(2, 5, "t", None, b"x");
    let mut first = world.connected(&connect_v3("a", false));
    first.says(&message);
    first.ends(&CloseReason::HungUp);
    let mut second = world.connection();
    assert_eq!(second.says(&connect_v3("a", true)), [0x20, 2, 0, 0]);
    second.says(&message);
    assert_eq!(world.taken().len(), 2);
    second.ends(&GRACEFUL);
    assert_eq!(world.connection().says(&connect_v3("a", false)), [0x20, 2, 0, 0], "a clean session leaves nothing");
}

#[test]
fn a_session_of_version_5_lives_as_long_as_it_was_asked_to() {
    let world = World::new();
    let ten_seconds = connect_v5("a", false, &[0x11, 0, 0, 0, 10]);
    world.connected(&ten_seconds).ends(&CloseReason::HungUp);
    world.pass(Duration::from_secs(9));
    let second = world.connected(&ten_seconds);
    assert!(second.connection.open.is_some());
    second.ends(&CloseReason::HungUp);
    assert_eq!(world.connection().says(&ten_seconds)[2], 1);
    // That peer vanished without `ends`: its session is still its own, so the next takes it over.
    let third = world.connected(&ten_seconds);
    third.ends(&CloseReason::HungUp);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.connection().says(&ten_seconds)[2], 0, "expired");
}

#[test]
fn a_disconnect_can_change_when_the_session_ends() {
    let world = World::new();
    let hour = connect_v5("a", false, &[0x11, 0, 0, 0x0e, 0x10]);
    let mut peer = world.connected(&hour);
    let (_, reason) = peer.fails(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0]));
    peer.ends(&reason);
    assert_eq!(world.connection().says(&hour)[2], 0);
    let mut peer = world.connected(&connect_v5("b", false, &[]));
    let (_, reason) = peer.fails(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 1]));
    assert!(matches!(reason, CloseReason::Protocol(_)), "a session that ends at once cannot be prolonged");
}

#[test]
fn a_second_connection_takes_the_client_identifier_over() {
    let world = World::new();
    let message = publish(2, 5, "t", None, b"x");
    let mut first = world.connected(&connect_v3("a", false));
    first.says(&message);
    let mut second = world.connection();
    assert_eq!(second.says(&connect_v3("a", false)), [0x20, 2, 1, 0]);
    assert_eq!(first.pulled(), Some(CallOff::Resumed));
    assert_eq!(second.says(&message), [0x50, 2, 0, 5], "known from the first connection");
    let (_, reason) = first.fails(&publish(2, 6, "t", None, b"y"));
    assert!(matches!(reason, CloseReason::TakenOver), "nothing of the old connection counts any more");
    first.ends(&reason);
    assert_eq!(second.says(&[0x62, 2, 0, 5]), [0x70, 2, 0, 5], "the end of the old one takes nothing from the new");
    assert_eq!(world.taken().len(), 1);
}

#[test]
fn absent_sessions_are_bounded_and_the_longest_absent_goes_first() {
    let world = World::with(|config| config.max_sessions = 3);
    for id in ["a", "b", "c", "d"] {
        world.connected(&connect_v3(id, false)).ends(&CloseReason::HungUp);
    }
    assert_eq!(world.shared.sessions.len(), 3);
    assert_eq!(world.connection().says(&connect_v3("b", false)), [0x20, 2, 1, 0]);
    assert_eq!(world.connection().says(&connect_v3("a", false)), [0x20, 2, 0, 0]);
}

#[test]
fn a_will_is_published_for_those_who_vanish_and_not_for_those_who_say_goodbye() {
    let world = World::new();
    let connect = with_will(4, 0x06, &[]);
    let will = |reason: &CloseReason| world.connected(&connect).ends(reason);
    assert_eq!(will(&CloseReason::HungUp).as_deref(), Some("gone"));
    assert_eq!(will(&CloseReason::KeepAlive).as_deref(), Some("gone"));
    assert_eq!(will(&CloseReason::Malformed("x")).as_deref(), Some("gone"));
    assert_eq!(will(&GRACEFUL), None);
    assert_eq!(will(&CloseReason::Shutdown), None);

    let connect = with_will(5, 0x06, &[0]);
    let mut peer = world.connected(&connect);
    let (_, reason) = peer.fails(&[0xe0, 1, 4]);
    assert_eq!(peer.ends(&reason).as_deref(), Some("gone"), "disconnect with will message");
    let mut peer = world.connected(&connect);
    let (_, reason) = peer.fails(&[0xe0, 0]);
    assert_eq!(peer.ends(&reason), None);
}

/// A CONNECT with a will to the topic `gone`; in version 5 both property lists are `properties`.
fn with_will(version: u8, flags: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version, flags, 0, 60];
    body.extend_from_slice(properties);
    string(&mut body, "a");
    body.extend_from_slice(properties);
    string(&mut body, "gone");
    string(&mut body, "bye");
    packet(0x10, &body)
}

#[test]
fn silence_beyond_one_and_a_half_times_the_keep_alive_ends_a_connection() {
    let world = World::new();
    let mut peer = world.connected(&connect_v5("a", true, &[]));
    world.pass(Duration::from_secs(89));
    assert!(peer.timeout().1.is_none());
    assert_eq!(peer.says(&[0xc0, 0]), [0xd0, 0]);
    assert_eq!(peer.next_timeout(), world.now() + Duration::from_secs(90));
    world.pass(Duration::from_secs(90));
    let (out, reason) = peer.timeout();
    assert!(matches!(reason, Some(CloseReason::KeepAlive)));
    assert_eq!((out[0], out[2]), (0xe0, 0x8d));
}

#[test]
fn half_a_packet_is_no_sign_of_life() {
    let world = World::new();
    let mut peer = world.connected(&connect_v3("a", true));
    world.pass(Duration::from_secs(80));
    peer.says(&[0x30]);
    world.pass(Duration::from_secs(10));
    assert!(matches!(peer.timeout().1, Some(CloseReason::KeepAlive)));
}

#[test]
fn who_does_not_connect_in_time_is_sent_away() {
    let world = World::new();
    let mut peer = world.connection();
    peer.says(&connect_v3("a", true)[..9]);
    world.pass(Duration::from_secs(10));
    let (out, reason) = peer.timeout();
    assert!(out.is_empty() && matches!(reason, Some(CloseReason::ConnectTimeout)));
}

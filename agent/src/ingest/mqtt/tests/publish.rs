//! What becomes of a PUBLISH.

use std::time::Duration;

use super::support::{World, connect_v3, connect_v5, packet, publish};
use crate::ingest::mqtt::{close::CloseReason, connection::Flow};

#[test]
fn each_qos_is_acknowledged_in_its_own_way() {
    let world = World::new();
    let mut peer = world.connected(&connect_v3("a", true));
    assert_eq!(peer.says(&publish(0, 0, "t", None, b"0")), [0u8; 0]);
    assert_eq!(peer.says(&publish(1, 7, "t", None, b"1")), [0x40, 2, 0, 7]);
    assert_eq!(peer.says(&publish(2, 8, "t", None, b"2")), [0x50, 2, 0, 8]);
    assert_eq!(peer.says(&[0x62, 2, 0, 8]), [0x70, 2, 0, 8]);
    assert_eq!(world.taken().len(), 3);
    let counters = &world.shared.counters;
    assert_eq!((counters.received(), counters.acked(), counters.refused()), (3, 2, 0));
}

#[test]
fn many_packets_in_one_read_are_answered_in_order() {
    let world = World::new();
    let mut peer = world.connected(&connect_v3("a", true));
    let all: Vec<u8> = (1..=200).flat_map(|id| publish(1, id, "t", None, b"x")).chain([0xc0, 0]).collect();
    let expected: Vec<u8> = (1..=200u16).flat_map(|id| [0x40, 2, (id >> 8) as u8, id as u8]).chain([0xd0, 0]).collect();
    assert_eq!(peer.says(&all), expected);
}

#[test]
fn a_qos_2_message_sent_again_before_its_release_comes_in_once() {
    let world = World::new();
    let mut peer = world.connected(&connect_v3("a", true));
    let message = publish(2, 5, "t", None, b"x");
    let mut again = message.clone();
    again[0] |= 8;
    assert_eq!(peer.says(&message), [0x50, 2, 0, 5]);
    assert_eq!(peer.says(&again), [0x50, 2, 0, 5]);
    assert_eq!(world.taken().len(), 1);
    assert_eq!(peer.says(&[0x62, 2, 0, 5]), [0x70, 2, 0, 5]);
    assert_eq!(peer.says(&message), [0x50, 2, 0, 5], "released: the identifier names a new message");
    assert_eq!(world.taken().len(), 1);
}

#[test]
fn a_release_of_nothing_is_answered_and_named_in_version_5() {
    let world = World::new();
    assert_eq!(world.connected(&connect_v3("a", true)).says(&[0x62, 2, 0, 9]), [0x70, 2, 0, 9]);
    assert_eq!(world.connected(&connect_v5("b", true, &[])).says(&[0x62, 2, 0, 9]), [0x70, 3, 0, 9, 0x92]);
}

#[test]
fn more_open_qos_2_messages_than_the_receive_maximum_end_the_connection() {
    let world = World::new();
    let mut peer = world.connected(&connect_v5("a", true, &[]));
    for id in 1..=1024 {
        peer.says(&publish(2, id, "t", Some(&[]), b""));
    }
    let (out, reason) = peer.fails(&publish(2, 1025, "t", Some(&[]), b""));
    assert!(matches!(reason, CloseReason::ReceiveMaximum));
    assert_eq!((out[0], out[2]), (0xe0, 0x93));
}

#[test]
fn nothing_is_acknowledged_while_the_ring_is_full_and_all_of_it_once_there_is_room() {
    let world = World::new();
    let mut peer = world.connected(&connect_v3("a", true));
    world.fill(true);
    let two: Vec<u8> = [publish(1, 1, "t", None, b"x"), publish(1, 2, "t", None, b"y")].concat();
    let (out, flow) = peer.send(&two);
    assert!(out.is_empty() && matches!(flow, Flow::Stalled));
    for _ in 0..10 {
        world.pass(Duration::from_millis(700));
        assert!(peer.timeout().1.is_none(), "silence while the peer is not read from is no fault of it");
        assert!(matches!(peer.send(&[]), (out, Flow::Stalled) if out.is_empty()));
    }
    world.fill(false);
    assert_eq!(peer.says(&[]), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    assert_eq!(world.taken().len(), 2);
    assert!(!peer.connection.is_stalled());
}

#[test]
fn the_waits_for_a_full_ring_grow_and_stay_bounded() {
    let world = World::new();
    let mut peer = world.connected(&connect_v3("a", true));
    world.fill(true);
    peer.send(&publish(1, 1, "t", None, b"x"));
    let mut last = Duration::ZERO;
    for _ in 0..8 {
        let wait = peer.next_timeout() - world.now();
        assert!(wait >= last && wait <= Duration::from_secs(1));
        last = wait;
        world.pass(wait);
        peer.send(&[]);
    }
    assert_eq!(last, Duration::from_secs(1));
}

#[test]
fn a_ring_that_stays_full_is_told_in_version_5_and_ends_the_connection_in_3() {
    let world = World::new();
    let mut new = world.connected(&connect_v5("a", true, &[]));
    let mut old = world.connected(&connect_v3("b", true));
    world.fill(true);
    new.send(&[publish(1, 1, "t", Some(&[]), b"x"), publish(2, 2, "t", Some(&[]), b"x")].concat());
    old.send(&publish(1, 1, "t", None, b"x"));
    world.pass(Duration::from_secs(31));
    let (out, flow) = new.send(&[]);
    assert_eq!(out, [0x40, 3, 0, 1, 0x97, 0x50, 3, 0, 2, 0x97]);
    assert!(matches!(flow, Flow::Need(_)), "once told, the peer is answered at once");
    let (out, flow) = old.send(&[]);
    assert!(out.is_empty() && matches!(flow, Flow::Close(CloseReason::Full)));
    assert!(world.taken().is_empty());
    assert_eq!(world.shared.counters.acked(), 0);
    assert_eq!(world.shared.counters.refused(), 3);
    world.fill(false);
    assert_eq!(new.says(&publish(1, 3, "t", Some(&[]), b"y")), [0x40, 2, 0, 3]);
    world.fill(true);
    assert!(matches!(new.send(&publish(1, 4, "t", Some(&[]), b"z")), (out, Flow::Stalled) if out.is_empty()));
}

#[test]
fn a_message_too_large_for_the_sink_or_the_limit_is_never_acknowledged() {
    let world = World::with(|config| config.max_packet = 10_000);
    let mut peer = world.connected(&connect_v5("a", true, &[]));
    let (out, reason) = peer.fails(&publish(1, 1, "t", Some(&[]), &[0; 6000]));
    assert!(matches!(reason, CloseReason::TooLarge { len: 6000, limit: 5000 }));
    assert_eq!((out[0], out[2]), (0xe0, 0x95));
    // Over the limit, its length alone is enough: nothing of it is buffered.
    let mut peer = world.connected(&connect_v3("a", true));
    let (out, reason) = peer.fails(&publish(1, 1, "t", None, &[0; 20_000])[..5]);
    assert!(out.is_empty() && matches!(reason, CloseReason::TooLarge { limit: 10_000, .. }));
    assert_eq!(world.shared.counters.refused(), 2);
}

#[test]
fn bad_topics_are_named_in_the_farewell() {
    let world = World::new();
    for topic in ["", "a/+", "#", "a\0b"] {
        let mut peer = world.connected(&connect_v5("a", true, &[]));
        let (out, reason) = peer.fails(&publish(1, 1, topic, Some(&[]), b"x"));
        assert!(matches!(reason, CloseReason::Topic(_)), "{topic:?}: {reason}");
        assert_eq!((out[0], out[2]), (0xe0, 0x90));
        let mut peer = world.connected(&connect_v3("a", true));
        let (out, reason) = peer.fails(&publish(0, 0, topic, None, b"x"));
        assert!(out.is_empty() && matches!(reason, CloseReason::Topic(_)));
    }
    let mut peer = world.connected(&connect_v3("a", true));
    let (_, reason) = peer.fails(&packet(0x30, &[0, 1, 0xff, b'x']));
    assert!(reason.to_string().contains("UTF-8"));
    assert!(world.taken().is_empty());
}

#[test]
fn a_topic_alias_stands_for_the_topic_it_was_sent_with() {
    let world = World::new();
    let mut peer = world.connected(&connect_v5("a", true, &[]));
    let alias = [0x23, 0, 4];
    peer.says(&publish(1, 1, "plant/x", Some(&alias), b"1"));
    peer.says(&publish(1, 2, "", Some(&alias), b"2"));
    peer.says(&publish(1, 3, "plant/y", Some(&alias), b"3"));
    // Other properties beside it.
    peer.says(&publish(1, 4, "", Some(&[0x01, 1, 0x23, 0, 4, 0x26, 0, 1, b'k', 0, 1, b'v']), b"4"));
    let topics: Vec<_> = world.taken().into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["plant/x", "plant/x", "plant/y", "plant/y"]);
}

#[test]
fn an_alias_that_is_unknown_zero_or_over_the_maximum_ends_the_connection() {
    let world = World::new();
    for (topic, alias) in [("", 3), ("t", 0), ("t", 17)] {
        let mut peer = world.connected(&connect_v5("a", true, &[]));
        let (out, reason) = peer.fails(&publish(1, 1, topic, Some(&[0x23, 0, alias]), b"x"));
        assert!(matches!(reason, CloseReason::Alias), "{topic:?} {alias}: {reason}");
        assert_eq!((out[0], out[2]), (0xe0, 0x94));
    }
}

#[test]
fn malformed_publishes_are_refused_without_an_answer() {
    let world = World::new();
    let bad: [&[u8]; 5] = [
        &[0x36, 5, 0, 1, b't', 0, 1], // QoS 3
        &[0x38, 3, 0, 1, b't'],       // QoS 0 with DUP
        &[0x32, 5, 0, 1, b't', 0, 0], // packet identifier 0
        &[0x32, 4, 0, 1, b't', 0],    // ends inside the identifier
        &[0x30, 3, 0, 9, b't'],       // ends inside the topic
    ];
    for bytes in bad {
        let mut peer = world.connected(&connect_v3("a", true));
        let (out, reason) = peer.fails(bytes);
        assert!(out.is_empty() && matches!(reason, CloseReason::Malformed(_)), "{bytes:02x?}: {reason}");
    }
}

//! CONNECT and everything that is no PUBLISH.

use super::support::{World, connect_v3, connect_v5, packet, publish, string};
use crate::ingest::mqtt::{Access, User, close::CloseReason};

#[test]
fn version_5_is_told_the_terms() {
    let world = World::with(|config| config.max_packet = 0x0001_0203);
    let answer = world.connection().says(&connect_v5("", true, &[0x11, 0xff, 0xff, 0xff, 0xff]));
    assert_eq!(answer[..1], [0x20]);
    assert_eq!(answer[2..4], [0, 0]);
    let has = |wanted: &[u8]| answer.windows(wanted.len()).any(|window| window == wanted);
    assert!(has(&[0x21, 0x04, 0x00]), "receive maximum 1,024");
    assert!(has(&[0x27, 0, 1, 2, 3]), "maximum packet size");
    assert!(has(&[0x22, 0, 16]), "topic alias maximum");
    assert!(has(&[0x28, 0]) && has(&[0x29, 0]) && has(&[0x2a, 0]), "no subscriptions of any kind");
    assert!(has(b"auto-"), "assigned client identifier");
    assert!(has(&[0x11, 0, 1, 0x51, 0x80]), "session expiry cut to a day");
    assert!(!has(&[0x13]) || has(b"auto-"), "the keep-alive asked for stands");
}

#[test]
fn a_keep_alive_over_the_longest_is_cut_in_version_5() {
    let world = World::with(|config| config.max_keep_alive = std::time::Duration::from_secs(30));
    let mut peer = world.connection();
    let answer = peer.says(&connect_v5("a", true, &[]));
    assert!(answer.windows(3).any(|window| window == [0x13, 0, 30]));
    assert_eq!(peer.next_timeout() - world.now(), std::time::Duration::from_secs(45));
}

fn with_users() -> World {
    World::with(|config| config.access = Access::Users(vec![User::new("board", "secret"), User::new("press", "other")]))
}

/// CONNECT of MQTT 3.1.1.
fn v3(name: &str, password: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 60];
    ["a", name, password].iter().for_each(|text| string(&mut body, text));
    packet(0x10, &body)
}

#[test]
fn a_host_that_guesses_is_not_looked_at_for_a_while_and_its_neighbours_come_back() {
    let world = with_users();
    assert_eq!(world.connection().says(&v3("press", "other")), [0x20, 2, 0, 0]);
    let guess = |number: u32| world.connection().fails(&v3("board", &format!("guess-{number}"))).0;
    let answers: Vec<_> = (0..20).map(guess).collect();
    let looked_at = answers.iter().filter(|answer| **answer == [0x20, 2, 0, 4]).count();
    assert_eq!((looked_at, answers.last().unwrap()), (11, &vec![0x20, 2, 0, 5]));
    assert_eq!((world.shared.counters.unauthorized(), world.shared.counters.shut_out()), (11, 9));

    assert_eq!(world.connection().fails(&v3("board", "secret")).0, [0x20, 2, 0, 5], "that would tell");
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0xc2, 0, 60, 0];
    ["a", "board", "secret"].iter().for_each(|text| string(&mut body, text));
    let (out, _) = world.connection().fails(&packet(0x10, &body));
    assert_eq!((out[0], out[3]), (0x20, 0x9f));
    assert_eq!(world.connection().says(&v3("press", "other")), [0x20, 2, 0, 0], "it was right before");
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(world.connection().says(&v3("board", "secret")), [0x20, 2, 0, 0]);
}

#[test]
fn only_known_users_are_let_in() {
    let world = with_users();
    assert_eq!(world.connection().says(&v3("board", "secret")), [0x20, 2, 0, 0]);
    let (out, reason) = world.connection().fails(&v3("board", "secreT"));
    assert_eq!(out, [0x20, 2, 0, 4]);
    assert!(matches!(reason, CloseReason::Unauthorized));
    assert!(!reason.to_string().contains("secre"));
    assert_eq!(world.connection().fails(&connect_v3("a", true)).0, [0x20, 2, 0, 4]);
    let (out, _) = world.connection().fails(&connect_v5("a", true, &[]));
    assert_eq!((out[0], out[3]), (0x20, 0x86));
    assert_eq!(world.shared.counters.unauthorized(), 3);
    assert_eq!(world.shared.sessions.len(), 1);
}

#[test]
fn a_connect_that_cannot_be_granted_is_refused_with_the_right_code() {
    let world = World::new();
    let refused = |bytes: &[u8]| world.connection().fails(bytes).0;
    let with = |level: u8, flags: u8, rest: &[u8]| {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
        body.extend_from_slice(rest);
        packet(0x10, &body)
    };
    assert_eq!(refused(&with(6, 2, &[0, 0])), [0x20, 2, 0, 1], "unknown version");
    assert_eq!(refused(&packet(0x10, b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01a")), [0x20, 2, 0, 1], "MQTT 3.1");
    assert_eq!(refused(&with(4, 0, &[0, 0])), [0x20, 2, 0, 2], "no identifier and no clean session");
    assert_eq!(refused(&with(4, 3, &[0, 1, b'a'])), [0u8; 0], "reserved flag");
    assert_eq!(refused(&with(4, 0x1a, &[0, 1, b'a'])), [0u8; 0], "will QoS without a will");
    assert_eq!(refused(&with(4, 2, &[0, 1, b'a', 0])), [0u8; 0], "bytes after the end");
    assert_eq!(refused(&connect_v3(&"x".repeat(257), true)), [0x20, 2, 0, 2]);
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), [0u8; 0]);
    assert_eq!(refused(&publish(0, 0, "t", None, b"x")), [0u8; 0], "PUBLISH before CONNECT");
    let code = |bytes: &[u8]| refused(bytes)[3];
    assert_eq!(code(&with(5, 3, &[0, 0, 1, b'a'])), 0x81);
    assert_eq!(code(&connect_v5("a", true, &[0x15, 0, 1, b'x'])), 0x8c, "enhanced authentication");
    assert_eq!(code(&connect_v5("a", true, &[0x23, 0, 1])), 0x82, "a property of PUBLISH");
    assert_eq!(code(&with(5, 6, &[0, 0, 1, b'a', 0, 0, 1, b'#', 0, 1, b'x'])), 0x90, "will topic with a wildcard");
    assert_eq!(world.shared.sessions.len(), 0);
}

#[test]
fn a_first_packet_over_eight_kilobytes_is_not_waited_for() {
    let world = World::new();
    let (out, reason) = world.connection().fails(&[0x10, 0x81, 0x40]);
    assert!(out.is_empty() && matches!(reason, CloseReason::TooLarge { limit: 8192, .. }));
}

#[test]
fn subscriptions_are_refused_filter_by_filter() {
    let world = World::new();
    let mut old = world.connected(&connect_v3("a", true));
    let mut body = vec![0, 7];
    for filter in ["plain", "a/+", "a/#/b"] {
        string(&mut body, filter);
        body.push(1);
    }
    assert_eq!(old.says(&packet(0x82, &body)), [0x90, 5, 0, 7, 0x80, 0x80, 0x80]);

    let mut new = world.connected(&connect_v5("b", true, &[]));
    let mut body = vec![0, 7, 0];
    for filter in ["plain", "a/+", "a/#/b", "$share/g/a", "#"] {
        string(&mut body, filter);
        body.push(1);
    }
    assert_eq!(new.says(&packet(0x82, &body)), [0x90, 8, 0, 7, 0, 0x87, 0xa2, 0x8f, 0x9e, 0xa2]);
    let (_, reason) = new.fails(&packet(0x82, &[0, 7, 0]));
    assert!(matches!(reason, CloseReason::Malformed(_)), "no filter at all");
}

#[test]
fn unsubscribing_is_answered() {
    let world = World::new();
    assert_eq!(world.connected(&connect_v3("a", true)).says(&packet(0xa2, b"\0\x07\0\x01x")), [0xb0, 2, 0, 7]);
    let mut new = world.connected(&connect_v5("b", true, &[]));
    assert_eq!(new.says(&packet(0xa2, b"\0\x07\0\0\x01x\0\x01y")), [0xb0, 5, 0, 7, 0, 0x11, 0x11]);
}

#[test]
fn answers_longer_than_the_client_takes_are_left_out() {
    let world = World::new();
    // Maximum packet size 64: room for the CONNACK, not for a SUBACK of 70 codes.
    let mut peer = world.connected(&connect_v5("a", true, &[0x27, 0, 0, 0, 64]));
    let mut body = vec![0, 7, 0];
    (0..70).for_each(|_| body.extend_from_slice(b"\0\x01x\x01"));
    assert_eq!(peer.says(&packet(0x82, &body)), [0u8; 0]);
    let (out, _) = peer.fails(&[0xe3, 0]);
    assert!(out.len() <= 64 && out[0] == 0xe0);
}

#[test]
fn packets_that_only_a_server_sends_or_with_wrong_flags_end_the_connection() {
    let world = World::new();
    for first in [0x20, 0x90, 0xb0, 0xd0, 0x60, 0x80, 0xa0, 0xc1, 0xe1, 0xf0, 0x00, 0x40, 0x50, 0x70] {
        let mut peer = world.connected(&connect_v5("a", true, &[]));
        let (out, reason) = peer.fails(&[first, 2, 0, 1]);
        assert!(reason.is_misbehaviour(), "{first:02x}: {reason}");
        assert!(matches!((out[0], out[2]), (0xe0, 0x81 | 0x82)), "{first:02x}: {out:02x?}");
    }
    let mut peer = world.connected(&connect_v3("a", true));
    let (out, reason) = peer.fails(&connect_v3("a", true));
    assert!(out.is_empty() && matches!(reason, CloseReason::Protocol(_)), "a second CONNECT");
}

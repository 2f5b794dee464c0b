//! Bytes in any portion and of any kind.

use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use proptest::prelude::*;

use super::support::{World, connect_v3, connect_v5, packet, publish};
use crate::ingest::mqtt::{
    connection::Flow,
    wire::{self, Frame, FrameError, Publish, Version},
};

/// A conversation that touches every packet, and its answers after the CONNACK.
pub(super) fn conversation(version: Version) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (connect, properties, subscribe): (_, Option<&[u8]>, &[u8]) = match version {
        Version::V3 => (connect_v3("a", true), None, b"\0\x07\0\x01x\x01"),
        Version::V5 => (connect_v5("a", true, &[]), Some(&[0x23, 0, 1]), b"\0\x07\0\0\x01x\x01"),
    };
    let rest = [
        publish(0, 0, "t/0", properties, b"zero"),
        publish(1, 1, "t/1", properties, &[b'1'; 300]),
        publish(2, 2, "t/2", properties, b""),
        vec![0x62, 2, 0, 2],
        packet(0x82, subscribe),
        vec![0xc0, 0],
        publish(1, 3, "t/3", properties, b"three"),
    ]
    .concat();
    let mut expected = vec![0x40, 2, 0, 1, 0x50, 2, 0, 2, 0x70, 2, 0, 2];
    match version {
        Version::V3 => expected.extend_from_slice(&[0x90, 3, 0, 7, 0x80]),
        Version::V5 => expected.extend_from_slice(&[0x90, 4, 0, 7, 0, 0x87]),
    }
    expected.extend_from_slice(&[0xd0, 0, 0x40, 2, 0, 3]);
    (connect, rest, expected)
}

#[test]
fn a_conversation_split_at_any_byte_gives_the_same_answers() {
    for version in [Version::V3, Version::V5] {
        let (connect, rest, expected) = conversation(version);
        let all = [connect.clone(), rest].concat();
        for split in 0..=all.len() {
            let world = World::new();
            let mut peer = world.connection();
            let (first, second) = all.split_at(split);
            let answers = [peer.says(first), peer.says(second)].concat();
            assert!(answers.ends_with(&expected), "split at {split}");
            assert_eq!(world.taken().len(), 4, "split at {split}");
        }
    }
}

#[test]
fn a_conversation_byte_by_byte_gives_the_same_answers() {
    for version in [Version::V3, Version::V5] {
        let (connect, rest, expected) = conversation(version);
        let world = World::new();
        let mut peer = world.connected(&connect);
        let answers: Vec<u8> = rest.iter().flat_map(|byte| peer.says(&[*byte])).collect();
        assert_eq!(answers, expected);
    }
}

#[test]
fn a_truncated_packet_is_waited_for_and_never_half_done() {
    for version in [Version::V3, Version::V5] {
        let (connect, rest, _) = conversation(version);
        let mut at = 0;
        while let Ok(Frame::Packet { len, .. }) = wire::frame(&rest[at..], usize::MAX) {
            let one = &rest[at..at + len];
            for cut in 0..len {
                let world = World::new();
                let mut peer = world.connected(&connect);
                let (out, flow) = peer.send(&one[..cut]);
                assert!(out.is_empty() && world.taken().is_empty());
                assert!(matches!(flow, Flow::Need(need) if need > cut && need <= len), "{flow:?}");
            }
            at += len;
        }
        assert_eq!(at, rest.len());
    }
}

#[test]
fn a_body_cut_short_under_a_length_that_fits_is_malformed_and_not_a_panic() {
    for version in [Version::V3, Version::V5] {
        let (connect, rest, _) = conversation(version);
        for whole in [connect.clone(), rest] {
            let mut at = 0;
            while let Ok(Frame::Packet { first, body, len }) = wire::frame(&whole[at..], usize::MAX) {
                for cut in 0..body.len() {
                    let world = World::new();
                    let mut peer = if whole == connect { world.connection() } else { world.connected(&connect) };
                    let _ = peer.send(&packet(first, &body[..cut]));
                }
                at += len;
            }
        }
    }
}

#[test]
fn a_length_of_more_than_four_bytes_is_malformed() {
    assert_eq!(wire::frame(&[0x30, 0xff, 0xff, 0xff, 0x80], usize::MAX), Err(FrameError::Length));
    assert_eq!(wire::frame(&[0x30, 0xff, 0xff, 0xff], usize::MAX), Ok(Frame::Incomplete { need: 5 }));
    assert_eq!(wire::frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1000), Err(FrameError::TooLarge { len: 268_435_460 }));
}

fn flags_and_body() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let topic = prop_oneof!["[a-z/+#é]{0,6}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..4)];
    let property = prop_oneof![
        Just(vec![0x01, 1]),
        Just(vec![0x02, 0, 0, 0, 9]),
        Just(vec![0x23, 0, 3]),
        Just(vec![0x23, 0, 0]),
        Just(vec![0x26, 0, 1, b'k', 0, 1, b'v']),
        Just(vec![0x11, 0, 0, 0, 1]),
        prop::collection::vec(any::<u8>(), 0..5),
    ];
    let properties = prop::collection::vec(property, 0..4).prop_map(|all| all.concat());
    let payload = prop::collection::vec(any::<u8>(), 0..20);
    (0u8..16, topic, any::<u16>(), properties, payload, 0usize..60).prop_map(
        |(flags, topic, id, props, payload, cut)| {
            let mut body = (topic.len() as u16).to_be_bytes().to_vec();
            body.extend_from_slice(&topic);
            if flags & 6 != 0 {
                body.extend_from_slice(&id.to_be_bytes());
            }
            body.push(props.len() as u8);
            body.extend_from_slice(&props);
            body.extend_from_slice(&payload);
            body.truncate(cut.max(1));
            (flags, body)
        },
    )
}

/// QoS, identifier, topic, alias and payload.
type Read = (u8, u16, String, Option<u16>, Vec<u8>);

/// A PUBLISH as the codec reads it, with the rules that it leaves to its user.
fn as_the_codec_reads(version: Version, flags: u8, body: &[u8]) -> Option<Read> {
    use mqtt_protocol_core::mqtt::packet::Property;
    let (qos, id, topic, alias, payload) = match version {
        Version::V3 => {
            let (packet, _) = v3_1_1::Publish::parse(flags, body.into()).ok()?;
            let payload = packet.payload().as_slice().to_vec();
            (packet.qos() as u8, packet.packet_id(), packet.topic_name().to_owned(), None, payload)
        }
        Version::V5 => {
            let (packet, _) = v5_0::Publish::parse(flags, body.into()).ok()?;
            if packet.props().iter().any(|property| matches!(property, Property::SubscriptionIdentifier(_))) {
                return None;
            }
            let alias = packet.props().iter().find_map(|property| match property {
                Property::TopicAlias(alias) => Some(alias.val()),
                _ => None,
            });
            let payload = packet.payload().as_slice().to_vec();
            (packet.qos() as u8, packet.packet_id(), packet.topic_name().to_owned(), alias, payload)
        }
    };
    let bad = topic.contains(['+', '#', '\0'])
        || (topic.is_empty() && alias.is_none())
        || id == Some(0)
        || (qos == 0 && flags & 8 != 0);
    (!bad).then_some((qos, id.unwrap_or(0), topic, alias, payload))
}

proptest! {
    #[test]
    fn publish_is_read_in_place_as_the_codec_reads_it((flags, body) in flags_and_body()) {
        for version in [Version::V3, Version::V5] {
            let ours = Publish::read(version, flags, &body)
                .ok()
                .map(|p| (p.qos, p.id, p.topic.to_owned(), p.alias, p.payload.to_vec()));
            prop_assert_eq!(ours, as_the_codec_reads(version, flags, &body));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(before in 0usize..3, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let world = World::new();
        let mut peer = match before {
            0 => world.connection(),
            1 => world.connected(&connect_v3("a", false)),
            _ => world.connected(&connect_v5("a", false, &[])),
        };
        let _ = peer.send(&bytes);
    }

    #[test]
    fn no_body_under_a_good_header_makes_it_panic(
        first in prop_oneof![Just(0x10u8), Just(0x32), Just(0x62), Just(0x82), Just(0xa2), Just(0xe0), Just(0x34)],
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..6], 0..60),
        before in 0usize..3,
    ) {
        let world = World::new();
        let body = match (before, first) {
            (0, _) => [&[0, 4, b'M', b'Q', b'T', b'T', 4 + (bytes.len() % 2) as u8], bytes.as_slice()].concat(),
            _ => bytes,
        };
        let mut peer = match before {
            0 => world.connection(),
            1 => world.connected(&connect_v3("a", false)),
            _ => world.connected(&connect_v5("a", false, &[])),
        };
        let (_, flow) = peer.send(&packet(first, &body));
        prop_assert!(!matches!(flow, Flow::Stalled));
    }
}

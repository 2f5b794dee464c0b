//! What the endpoint writes. Acknowledgements are a few fixed bytes; the rest is built by the codec.

use mqtt_protocol_core::mqtt::{
    packet::{
        AssignedClientIdentifier, MaximumPacketSize, Properties, Property, ReasonString, ReceiveMaximum,
        ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
        TopicAliasMaximum, WildcardSubscriptionAvailable, v3_1_1, v5_0,
    },
    result_code::{
        ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, SubackReasonCode, SubackReturnCode,
        UnsubackReasonCode,
    },
};

use super::{limits, wire::Version};

/// First byte of PUBACK.
pub(super) const PUBACK: u8 = 0x40;
/// First byte of PUBREC.
pub(super) const PUBREC: u8 = 0x50;
/// First byte of PUBCOMP.
pub(super) const PUBCOMP: u8 = 0x70;
/// PUBACK and PUBREC: not taken, the quota is exceeded (MQTT 5).
pub(super) const QUOTA_EXCEEDED: u8 = 0x97;
/// PUBCOMP: no such packet identifier is under way (MQTT 5).
pub(super) const NOT_FOUND: u8 = 0x92;

/// An acknowledgement of success, the same in both versions.
pub(super) fn ack(out: &mut Vec<u8>, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// An acknowledgement with a reason code, MQTT 5 only.
pub(super) fn nack(out: &mut Vec<u8>, first: u8, id: u16, code: u8) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 3, high, low, code]);
}

/// PINGRESP.
pub(super) fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// CONNACK of MQTT 3.1.1.
pub(super) fn connack_v3(out: &mut Vec<u8>, present: bool, code: ConnectReturnCode) {
    out.extend_from_slice(&[0x20, 2, u8::from(present), code as u8]);
}

/// What a CONNACK of MQTT 5 tells the client.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) present: bool,
    pub(super) max_packet: usize,
    /// The client identifier, where the server made it up.
    pub(super) assigned: Option<&'a str>,
    /// Seconds, where other than the client asked for.
    pub(super) keep_alive: Option<u16>,
    /// Seconds, where other than the client asked for.
    pub(super) expiry: Option<u32>,
}

/// CONNACK of MQTT 5 that accepts.
pub(super) fn welcome_v5(out: &mut Vec<u8>, terms: &Terms<'_>, limit: usize) {
    let packet = properties(terms).and_then(|props| {
        v5_0::Connack::builder()
            .session_present(terms.present)
            .reason_code(ConnectReasonCode::Success)
            .props(props)
            .build()
    });
    if let Ok(packet) = packet {
        push(out, &packet.to_continuous_buffer(), limit);
    }
}

fn properties(terms: &Terms<'_>) -> Result<Properties, MqttError> {
    let max_packet = u32::try_from(terms.max_packet).unwrap_or(u32::MAX);
    let mut props: Properties = vec![
        ReceiveMaximum::new(limits::QOS2_IDS as u16)?.into(),
        MaximumPacketSize::new(max_packet)?.into(),
        TopicAliasMaximum::new(limits::TOPIC_ALIASES)?.into(),
        WildcardSubscriptionAvailable::new(0)?.into(),
        SubscriptionIdentifierAvailable::new(0)?.into(),
        SharedSubscriptionAvailable::new(0)?.into(),
    ];
    if let Some(id) = terms.assigned {
        props.push(AssignedClientIdentifier::new(id)?.into());
    }
    if let Some(seconds) = terms.keep_alive {
        props.push(ServerKeepAlive::new(seconds)?.into());
    }
    if let Some(seconds) = terms.expiry {
        props.push(SessionExpiryInterval::new(seconds)?.into());
    }
    Ok(props)
}

/// CONNACK of MQTT 5 that refuses, with the reason in words.
pub(super) fn refuse_v5(out: &mut Vec<u8>, code: ConnectReasonCode, why: &str, limit: usize) {
    let build = |props| v5_0::Connack::builder().session_present(false).reason_code(code).props(props).build();
    if let Ok(packet) = reason(why).and_then(build) {
        push(out, &packet.to_continuous_buffer(), limit);
    }
}

/// DISCONNECT of MQTT 5, with the reason in words if the client takes packets that long.
pub(super) fn disconnect_v5(out: &mut Vec<u8>, code: DisconnectReasonCode, why: &str, limit: usize) {
    let build = |props| v5_0::Disconnect::builder().reason_code(code).props(props).build();
    let before = out.len();
    if let Ok(packet) = reason(why).and_then(build) {
        push(out, &packet.to_continuous_buffer(), limit);
    }
    if out.len() == before {
        push(out, &[0xe0, 1, code as u8], limit);
    }
}

fn reason(why: &str) -> Result<Properties, MqttError> {
    Ok(vec![Property::from(ReasonString::new(why)?)])
}

/// SUBACK that refuses every filter: this endpoint takes messages and sends none.
pub(super) fn suback<'a>(
    out: &mut Vec<u8>,
    version: Version,
    id: u16,
    filters: impl Iterator<Item = &'a str>,
    limit: usize,
) {
    let bytes = match version {
        Version::V3 => {
            let codes = filters.map(|_| SubackReturnCode::Failure).collect();
            v3_1_1::Suback::builder().packet_id(id).return_codes(codes).build().map(|p| p.to_continuous_buffer())
        }
        Version::V5 => {
            let codes = filters.map(refusal).collect();
            v5_0::Suback::builder().packet_id(id).reason_codes(codes).build().map(|p| p.to_continuous_buffer())
        }
    };
    if let Ok(bytes) = bytes {
        push(out, &bytes, limit);
    }
}

fn refusal(filter: &str) -> SubackReasonCode {
    if !valid_filter(filter) {
        SubackReasonCode::TopicFilterInvalid
    } else if filter.starts_with("$share/") {
        SubackReasonCode::SharedSubscriptionsNotSupported
    } else if filter.contains(['+', '#']) {
        SubackReasonCode::WildcardSubscriptionsNotSupported
    } else {
        SubackReasonCode::NotAuthorized
    }
}

/// Whether wildcards stand alone in their level, and `#` in the last one.
fn valid_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut good = !filter.is_empty() && !filter.contains('\0');
    while let Some(level) = levels.next() {
        good &= match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            _ => !level.contains(['+', '#']),
        };
    }
    good
}

/// UNSUBACK: there never was a subscription.
pub(super) fn unsuback(out: &mut Vec<u8>, version: Version, id: u16, filters: usize, limit: usize) {
    let bytes = match version {
        Version::V3 => v3_1_1::Unsuback::builder().packet_id(id).build().map(|p| p.to_continuous_buffer()),
        Version::V5 => {
            let codes = vec![UnsubackReasonCode::NoSubscriptionExisted; filters];
            v5_0::Unsuback::builder().packet_id(id).reason_codes(codes).build().map(|p| p.to_continuous_buffer())
        }
    };
    if let Ok(bytes) = bytes {
        push(out, &bytes, limit);
    }
}

/// Writes a packet unless the client said that it takes none so long; the standard wants it dropped then.
fn push(out: &mut Vec<u8>, packet: &[u8], limit: usize) {
    if packet.len() <= limit {
        out.extend_from_slice(packet);
    }
}

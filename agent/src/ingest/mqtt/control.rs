//! Every packet but PUBLISH, read by the codec.

use std::{sync::Arc, time::Duration};

use mqtt_protocol_core::mqtt::{
    packet::{Property, v3_1_1, v5_0},
    result_code::{ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError},
};
use pyralog_service::Verdict;

use super::{
    aliases::Aliases,
    close::CloseReason,
    connect::{self, Connect, Rejection, Will},
    connection::{Charged, Connection, Open, Step},
    reply,
    session::{Attached, Wanted},
    shared::Turn,
    wire::Version,
};

/// Handles a packet that is no PUBLISH.
pub(super) fn handle(connection: &mut Connection, first: u8, body: &[u8], turn: &mut Turn<'_>) -> Step {
    let Some(open) = connection.open.as_deref_mut() else {
        // Nothing else gets here before CONNECT.
        return connect(connection, body, turn);
    };
    match first {
        0x10 => Step::Close(CloseReason::Protocol("a second CONNECT")),
        0x62 => pubrel(open, connection.number, body, turn),
        0x82 => subscribe(open, body, turn),
        0xa2 => unsubscribe(open, body, turn),
        0xc0 if body.is_empty() => {
            reply::pong(turn.out);
            Step::Done
        }
        0xe0 => disconnect(open, body, turn),
        // These answer messages of the server, which sends none.
        0x40 | 0x50 | 0x70 => Step::Close(CloseReason::Protocol("an acknowledgement of a message it never got")),
        _ => Step::Close(CloseReason::Malformed("a packet of an unknown type or with wrong flags")),
    }
}

fn connect(connection: &mut Connection, body: &[u8], turn: &mut Turn<'_>) -> Step {
    let version = match connect::version(body) {
        Ok(version) => version,
        Err(rejection) => return reject(Version::V3, rejection, usize::MAX, turn),
    };
    let request = match Connect::read(version, body) {
        Ok(request) => request,
        Err(rejection) => return reject(version, rejection, usize::MAX, turn),
    };
    let config = &turn.shared.config;
    let verdict = turn.shared.access.read().judge(&request, connection.peer, &config.guesses, turn.now);
    match verdict {
        Verdict::Right => {}
        Verdict::Wrong => {
            turn.shared.counters.deny();
            let _ = reject(version, WRONG, request.client_limit, turn);
            return Step::Close(CloseReason::Unauthorized);
        }
        Verdict::ShutOut(_) => {
            turn.shared.counters.shut();
            return reject(version, SHUT_OUT, request.client_limit, turn);
        }
    }
    match admit(connection, &request, turn) {
        Ok(()) => Step::Done,
        Err(rejection) => reject(version, rejection, request.client_limit, turn),
    }
}

fn reject(version: Version, rejection: Rejection, limit: usize, turn: &mut Turn<'_>) -> Step {
    match (version, rejection.v3, rejection.v5) {
        (Version::V3, Some(code), _) => reply::connack_v3(turn.out, false, code),
        (Version::V5, _, Some(code)) => reply::refuse_v5(turn.out, code, rejection.why, limit),
        _ => {}
    }
    Step::Close(CloseReason::Refused(rejection.why))
}

const WRONG: Rejection = Rejection::new(
    Some(ConnectReturnCode::BadUserNameOrPassword),
    ConnectReasonCode::BadUserNameOrPassword,
    "wrong user name or password",
);

const SHUT_OUT: Rejection = Rejection::new(
    Some(ConnectReturnCode::NotAuthorized),
    ConnectReasonCode::ConnectionRateExceeded,
    "too many wrong passwords came from its address: no new one is looked at for up to a minute",
);

const NO_MEMORY: Rejection = Rejection::new(
    Some(ConnectReturnCode::ServerUnavailable),
    ConnectReasonCode::QuotaExceeded,
    "no memory under the cap for another session",
);

/// Lets a client in: its session, its will, the CONNACK.
fn admit(connection: &mut Connection, request: &Connect, turn: &mut Turn<'_>) -> Result<(), Rejection> {
    let config = &turn.shared.config;
    let assigned = if request.client_id.is_empty() { Some(made_up_id(connection.number)) } else { None };
    let client_id = assigned.as_deref().unwrap_or(&request.client_id);

    let asked = Duration::from_secs(u64::from(request.expiry));
    let expiry = asked.min(config.session_expiry);
    let longest = config.max_keep_alive.as_secs().clamp(1, u64::from(u16::MAX)) as u16;
    let keep_alive = match (request.version, request.keep_alive) {
        (Version::V5, 0) => longest,
        (Version::V5, seconds) => seconds.min(longest),
        // MQTT 3.1.1 cannot be told otherwise; none means a day.
        (Version::V3, 0) => u16::MAX,
        (Version::V3, seconds) => seconds,
    };
    let will = match &request.will {
        Some(will) => Some(charge_will(will, turn).ok_or(NO_MEMORY)?),
        None => None,
    };
    let room = connection.session_room.take().ok_or(NO_MEMORY)?;
    let wanted = Wanted {
        client_id,
        clean: request.clean,
        expiry,
        connection: connection.number,
        leash: Arc::clone(&connection.leash),
        room,
    };
    let Attached { session, present } = turn.shared.sessions.attach(wanted, turn.now);

    match request.version {
        Version::V3 => reply::connack_v3(turn.out, present, ConnectReturnCode::Accepted),
        Version::V5 => {
            let terms = reply::Terms {
                present,
                max_packet: config.max_packet,
                assigned: assigned.as_deref(),
                keep_alive: (keep_alive != request.keep_alive).then_some(keep_alive),
                expiry: (expiry != asked).then_some(expiry.as_secs() as u32),
            };
            reply::welcome_v5(turn.out, &terms, request.client_limit);
        }
    }
    connection.open = Some(Box::new(Open {
        version: request.version,
        session,
        expiry,
        patience: Duration::from_millis(1500 * u64::from(keep_alive)),
        will,
        aliases: Aliases::default(),
        client_limit: request.client_limit,
    }));
    Ok(())
}

fn charge_will(will: &Will, turn: &Turn<'_>) -> Option<Charged<Will>> {
    let bytes = (will.topic.len() + will.payload.len() + size_of::<Will>()) as u64;
    turn.shared.budget.reserve(bytes).map(|charge| Charged { value: will.clone(), _charge: charge })
}

/// A name for a client that has none. Random, so that no other client comes upon it.
fn made_up_id(connection: u64) -> String {
    let random = getrandom::u64().unwrap_or(0);
    format!("auto-{connection}-{random:016x}")
}

fn pubrel(open: &mut Open, number: u64, body: &[u8], turn: &mut Turn<'_>) -> Step {
    let id = match open.version {
        Version::V3 => exact(v3_1_1::Pubrel::parse(body), body).map(|packet| packet.packet_id()),
        Version::V5 => exact(v5_0::Pubrel::parse(body), body).map(|packet| packet.packet_id()),
    };
    let Ok(id) = id else { return malformed("a PUBREL that cannot be read") };
    let Some(mut ids) = open.session.qos2(number) else { return Step::Close(CloseReason::TakenOver) };
    let known = ids.remove(id);
    match (open.version, known) {
        (Version::V5, false) => reply::nack(turn.out, reply::PUBCOMP, id, reply::NOT_FOUND),
        _ => reply::ack(turn.out, reply::PUBCOMP, id),
    }
    Step::Done
}

fn subscribe(open: &mut Open, body: &[u8], turn: &mut Turn<'_>) -> Step {
    const FAULT: &str = "a SUBSCRIBE that cannot be read";
    let (version, limit) = (open.version, open.client_limit);
    match version {
        Version::V3 => match exact(v3_1_1::Subscribe::parse(body), body) {
            Ok(packet) if packet.packet_id() != 0 => {
                let filters = packet.entries().iter().map(|entry| entry.topic_filter());
                reply::suback(turn.out, version, packet.packet_id(), filters, limit);
                Step::Done
            }
            _ => malformed(FAULT),
        },
        Version::V5 => match exact(v5_0::Subscribe::parse(body), body) {
            Ok(packet) if packet.packet_id() != 0 => {
                let filters = packet.entries().iter().map(|entry| entry.topic_filter());
                reply::suback(turn.out, version, packet.packet_id(), filters, limit);
                Step::Done
            }
            _ => malformed(FAULT),
        },
    }
}

fn unsubscribe(open: &mut Open, body: &[u8], turn: &mut Turn<'_>) -> Step {
    let read = match open.version {
        Version::V3 => exact(v3_1_1::Unsubscribe::parse(body), body).map(|p| (p.packet_id(), p.entries().len())),
        Version::V5 => exact(v5_0::Unsubscribe::parse(body), body).map(|p| (p.packet_id(), p.entries().len())),
    };
    match read {
        Ok((id, filters)) if id != 0 => {
            reply::unsuback(turn.out, open.version, id, filters, open.client_limit);
            Step::Done
        }
        _ => malformed("an UNSUBSCRIBE that cannot be read"),
    }
}

fn disconnect(open: &mut Open, body: &[u8], turn: &Turn<'_>) -> Step {
    let graceful = Step::Close(CloseReason::Disconnected { with_will: false });
    if open.version == Version::V3 {
        return if body.is_empty() { graceful } else { malformed("a DISCONNECT with a body") };
    }
    let Ok(packet) = exact(v5_0::Disconnect::parse(body), body) else {
        return malformed("a DISCONNECT that cannot be read");
    };
    for property in packet.props().iter().flatten() {
        if let Property::SessionExpiryInterval(value) = property {
            if open.expiry.is_zero() && value.val() != 0 {
                return Step::Close(CloseReason::Protocol("a DISCONNECT that wants a session kept that ends now"));
            }
            open.expiry = Duration::from_secs(u64::from(value.val())).min(turn.shared.config.session_expiry);
        }
    }
    match packet.reason_code() {
        None | Some(DisconnectReasonCode::NormalDisconnection) => graceful,
        Some(_) => Step::Close(CloseReason::Disconnected { with_will: true }),
    }
}

fn malformed(what: &'static str) -> Step {
    Step::Close(CloseReason::Malformed(what))
}

/// A packet that takes up its whole body.
fn exact<T>(parsed: Result<(T, usize), MqttError>, body: &[u8]) -> Result<T, MqttError> {
    match parsed {
        Ok((packet, used)) if used == body.len() => Ok(packet),
        Ok(_) => Err(MqttError::MalformedPacket),
        Err(error) => Err(error),
    }
}

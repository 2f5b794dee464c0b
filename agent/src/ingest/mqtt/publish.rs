//! PUBLISH: into the sink first, acknowledged after.

use super::{
    aliases::AliasError,
    close::CloseReason,
    connection::{Connection, Open, Step},
    reply,
    session::Session,
    shared::Turn,
    wire::{Publish, PublishFault, Version},
};
use crate::ingest::PublishError;

/// What became of a message.
enum Outcome {
    Taken,
    /// A QoS 2 message that was taken before.
    Known,
    Full,
    Close(CloseReason),
}

impl Connection {
    /// Handles a PUBLISH whose first byte has the low bits `flags`.
    pub(super) fn publish(&mut self, flags: u8, body: &[u8], turn: &mut Turn<'_>) -> Step {
        let number = self.number;
        let Some(open) = self.open.as_deref_mut() else {
            return Step::Close(CloseReason::Protocol("a PUBLISH before CONNECT"));
        };
        let packet = match Publish::read(open.version, flags, body) {
            Ok(packet) => packet,
            Err(PublishFault::Malformed(what)) => return Step::Close(CloseReason::Malformed(what)),
            Err(PublishFault::Topic(what)) => return Step::Close(CloseReason::Topic(what)),
            Err(PublishFault::Alias) => return Step::Close(CloseReason::Alias),
        };
        let version = open.version;
        let outcome = match take_alias(open, &packet, turn) {
            Err(reason) => return Step::Close(reason),
            Ok(()) => {
                let topic = match packet.alias {
                    Some(alias) => open.aliases.topic(alias).unwrap_or(packet.topic),
                    None => packet.topic,
                };
                offer(&open.session, number, &packet, topic, turn)
            }
        };
        match outcome {
            Outcome::Taken | Outcome::Known => {
                let known = matches!(outcome, Outcome::Known);
                self.was_taken(turn.now);
                turn.tally.received += u64::from(!known);
                acknowledge(&packet, known, turn);
                Step::Done
            }
            Outcome::Full if self.gives_up(turn) => {
                turn.tally.refused += 1;
                refuse(version, &packet, turn)
            }
            Outcome::Full => Step::Stall,
            Outcome::Close(reason) => Step::Close(reason),
        }
    }
}

/// Sees to the alias of the packet, so that the topic can be looked up.
fn take_alias(open: &mut Open, packet: &Publish<'_>, turn: &Turn<'_>) -> Result<(), CloseReason> {
    let Some(alias) = packet.alias else { return Ok(()) };
    if packet.topic.is_empty() {
        return open.aliases.topic(alias).map(|_| ()).ok_or(CloseReason::Alias);
    }
    open.aliases.set(alias, packet.topic, &*turn.shared.budget).map_err(|error| match error {
        AliasError::Range => CloseReason::Alias,
        AliasError::NoMemory => CloseReason::NoMemory,
    })
}

/// Offers a message to the sink; a QoS 2 message whose identifier is known is not offered twice.
fn offer(session: &Session, number: u64, packet: &Publish<'_>, topic: &str, turn: &mut Turn<'_>) -> Outcome {
    if packet.qos < 2 {
        return sink(topic, packet.payload, turn);
    }
    let Some(mut ids) = session.qos2(number) else { return Outcome::Close(CloseReason::TakenOver) };
    if ids.contains(packet.id) {
        return Outcome::Known;
    }
    if ids.is_full() {
        return Outcome::Close(CloseReason::ReceiveMaximum);
    }
    if !ids.make_room(&*turn.shared.budget) {
        return Outcome::Close(CloseReason::NoMemory);
    }
    let outcome = sink(topic, packet.payload, turn);
    if matches!(outcome, Outcome::Taken) {
        ids.insert(packet.id);
    }
    outcome
}

fn sink(topic: &str, payload: &[u8], turn: &mut Turn<'_>) -> Outcome {
    match turn.shared.sink.publish(topic, payload, turn.scratch) {
        Ok(()) => Outcome::Taken,
        Err(PublishError::Full) => Outcome::Full,
        Err(PublishError::TooLarge { len, limit }) => {
            turn.tally.refused += 1;
            Outcome::Close(CloseReason::TooLarge { len, limit })
        }
    }
}

fn acknowledge(packet: &Publish<'_>, known: bool, turn: &mut Turn<'_>) {
    match packet.qos {
        0 => return,
        1 => reply::ack(turn.out, reply::PUBACK, packet.id),
        _ => reply::ack(turn.out, reply::PUBREC, packet.id),
    }
    turn.tally.acked += u64::from(!known);
}

/// Says honestly that a message was not taken.
fn refuse(version: Version, packet: &Publish<'_>, turn: &mut Turn<'_>) -> Step {
    let first = match (packet.qos, version) {
        // Nobody waits for an answer.
        (0, _) => return Step::Done,
        (_, Version::V3) => return Step::Close(CloseReason::Full),
        (1, Version::V5) => reply::PUBACK,
        (_, Version::V5) => reply::PUBREC,
    };
    reply::nack(turn.out, first, packet.id, reply::QUOTA_EXCEEDED);
    Step::Done
}

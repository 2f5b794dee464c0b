//! What is read on the hot path: the fixed header, and PUBLISH as a view into the input.
//!
//! All other packets go through the codec of `mqtt-protocol-core`. Its PUBLISH copies the packet and the topic to the
//! heap, two allocations a message, so this one packet is read in place; a property test holds the two readers equal.

/// The protocol versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.0.
    V5,
}

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A packet begins here and goes on past the input: at least `need` bytes are wanted, those present included.
    Incomplete { need: usize },
    /// A whole packet: its first byte, what follows the fixed header, and the length of it all.
    Packet { first: u8, body: &'a [u8], len: usize },
}

/// Why no packet can begin here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// The length takes more than four bytes.
    Length,
    /// The packet is longer than the limit.
    TooLarge { len: usize },
}

/// Looks at the packet that `input` begins with; `limit` bounds its whole length.
pub(super) fn frame(input: &[u8], limit: usize) -> Result<Frame<'_>, FrameError> {
    let Some((&first, rest)) = input.split_first() else { return Ok(Frame::Incomplete { need: 2 }) };
    let Some((length, size)) = varint(rest)? else { return Ok(Frame::Incomplete { need: input.len() + 1 }) };
    let len = 1 + size + length;
    if len > limit {
        return Err(FrameError::TooLarge { len });
    }
    match rest.get(size..size + length) {
        Some(body) => Ok(Frame::Packet { first, body, len }),
        None => Ok(Frame::Incomplete { need: len }),
    }
}

/// A variable byte integer and its size, or `None` when it goes on past `bytes`.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let mut value = 0usize;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(FrameError::Length) }
}

/// A PUBLISH packet, borrowed from the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    /// 0, 1 or 2.
    pub(super) qos: u8,
    /// Packet identifier; 0 for QoS 0, never 0 otherwise.
    pub(super) id: u16,
    /// Topic name; empty only beside an alias.
    pub(super) topic: &'a str,
    /// Topic alias; never 0.
    pub(super) alias: Option<u16>,
    /// The message.
    pub(super) payload: &'a [u8],
}

/// Why a PUBLISH cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublishFault {
    /// Against the layout or the rules of the packet.
    Malformed(&'static str),
    /// The topic name is none.
    Topic(&'static str),
    /// The alias is 0.
    Alias,
}

impl<'a> Publish<'a> {
    /// Reads the `body` of a PUBLISH whose first byte has the low four bits `flags`.
    pub(super) fn read(version: Version, flags: u8, body: &'a [u8]) -> Result<Self, PublishFault> {
        use PublishFault::Malformed;
        let qos = (flags >> 1) & 3;
        if qos == 3 {
            return Err(Malformed("a PUBLISH with QoS 3"));
        }
        if qos == 0 && flags & 8 != 0 {
            return Err(Malformed("a PUBLISH with QoS 0 and the DUP flag"));
        }
        let (topic, rest) = prefixed(body).ok_or(Malformed("a PUBLISH that ends inside its topic"))?;
        let topic = std::str::from_utf8(topic).map_err(|_| PublishFault::Topic("a topic that is not UTF-8"))?;
        if topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
            return Err(PublishFault::Topic("a topic with a wildcard or a NUL"));
        }
        let (id, rest) = match (qos, rest) {
            (0, rest) => (0, rest),
            (_, [0, 0, ..]) => return Err(Malformed("a PUBLISH with packet identifier 0")),
            (_, [high, low, rest @ ..]) => (u16::from_be_bytes([*high, *low]), rest),
            _ => return Err(Malformed("a PUBLISH that ends inside its packet identifier")),
        };
        let (alias, payload) = match version {
            Version::V3 => (None, rest),
            Version::V5 => properties(rest)?,
        };
        if topic.is_empty() && alias.is_none() {
            return Err(PublishFault::Topic("an empty topic"));
        }
        Ok(Self { qos, id, topic, alias, payload })
    }
}

/// Splits a field with a two-byte length off.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// The topic alias among the properties, and what follows them. Nothing is kept of the others, and nothing allocated
/// for them: a packet full of tiny properties would take many times its size.
fn properties(bytes: &[u8]) -> Result<(Option<u16>, &[u8]), PublishFault> {
    const UNREADABLE: PublishFault = PublishFault::Malformed("a PUBLISH with properties that cannot be read");
    if bytes.is_empty() {
        return Ok((None, bytes));
    }
    let (length, size) = varint(bytes).map_err(|_| UNREADABLE)?.ok_or(UNREADABLE)?;
    let (mut rest, payload) = bytes.get(size..).unwrap_or_default().split_at_checked(length).ok_or(UNREADABLE)?;
    let mut alias = None;
    let mut seen = 0u64;
    while let Some((&id, value)) = rest.split_first() {
        let (value, after) = match id {
            // Payload format indicator.
            0x01 => value.split_at_checked(1).filter(|(value, _)| matches!(value, [0 | 1])),
            // Message expiry interval.
            0x02 => value.split_at_checked(4),
            // Content type, response topic.
            0x03 | 0x08 => text(value),
            // Correlation data.
            0x09 => prefixed(value),
            // Topic alias.
            0x23 => value.split_at_checked(2),
            // User property: a name and a value.
            0x26 => text(value).and_then(|(_, value)| text(value)),
            _ => return Err(PublishFault::Malformed("a PUBLISH with a property that does not belong to it")),
        }
        .ok_or(UNREADABLE)?;
        if id != 0x26 && seen & (1 << id) != 0 {
            return Err(PublishFault::Malformed("a PUBLISH that has a property twice"));
        }
        seen |= 1 << id;
        if let (0x23, [high, low]) = (id, value) {
            alias = Some(u16::from_be_bytes([*high, *low]));
        }
        rest = after;
    }
    if alias == Some(0) { Err(PublishFault::Alias) } else { Ok((alias, payload)) }
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    prefixed(bytes).filter(|(text, _)| std::str::from_utf8(text).is_ok())
}

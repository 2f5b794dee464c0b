//! CONNECT of both versions, brought to one form.

use mqtt_protocol_core::mqtt::{
    packet::{Properties, Property, v3_1_1, v5_0},
    result_code::{ConnectReasonCode, ConnectReturnCode, MqttError},
};

use super::{limits, wire::Version};

/// What a client asks for. Its `Debug` form leaves the password out.
pub(super) struct Connect {
    pub(super) version: Version,
    /// May be empty: then the server makes one up.
    pub(super) client_id: String,
    pub(super) clean: bool,
    /// Seconds; 0 for none.
    pub(super) keep_alive: u16,
    /// Seconds for which the session outlives the connection; `u32::MAX` for ever.
    pub(super) expiry: u32,
    pub(super) name: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) will: Option<Will>,
    /// Longest packet that the client takes.
    pub(super) client_limit: usize,
}

/// A message to be published when the client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// Seconds to wait for the client to come back first.
    pub(super) delay: u32,
}

/// A CONNECT that is not accepted; the answer is a CONNACK with one of these codes, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The answer in MQTT 3.1.1; `None` where the standard wants the connection closed without one.
    pub(super) v3: Option<ConnectReturnCode>,
    /// The answer in MQTT 5; `None` when the version is unknown.
    pub(super) v5: Option<ConnectReasonCode>,
    /// For the log.
    pub(super) why: &'static str,
}

impl Rejection {
    pub(super) const fn new(v3: Option<ConnectReturnCode>, v5: ConnectReasonCode, why: &'static str) -> Self {
        Self { v3, v5: Some(v5), why }
    }

    const fn malformed(why: &'static str) -> Self {
        Self::new(None, ConnectReasonCode::MalformedPacket, why)
    }
}

/// The version that the body of a CONNECT asks for.
pub(super) fn version(body: &[u8]) -> Result<Version, Rejection> {
    let unknown = Rejection {
        v3: Some(ConnectReturnCode::UnacceptableProtocolVersion),
        v5: None,
        why: "a protocol version other than 3.1.1 and 5.0: set the client to one of these",
    };
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(Version::V3),
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Ok(Version::V5),
        [0, 4, b'M', b'Q', b'T', b'T', _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Err(unknown),
        _ => Err(Rejection { v3: None, v5: None, why: "a first packet that is no CONNECT of MQTT" }),
    }
}

impl Connect {
    /// Reads the body of a CONNECT of `version`.
    pub(super) fn read(version: Version, body: &[u8]) -> Result<Self, Rejection> {
        check_flags(*body.get(7).ok_or(Rejection::malformed("a CONNECT that ends inside its header"))?)?;
        let connect = match version {
            Version::V3 => {
                let (packet, used) = v3_1_1::Connect::parse(body).map_err(refuse)?;
                whole(used, body)?;
                Self::from_v3(&packet)
            }
            Version::V5 => {
                let (packet, used) = v5_0::Connect::parse(body).map_err(refuse)?;
                whole(used, body)?;
                Self::from_v5(&packet)?
            }
        };
        connect.check()?;
        Ok(connect)
    }

    fn from_v3(packet: &v3_1_1::Connect) -> Self {
        let will = packet.will_topic().zip(packet.will_payload());
        Self {
            version: Version::V3,
            client_id: packet.client_id().to_owned(),
            clean: packet.clean_session(),
            keep_alive: packet.keep_alive(),
            expiry: if packet.clean_session() { 0 } else { u32::MAX },
            name: packet.user_name().map(str::to_owned),
            password: packet.password().map(<[u8]>::to_vec),
            will: will.map(|(topic, payload)| Will { topic: topic.to_owned(), payload: payload.to_vec(), delay: 0 }),
            client_limit: usize::MAX,
        }
    }

    fn from_v5(packet: &v5_0::Connect) -> Result<Self, Rejection> {
        let (mut expiry, mut client_limit) = (0, usize::MAX);
        for property in packet.props() {
            match property {
                Property::SessionExpiryInterval(value) => expiry = value.val(),
                Property::MaximumPacketSize(value) => client_limit = usize::try_from(value.val()).unwrap_or(usize::MAX),
                Property::AuthenticationMethod(_) => {
                    let why = "enhanced authentication, which is not supported: use a name and a password";
                    return Err(Rejection::new(None, ConnectReasonCode::BadAuthenticationMethod, why));
                }
                _ => {}
            }
        }
        let will = packet.will_topic().zip(packet.will_payload());
        let delay = will_delay(packet.will_props());
        Ok(Self {
            version: Version::V5,
            client_id: packet.client_id().to_owned(),
            clean: packet.clean_start(),
            keep_alive: packet.keep_alive(),
            expiry,
            name: packet.user_name().map(str::to_owned),
            password: packet.password().map(<[u8]>::to_vec),
            will: will.map(|(topic, payload)| Will { topic: topic.to_owned(), payload: payload.to_vec(), delay }),
            client_limit,
        })
    }

    /// What the codec leaves to the server.
    fn check(&self) -> Result<(), Rejection> {
        let bad_id = |why| {
            Err(Rejection::new(
                Some(ConnectReturnCode::IdentifierRejected),
                ConnectReasonCode::ClientIdentifierNotValid,
                why,
            ))
        };
        if self.client_id.len() > limits::CLIENT_ID_BYTES {
            return bad_id("a client identifier over 256 bytes");
        }
        if self.client_id.contains('\0') {
            return bad_id("a client identifier with a NUL");
        }
        if self.version == Version::V3 && self.client_id.is_empty() && !self.clean {
            return bad_id(
                "an empty client identifier with clean_session=0: name the client or ask for a clean session",
            );
        }
        match &self.will {
            Some(will) if will.topic.is_empty() || will.topic.contains(['+', '#', '\0']) => Err(Rejection::new(
                None,
                ConnectReasonCode::TopicNameInvalid,
                "a will whose topic is empty or has a wildcard",
            )),
            _ => Ok(()),
        }
    }
}

fn will_delay(properties: &Properties) -> u32 {
    properties
        .iter()
        .find_map(|p| if let Property::WillDelayInterval(delay) = p { Some(delay.val()) } else { None })
        .unwrap_or(0)
}

/// Checks the connect flags, which the codec does not.
fn check_flags(flags: u8) -> Result<(), Rejection> {
    let (will, will_qos, will_retain) = (flags & 4 != 0, (flags >> 3) & 3, flags & 0x20 != 0);
    if flags & 1 != 0 {
        return Err(Rejection::malformed("a CONNECT with the reserved flag set"));
    }
    if will_qos == 3 || (!will && (will_qos != 0 || will_retain)) {
        return Err(Rejection::malformed("a CONNECT whose will flags contradict each other"));
    }
    Ok(())
}

fn whole(used: usize, body: &[u8]) -> Result<(), Rejection> {
    if used == body.len() { Ok(()) } else { Err(Rejection::malformed("a CONNECT with bytes after its end")) }
}

fn refuse(error: MqttError) -> Rejection {
    let code = ConnectReasonCode::try_from(u8::try_from(error as u16).unwrap_or(0x81))
        .unwrap_or(ConnectReasonCode::MalformedPacket);
    match error {
        MqttError::ClientIdentifierNotValid => {
            Rejection::new(Some(ConnectReturnCode::IdentifierRejected), code, "a client identifier that cannot be read")
        }
        MqttError::BadUserNameOrPassword => Rejection::new(
            Some(ConnectReturnCode::BadUserNameOrPassword),
            code,
            "a user name or password that cannot be read",
        ),
        MqttError::ProtocolError => Rejection::new(None, code, "a CONNECT against the rules of the protocol"),
        _ => Rejection::new(None, code, "a CONNECT that cannot be read"),
    }
}

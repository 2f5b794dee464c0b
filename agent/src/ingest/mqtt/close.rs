//! Why a connection ends, and what follows from that: the farewell, the will, the log line.

use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode as Code;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseReason {
    #[error("the client disconnected")]
    Disconnected {
        /// Whether the client wants its will published all the same.
        with_will: bool,
    },
    #[error("the connection broke off: {0}")]
    Broken(std::io::Error),
    #[error("the client hung up without DISCONNECT")]
    HungUp,
    #[error("no CONNECT within the time allowed")]
    ConnectTimeout,
    #[error("nothing heard for one and a half times the keep-alive")]
    KeepAlive,
    #[error("the client does not read its acknowledgements")]
    NotReading,
    #[error("another connection took the client identifier over")]
    TakenOver,
    #[error("the agent is shutting down")]
    Shutdown,
    #[error("too many connections, and it was silent for longest")]
    Crowded,
    /// The CONNACK said no.
    #[error("it was refused: {0}")]
    Refused(&'static str),
    /// Wrong name or password; the CONNACK said so.
    #[error("it was refused: wrong user name or password")]
    Unauthorized,
    #[error("malformed packet: it sent {0}")]
    Malformed(&'static str),
    #[error("protocol error: it sent {0}")]
    Protocol(&'static str),
    #[error("topic name invalid: it sent {0}")]
    Topic(&'static str),
    #[error("it used a topic alias that is 0, unknown or over the maximum")]
    Alias,
    #[error("it sent a packet of {len} bytes; the limit is {limit} (see max_packet)")]
    TooLarge { len: usize, limit: usize },
    #[error("it has more QoS 2 messages under way than the Receive Maximum")]
    ReceiveMaximum,
    #[error("the ring stayed full and refused its message")]
    Full,
    #[error("no memory under the cap for its packet or answers")]
    NoMemory,
}

impl CloseReason {
    /// The reason code of the DISCONNECT that MQTT 5 sends; `None` where none can be or need be sent.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Disconnected { .. } | Self::Broken(_) | Self::HungUp | Self::NotReading => None,
            Self::ConnectTimeout | Self::Refused(_) | Self::Unauthorized => None,
            Self::KeepAlive => Some(Code::KeepAliveTimeout),
            Self::TakenOver => Some(Code::SessionTakenOver),
            Self::Shutdown => Some(Code::ServerShuttingDown),
            Self::Crowded => Some(Code::ServerBusy),
            Self::Malformed(_) => Some(Code::MalformedPacket),
            Self::Protocol(_) => Some(Code::ProtocolError),
            Self::Topic(_) => Some(Code::TopicNameInvalid),
            Self::Alias => Some(Code::TopicAliasInvalid),
            Self::TooLarge { .. } => Some(Code::PacketTooLarge),
            Self::ReceiveMaximum => Some(Code::ReceiveMaximumExceeded),
            Self::Full | Self::NoMemory => Some(Code::QuotaExceeded),
        }
    }

    /// Whether the will is to be published.
    pub(super) fn wants_will(&self) -> bool {
        match self {
            Self::Disconnected { with_will } => *with_will,
            // The client is alive; it is the agent that goes.
            Self::Shutdown => false,
            _ => true,
        }
    }

    /// Whether the peer broke the protocol.
    pub(super) fn is_misbehaviour(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::Protocol(_)
                | Self::Topic(_)
                | Self::Alias
                | Self::TooLarge { .. }
                | Self::ReceiveMaximum
        )
    }

    /// Whether an operator wants to read of it.
    pub(super) fn is_remarkable(&self) -> bool {
        !matches!(self, Self::Disconnected { .. } | Self::Shutdown)
    }
}

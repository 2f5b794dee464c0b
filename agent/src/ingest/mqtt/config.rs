//! What the endpoint can be told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pyralog_service::Guesses;

use super::access::Access;
use crate::tls::door::Door;

/// Settings of the MQTT endpoint.
#[derive(Debug, Clone)]
pub struct MqttServerConfig {
    /// Where to listen; the server that is given a bound listener does not look at it.
    pub listen: SocketAddr,
    /// TLS for every connection; `None` is plain TCP.
    pub tls: Option<Door>,
    /// Who may connect.
    pub access: Access,
    /// Where wrong passwords are counted.
    pub guesses: Arc<Guesses>,
    /// Connections at one time; more are closed at once.
    pub max_connections: usize,
    /// Largest packet in bytes, headers included; told to MQTT 5 clients.
    pub max_packet: usize,
    /// Sessions kept for clients that are away; the longest absent goes first.
    pub max_sessions: usize,
    /// Longest time for which the session of an absent client is kept.
    pub session_expiry: Duration,
    /// Time from the connection to a good CONNECT, the TLS handshake included.
    pub connect_timeout: Duration,
    /// Longest keep-alive; told to MQTT 5 clients that ask for more or for none.
    pub max_keep_alive: Duration,
    /// How long a message that the full ring does not take is offered again before it is refused (MQTT 5: reason
    /// 0x97) or the connection closed (3.1.1, which has no way to refuse).
    pub full_patience: Duration,
}

impl MqttServerConfig {
    /// Defaults for a small board: anonymous, plain TCP, 10,000 connections, packets up to 256 KiB.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            access: Access::Anonymous,
            guesses: Arc::default(),
            max_connections: 10_000,
            max_packet: 256 * 1024,
            max_sessions: 1_000,
            session_expiry: Duration::from_secs(24 * 3600),
            connect_timeout: Duration::from_secs(10),
            max_keep_alive: Duration::from_secs(3600),
            full_patience: Duration::from_secs(30),
        }
    }
}

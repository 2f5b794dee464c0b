//! The caps of the endpoint that are not settings, and what they bound.

use std::time::Duration;

/// Longest first packet, in bytes: before CONNECT nobody is known, so little is held for them.
pub(super) const CONNECT_BYTES: usize = 8 * 1024;

/// Longest packet other than PUBLISH, in bytes; the codec turns those into owned values, up to twenty times as large.
pub(super) const CONTROL_BYTES: usize = 8 * 1024;

/// Longest client identifier, in bytes.
pub(super) const CLIENT_ID_BYTES: usize = 256;

/// QoS 2 messages of one session between PUBREC and PUBREL; the Receive Maximum told to MQTT 5 clients.
pub(super) const QOS2_IDS: usize = 1024;

/// Topic aliases of one connection, the Topic Alias Maximum told to MQTT 5 clients.
pub(super) const TOPIC_ALIASES: u16 = 16;

/// Bytes charged for a connection: its task, socket and small buffers.
pub(super) const CONNECTION_COST: u64 = 4 * 1024;

/// Bytes charged for a session, the longest client identifier among them.
pub(super) const SESSION_COST: u64 = 256 + CLIENT_ID_BYTES as u64;

/// QoS 2 identifiers that a session may keep within [`SESSION_COST`]; more are charged on their own.
pub(super) const FREE_QOS2_IDS: usize = 16;

/// Bytes of input or output that a connection may keep within [`CONNECTION_COST`]; more is charged on its own.
pub(super) const FREE_BUFFER: usize = 1024;

/// Largest read; the buffer belongs to the worker thread, not to a connection.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// First wait before a message is offered to the full ring again; doubles up to [`RETRY_LONGEST`].
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(20);
/// Longest wait between two offers.
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// How long a peer may take to read what was written to it, and the farewell at the end.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a closing connection may take to read the farewell.
pub(super) const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// How often a newcomer makes others leave before it is turned away, and how long it waits for one to be gone.
pub(super) const ROOM_TRIES: u32 = 4;
/// See [`ROOM_TRIES`].
pub(super) const ROOM_PATIENCE: Duration = Duration::from_millis(50);

/// Longest wait before a will with a delay is published.
pub(super) const WILL_DELAY: Duration = Duration::from_secs(300);

const _: () = assert!(CONNECT_BYTES <= CONTROL_BYTES);
const _: () = assert!(QOS2_IDS <= u16::MAX as usize);
const _: () = assert!(2 * FREE_BUFFER < CONNECTION_COST as usize);

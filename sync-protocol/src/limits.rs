//! Every cap of the protocol, and the relations between them that the code relies on.

/// Bytes of an agent id: it is a path segment and a metrics label, so it stays short.
pub const MAX_AGENT_ID: usize = 64;
/// Bytes of a log's name.
pub const MAX_LOG_NAME: usize = 255;
/// Logs that one hello or batch may name.
pub const MAX_LOGS: usize = 2_048;
/// Frames in one batch.
pub const MAX_FRAMES: usize = 8_192;
/// Bytes of a frame's header.
pub const MAX_FRAME_HEADER: usize = 1_024;
/// Bytes of a frame's body.
pub const MAX_FRAME_BODY: usize = 8 << 20;
/// Bytes of one request, whatever a hub is configured to take.
pub const MAX_BATCH: usize = 16 << 20;
/// The least that a sender takes a hub's limit for: a receipt with its log always fits, so that losses can be told of.
pub const MIN_BATCH: usize = 4 << 10;
/// Records in one segment.
pub const MAX_SEGMENT_ROWS: u32 = 1 << 20;
/// Bytes of an encoded schema (512 columns with names of 255 bytes, and room).
pub const MAX_SCHEMA: usize = 256 << 10;
/// Bytes of the explanation in a refusal.
pub const MAX_DETAIL: usize = 256;
/// Bytes of a stored entry's envelope, without the frame inside.
pub const MAX_ENVELOPE: usize = 256;
/// Incarnations that an epoch record remembers, so that a hello from a dead one is known for what it is.
pub const MAX_PAST_INCARNATIONS: usize = 256;
/// How often a hub re-reads a chain that others write to before it answers `busy`.
pub const MAX_CHAIN_RETRIES: u32 = 8;
/// How often a sender ships a segment that the hub calls corrupt before it gives it up and says so in a receipt.
pub const MAX_CORRUPT_RETRIES: u32 = 3;
/// Schemas that a sender remembers as known to the hub.
pub const MAX_KNOWN_SCHEMAS: usize = 4_096;

/// Bytes of a sidecar frame's payload. COBS then needs exactly one more byte, so a frame is coded where it stands.
pub const SIDECAR_MAX_PAYLOAD: usize = 254;
/// Bytes of a sidecar frame on the link: code bytes and the delimiter on top.
pub const SIDECAR_MAX_FRAME: usize = SIDECAR_MAX_PAYLOAD + 2;
/// Bytes of a frame from the agent on the link.
pub const SIDECAR_MAX_REPLY: usize = 32;
/// Bytes of version, kind and checksum in a sidecar frame.
pub const SIDECAR_OVERHEAD: usize = 2 + 4;
/// Bytes of a record as firmware buffers it: a frame also has two numbers of at most ten and five bytes.
pub const SIDECAR_MAX_RECORD: usize = SIDECAR_MAX_PAYLOAD - SIDECAR_OVERHEAD - 10 - 5;
/// Bytes of the name of a device, of a log, and of a field or tag on a sidecar link.
pub const SIDECAR_MAX_NAME: usize = 64;
/// Devices that an agent keeps apart in one lifetime.
pub const SIDECAR_MAX_DEVICES: usize = 256;
/// Lives of one device that an agent remembers.
pub const SIDECAR_MAX_BOOTS: usize = 4;
/// Bytes of answers that wait for a device to read them; more are not made, and the device's timer asks again.
pub const SIDECAR_MAX_UNSENT: usize = 1_024;

/// Bytes of kind, flags, both lengths and checksum around a frame's header and body.
pub const MAX_FRAME_OVERHEAD: usize = 2 + 5 + 5 + 4;

const _: () = assert!(MAX_FRAME_BODY + MAX_FRAME_HEADER + MAX_FRAME_OVERHEAD < MAX_BATCH);
const _: () = assert!(MIN_BATCH < MAX_BATCH);
const _: () = assert!(MAX_SCHEMA <= MAX_FRAME_BODY);
const _: () = assert!(MAX_LOG_NAME + 64 <= MAX_FRAME_HEADER);
const _: () = assert!(MAX_DETAIL + MAX_LOG_NAME + 64 <= MAX_FRAME_HEADER);
// A hello names all logs in one body: name, length byte(s), tail and head at ten bytes each.
const _: () = assert!(MAX_LOGS * (MAX_LOG_NAME + 2 + 20) <= MAX_FRAME_BODY);
// An acknowledgement names them with a cursor: six varints and a flag.
const _: () = assert!(MAX_LOGS * (MAX_LOG_NAME + 2 + 61) <= MAX_FRAME_BODY);
// Each log of a batch needs at least its own frame and one more.
const _: () = assert!(MAX_LOGS * 2 < MAX_FRAMES);
// What a sidecar device says of itself: a boot id, four numbers, its name.
const _: () = assert!(SIDECAR_OVERHEAD + 8 + 4 * 10 + 1 + SIDECAR_MAX_NAME <= SIDECAR_MAX_PAYLOAD);
// An answer to it: a boot id or code, and a number.
const _: () = assert!(SIDECAR_OVERHEAD + 8 + 10 + 2 <= SIDECAR_MAX_REPLY);
// A buffered record has its length in one byte.
const _: () = assert!(SIDECAR_MAX_RECORD <= u8::MAX as usize);
const _: () = assert!(SIDECAR_MAX_NAME <= MAX_LOG_NAME);

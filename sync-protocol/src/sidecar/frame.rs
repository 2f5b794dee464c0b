//! Frames on the link: COBS, so that no byte inside is the delimiter, and a checksum.
//!
//! A payload of at most 254 bytes takes exactly one byte more in COBS, and coding can be done where it stands: the
//! zeros and one byte before them become the code bytes. So a device needs one buffer and no second.

use crc::{CRC_32_ISCSI, Crc, NoTable};
use heapless::{Vec, VecView};

use crate::limits::{SIDECAR_MAX_FRAME, SIDECAR_OVERHEAD};
use crate::wire::WireError;

/// Bit by bit: a table would take more flash than all the rest of this, and links are slow.
static CASTAGNOLI: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// Why bytes between two delimiters are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No COBS: bytes are missing, or this is no frame at all.
    #[error("bytes that are no frame: some were lost, or the other side speaks something else (check the baud rate)")]
    Framing,
    /// More bytes than a frame has.
    #[error("more than {limit} bytes without a delimiter: the other side speaks something else (check the baud rate)")]
    TooLong {
        /// The cap.
        limit: usize,
    },
    /// The checksum does not match.
    #[error("the checksum of a frame does not match: bytes were damaged on the link")]
    Checksum,
    /// A version that this side does not speak.
    #[error("the other side speaks version {0} of the sidecar protocol, this one another: update the older")]
    Version(u8),
    /// A kind that this version does not know, or that does not go this way.
    #[error("frame kind {0} is unknown to this version, or goes the other way")]
    UnknownKind(u8),
    /// A value inside is wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What does not fit into a frame or record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// One frame under construction, then as it goes over the link: a delimiter, the frame, a delimiter.
#[derive(Debug, Clone)]
pub struct Frame(Vec<u8, { SIDECAR_MAX_FRAME + 1 }>);

impl Frame {
    /// An empty frame, which has nothing to send.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The bytes to send. The first one ends whatever came before; between whole frames it is not needed.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes a frame whose payload, but for the checksum, is what `fill` appends; an empty one if that is too long.
    pub(super) fn make(&mut self, fill: impl FnOnce(&mut VecView<u8>) -> Result<(), Full>) {
        self.0.clear();
        // The delimiter, and room for the first code byte.
        let made = self.0.extend_from_slice(&[0, 0]).map_err(|_| Full).and_then(|()| fill(self.0.as_mut_view()));
        let sum = CASTAGNOLI.checksum(self.0.get(2..).unwrap_or_default()).to_le_bytes();
        if made.is_err() || self.0.extend_from_slice(&sum).is_err() || self.0.len() >= self.0.capacity() {
            debug_assert!(false, "a message is longer than its caps allow");
            self.0.clear();
            return;
        }
        if let Some(coded) = self.0.get_mut(1..) {
            code(coded);
        }
        // There is room: that was just looked at.
        let _ = self.0.push(0);
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

/// Turns a free byte and a payload into COBS, where they stand. The slice is at most 255 bytes.
fn code(bytes: &mut [u8]) {
    let mut since = 1;
    // From the back, so that each code byte is known when its place is met.
    for byte in bytes.iter_mut().skip(1).rev() {
        if *byte == 0 {
            *byte = since;
            since = 1;
        } else {
            since = since.saturating_add(1);
        }
    }
    if let Some(first) = bytes.first_mut() {
        *first = since;
    }
}

/// The payload of what stands in COBS, where it stands; `None` if it is no COBS.
fn decode(bytes: &mut [u8]) -> Option<&[u8]> {
    let mut at = 0;
    while at < bytes.len() {
        let code = core::mem::take(bytes.get_mut(at)?);
        if code == 0 {
            return None;
        }
        at += usize::from(code);
    }
    if at == bytes.len() { bytes.get(1..) } else { None }
}

/// Finds the frames in a stream of bytes. `N` bounds a frame with its code byte; longer ones are skipped.
#[derive(Debug, Clone)]
pub struct Deframer<const N: usize> {
    bytes: Vec<u8, N>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Gathering,
    /// Everything up to the next delimiter is skipped.
    Skipping,
    /// The bytes were given out.
    Given,
}

impl<const N: usize> Deframer<N> {
    /// One that has seen nothing yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), state: State::Gathering }
    }

    /// Forgets what it has gathered.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.state = State::Gathering;
    }

    /// Takes one byte. At the end of a frame gives the payload without its checksum, or says what is wrong with it.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], LinkError>> {
        if self.state == State::Given {
            self.clear();
        }
        if byte != 0 {
            if self.state == State::Gathering && self.bytes.push(byte).is_err() {
                self.state = State::Skipping;
            }
            return None;
        }
        let skipped = self.state == State::Skipping;
        self.state = State::Given;
        if skipped {
            return Some(Err(LinkError::TooLong { limit: N }));
        }
        if self.bytes.is_empty() {
            return None;
        }
        Some(open(&mut self.bytes))
    }
}

impl<const N: usize> Default for Deframer<N> {
    fn default() -> Self {
        Self::new()
    }
}

fn open(coded: &mut [u8]) -> Result<&[u8], LinkError> {
    let payload = decode(coded).filter(|payload| payload.len() >= SIDECAR_OVERHEAD).ok_or(LinkError::Framing)?;
    let (covered, sum) = payload.split_last_chunk::<4>().ok_or(LinkError::Framing)?;
    if CASTAGNOLI.checksum(covered) == u32::from_le_bytes(*sum) { Ok(covered) } else { Err(LinkError::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec as Bytes;
    use proptest::prelude::*;

    fn framed(payload: &[u8]) -> Frame {
        let mut frame = Frame::new();
        frame.make(|out| out.extend_from_slice(payload).map_err(|_| Full));
        frame
    }

    fn frames_in(link: &[u8]) -> Bytes<Result<Bytes<u8>, LinkError>> {
        let mut deframer = Deframer::<{ SIDECAR_MAX_FRAME }>::new();
        link.iter().filter_map(|byte| deframer.push(*byte).map(|found| found.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(CASTAGNOLI.checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn coding_gives_the_bytes_of_the_definition() {
        for (plain, coded) in [
            (&[][..], &[1][..]),
            (&[0], &[1, 1]),
            (&[0, 0], &[1, 1, 1]),
            (&[0x11, 0x22, 0, 0x33], &[3, 0x11, 0x22, 2, 0x33]),
            (&[0x11, 0, 0, 0], &[2, 0x11, 1, 1, 1]),
        ] {
            let mut bytes = [&[0][..], plain].concat();
            code(&mut bytes);
            assert_eq!(bytes, coded);
            assert_eq!(decode(&mut bytes), Some(plain));
        }
        let mut longest = alloc::vec![7; 255];
        code(&mut longest);
        assert_eq!((longest[0], longest[1], longest.len()), (0xff, 7, 255));
    }

    proptest! {
        #[test]
        fn a_payload_comes_back_and_holds_no_delimiter(payload in proptest::collection::vec(0_u8..3, 2..=250)) {
            let frame = framed(&payload);
            let link = frame.bytes();
            prop_assert_eq!(link.iter().filter(|byte| **byte == 0).count(), 2);
            prop_assert_eq!(link.len(), payload.len() + 4 + 3);
            prop_assert_eq!(frames_in(link), [Ok(payload)]);
        }

        #[test]
        fn after_any_garbage_the_next_frame_is_found(garbage: Bytes<u8>,
            payload in proptest::collection::vec(0_u8.., 2..=250)) {
            let link = [&garbage[..], framed(&payload).bytes()].concat();
            prop_assert_eq!(frames_in(&link).pop(), Some(Ok(payload)));
        }

        #[test]
        fn no_change_of_one_byte_passes(payload in proptest::collection::vec(0_u8.., 2..=250), at: usize, flip in 1_u8..) {
            let mut link = framed(&payload).bytes().to_vec();
            let at = at % link.len();
            link[at] ^= flip;
            link.push(0);
            // The delimiter before the frame is not part of it: with a byte more at its front it is another.
            prop_assert!(frames_in(&link).iter().all(Result::is_err));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_none() {
        let frame = framed(b"some payload \0 with zeros \0\0");
        for cut in 2..frame.bytes().len() - 1 {
            let mut link = frame.bytes()[..cut].to_vec();
            link.push(0);
            assert!(matches!(frames_in(&link)[..], [Err(_)]), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_without_end_take_no_memory_and_are_told_of_once() {
        let mut link = alloc::vec![0x55; 100_000];
        link.extend_from_slice(framed(b"hello").bytes());
        assert_eq!(frames_in(&link), [Err(LinkError::TooLong { limit: SIDECAR_MAX_FRAME }), Ok(b"hello".to_vec())]);
    }
}

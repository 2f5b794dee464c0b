//! The sync protocol: frames, the receivers behind a hub, and the sender.

mod receivers;
mod sender;

use pyralog_sync_protocol::entry::Entry;
use pyralog_sync_protocol::epoch::{EpochRecord, HeadsRecord, RegisterRecord};
use pyralog_sync_protocol::frame::{Frames, Hello, Kind, LogHead, MAGIC, Receipt, Reply, SegmentFrame, put_frame};
use pyralog_sync_protocol::trim::TrimMark;

use crate::bytes_in::Input;

/// The first byte chooses what the rest is for.
pub fn frames(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 5 {
        0 => messages(input.0),
        1 => messages(&assembled(&mut input)),
        2 => stored(input.0),
        3 => receivers::receivers(input),
        _ => sender::sender(input),
    }
}

/// A message of frames with good checksums: kind, flags, header and body of each come from the input.
fn assembled(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    while !input.is_empty() && out.len() < 1 << 16 {
        let kind = Kind::ALL[usize::from(input.byte()) % Kind::ALL.len()];
        let flags = input.byte() & kind.known_flags();
        let (header, body) = (input.piece(), input.piece());
        put_frame(&mut out, kind, flags, header, body);
    }
    out
}

/// Whatever can be read is written back as something that reads alike.
fn messages(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
    if let Ok(reply) = Reply::decode(bytes) {
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
    let Ok(mut frames) = Frames::new(bytes) else { return };
    let mut left = bytes.len();
    while let Ok(Some(frame)) = frames.next_frame() {
        assert!(frame.raw.len() <= left, "frames of more bytes than there are");
        left -= frame.raw.len();
        let mut again = Vec::new();
        match frame.kind {
            Kind::Segment => {
                let Ok(segment) = SegmentFrame::read(&frame) else { continue };
                segment.put(&mut again);
                let (back, _) = pyralog_sync_protocol::frame::Frame::read(&again).unwrap();
                assert_eq!(SegmentFrame::read(&back), Ok(segment));
            }
            Kind::Receipt => {
                let Ok(receipt) = Receipt::read(&frame) else { continue };
                receipt.put(&mut again);
                let (back, _) = pyralog_sync_protocol::frame::Frame::read(&again).unwrap();
                assert_eq!(Receipt::read(&back), Ok(receipt));
            }
            Kind::Log => {
                let Ok(log) = LogHead::read_frame(&frame) else { continue };
                assert!(log.tail <= log.head);
                log.put_frame(&mut again);
                let (back, _) = pyralog_sync_protocol::frame::Frame::read(&again).unwrap();
                assert_eq!(LogHead::read_frame(&back), Ok(log));
            }
            _ => {}
        }
    }
}

/// What a hub reads back from its store; the checksum at the end is made good first.
fn stored(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.extend_from_slice(&crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes).to_le_bytes());
    if let Ok(entry) = Entry::decode(&bytes) {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        let _ = entry.content();
    }
    if let Ok(record) = EpochRecord::decode(&bytes) {
        assert_eq!(EpochRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(record) = HeadsRecord::decode(&bytes) {
        assert_eq!(HeadsRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(record) = RegisterRecord::decode(&bytes) {
        assert_eq!(RegisterRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(mark) = TrimMark::decode(&bytes) {
        assert_eq!(TrimMark::decode(&mark.encode()), Ok(mark));
    }
}

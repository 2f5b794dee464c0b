use super::*;
use crate::sidecar::Deframer;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

/// The payload of a message, as its frame carries it.
fn payload(put: impl FnOnce(&mut Frame)) -> Vec<u8> {
    let mut frame = Frame::new();
    put(&mut frame);
    let mut deframer = Deframer::<256>::new();
    let found = frame.bytes().iter().filter_map(|byte| deframer.push(*byte).map(|found| found.map(<[u8]>::to_vec)));
    found.collect::<Result<Vec<_>, _>>().unwrap().concat()
}

fn bytes(put: impl FnOnce(&mut Frame)) -> Vec<u8> {
    let mut frame = Frame::new();
    put(&mut frame);
    frame.bytes().to_vec()
}

const HELLO_OF_7: Hello<'_> = Hello { device: "press-4", boot: 7, now: 1_000_000, oldest: 3, head: 5, dropped: 1 };

const FROM_AGENT: [FromAgent; 9] = [
    FromAgent::Welcome { boot: 7, next: 300 },
    FromAgent::Ack { boot: u64::MAX, next: u64::MAX },
    FromAgent::Refusal(Refusal::UnknownSession),
    FromAgent::Refusal(Refusal::Expected(1 << 40)),
    FromAgent::Refusal(Refusal::Full(250)),
    FromAgent::Refusal(Refusal::Version(1)),
    FromAgent::Refusal(Refusal::UnknownKind(9)),
    FromAgent::Refusal(Refusal::BootReused),
    FromAgent::Refusal(Refusal::TooManyDevices),
];

#[test]
fn the_bytes_of_a_hello_a_record_and_answers_are_these() {
    let hello = bytes(|frame| FromDevice::Hello(HELLO_OF_7).put(frame));
    let record = Numbered { sequence: 300, oldest: 298, body: b"body" };
    let record = bytes(|frame| FromDevice::Record(record).put(frame));
    let welcome = bytes(|frame| FROM_AGENT[0].put(frame));
    let full = bytes(|frame| FROM_AGENT[4].put(frame));
    assert_eq!(hex(&hello), GOLDEN[0]);
    assert_eq!(hex(&record), GOLDEN[1]);
    assert_eq!(hex(&welcome), GOLDEN[2]);
    assert_eq!(hex(&full), GOLDEN[3]);
}

/// Made by another implementation.
const GOLDEN: [&str; 4] = [
    "000401010701010101010113c0843d0305010770726573732d345209826100",
    "000e0102ac0202626f6479620cad3b00",
    "000401100701010101010107ac02f598178a00",
    "000a011203fa017d15eecd00",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
}

#[test]
fn every_message_comes_back_and_none_does_when_cut_or_longer() {
    for message in FROM_AGENT {
        let payload = payload(|frame| message.put(frame));
        assert_eq!(FromAgent::read(&payload), Ok(message));
        for cut in 0..payload.len() {
            assert!(FromAgent::read(&payload[..cut]).is_err(), "{message:?} cut at {cut}");
        }
        assert!(FromAgent::read(&[&payload[..], &[0]].concat()).is_err(), "{message:?} and a byte");
    }
    let hello = payload(|frame| FromDevice::Hello(HELLO_OF_7).put(frame));
    assert_eq!(FromDevice::read(&hello), Ok(FromDevice::Hello(HELLO_OF_7)));
    for cut in 0..hello.len() {
        assert!(FromDevice::read(&hello[..cut]).is_err(), "cut at {cut}");
    }
    assert!(FromDevice::read(&[&hello[..], &[0]].concat()).is_err());
}

#[test]
fn the_longest_messages_fit_into_their_frames() {
    let device = "x".repeat(SIDECAR_MAX_NAME);
    let hello =
        Hello { device: &device, boot: u64::MAX, now: u64::MAX, oldest: u64::MAX, head: u64::MAX, dropped: u64::MAX };
    assert!(FromDevice::read(&payload(|frame| FromDevice::Hello(hello).put(frame))).is_ok());
    let body = [0; crate::limits::SIDECAR_MAX_RECORD];
    let record = Numbered { sequence: u64::MAX, oldest: u64::MAX - u64::from(u32::MAX), body: &body };
    let frame = bytes(|frame| FromDevice::Record(record).put(frame));
    assert!(frame.len() <= crate::limits::SIDECAR_MAX_FRAME + 1, "{}", frame.len());
    for message in FROM_AGENT {
        let len = bytes(|frame| message.put(frame)).len();
        assert!(len <= crate::limits::SIDECAR_MAX_REPLY, "{message:?}: {len}");
    }
}

#[test]
fn an_unknown_version_kind_or_reason_is_an_error_that_says_which() {
    assert_eq!(FromDevice::read(&[2, HELLO]), Err(LinkError::Version(2)));
    assert_eq!(FromDevice::read(&[VERSION, 77]), Err(LinkError::UnknownKind(77)));
    // What goes the other way is as unknown.
    assert_eq!(FromDevice::read(&[VERSION, ACK]), Err(LinkError::UnknownKind(ACK)));
    assert_eq!(FromAgent::read(&[VERSION, RECORD]), Err(LinkError::UnknownKind(RECORD)));
    assert!(matches!(FromAgent::read(&[VERSION, REFUSAL, 99, 0]), Err(LinkError::Wire(_))));
    assert!(matches!(FromAgent::read(&[VERSION, REFUSAL, 1, 5]), Err(LinkError::Wire(_))), "a number without meaning");
}

#[test]
fn a_hello_that_contradicts_itself_is_refused() {
    for wrong in [
        Hello { device: "", ..HELLO_OF_7 },
        Hello { device: "a\nb", ..HELLO_OF_7 },
        Hello { oldest: 6, ..HELLO_OF_7 },
        Hello { dropped: 4, ..HELLO_OF_7 },
    ] {
        let payload = payload(|frame| FromDevice::Hello(wrong).put(frame));
        assert!(matches!(FromDevice::read(&payload), Err(LinkError::Wire(_))), "{wrong:?}");
    }
    let record = payload(|frame| FromDevice::Record(Numbered { sequence: 1, oldest: 1, body: b"" }).put(frame));
    assert!(FromDevice::read(&[&record[..3], &[2]].concat()).is_err(), "an oldest record before the first");
}

proptest! {
    #[test]
    fn hellos_and_records_come_back(
        boot: u64, now: u64, head: u64, oldest: u64, dropped: u64, back: u32,
        device in "[a-zä-ü ]{1,20}", body in proptest::collection::vec(0_u8.., 0..=200),
    ) {
        let (oldest, dropped) = (oldest.min(head), dropped.min(oldest.min(head)));
        let hello = FromDevice::Hello(Hello { device: &device, boot, now, oldest, head, dropped });
        let bytes = payload(|frame| hello.put(frame));
        prop_assert_eq!(FromDevice::read(&bytes), Ok(hello));
        let record = Numbered { sequence: head, oldest: head.saturating_sub(u64::from(back)), body: &body };
        let record = FromDevice::Record(record);
        let bytes = payload(|frame| record.put(frame));
        prop_assert_eq!(FromDevice::read(&bytes), Ok(record));
    }

    #[test]
    fn no_bytes_make_a_reader_panic_and_what_is_read_is_written_alike(bytes in proptest::collection::vec(0_u8..32, 0..60)) {
        if let Ok(message) = FromAgent::read(&bytes) {
            prop_assert_eq!(payload(|frame| message.put(frame)), bytes.clone());
        }
        if let Ok(message) = FromDevice::read(&bytes) {
            prop_assert_eq!(payload(|frame| message.put(frame)), bytes);
        }
    }
}

//! The sidecar's link: frames, the agent's side with a ring behind it, the device's side, and both with a bad link
//! between them.

use std::collections::BTreeMap;

use pyralog_agent::ingest::intake::Intake;
use pyralog_agent::ingest::route::Routes;
use pyralog_agent::ingest::sidecar::RingSink;
use pyralog_agent::records::Records;
use pyralog_sync_protocol::limits::{SIDECAR_MAX_REPLY, SIDECAR_MAX_UNSENT};
use pyralog_sync_protocol::sidecar::{
    Consumer, Deframer, Due, FromAgent, FromDevice, Producer, RecordBuf, Sessions, Sink, Taken, Time, Value,
};

use crate::bytes_in::Input;
use crate::ring::{ring, settle};

/// The first byte chooses what the rest is for.
pub fn sidecar(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => consumer(input.0),
        1 => consumer(&framed(&mut input)),
        2 => producer(input),
        _ => pair(input),
    }
}

/// Frames with good checksums, each around a piece of the input.
fn framed(input: &mut Input<'_>) -> Vec<u8> {
    let mut link = Vec::new();
    while !input.is_empty() && link.len() < 1 << 16 {
        let mut payload = vec![1];
        payload.extend_from_slice(input.piece());
        payload.truncate(250);
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&payload);
        payload.extend_from_slice(&sum.to_le_bytes());
        for part in payload.split(|byte| *byte == 0) {
            link.push(part.len() as u8 + 1);
            link.extend_from_slice(part);
        }
        link.push(0);
    }
    link
}

/// What the ring has is what the devices are told that it has; and nothing that a device says makes the answers grow
/// without end.
fn consumer(link: &[u8]) {
    let (ring, clock) = ring();
    let intake = Intake::new(ring.clone(), clock, Routes::new(&[]).map_err(|(_, error)| error).unwrap());
    let (mut sessions, mut consumer, mut scratch) = (Sessions::new(), Consumer::new(), Records::new());
    for (piece, arrival) in link.chunks(97).zip(0..) {
        let mut sink = RingSink { intake: &intake, scratch: &mut scratch, clock };
        consumer.receive(piece, arrival * 1_000_000, &mut sessions, &mut sink);
        assert!(consumer.unsent().len() <= SIDECAR_MAX_UNSENT + SIDECAR_MAX_REPLY + 1);
        for message in messages(consumer.unsent()) {
            assert!(FromAgent::read(&message).is_ok(), "an answer that nobody can read");
        }
    }
    let taken: u64 = sessions.devices().map(|(_, device)| device.records).sum();
    let status = ring.status();
    let stored: u64 = ring.logs().iter().map(|log| log.account.accepted).sum();
    assert!(stored + status.rejected >= taken && taken <= link.len() as u64, "{taken} told, {stored} stored");
    settle(&ring);
}

fn messages(link: &[u8]) -> Vec<Vec<u8>> {
    let mut deframer = Deframer::<300>::new();
    let found = link.iter().filter_map(|byte| deframer.push(*byte).map(|found| found.unwrap().to_vec()));
    found.collect()
}

fn record(n: u64) -> RecordBuf {
    let mut record = RecordBuf::new("log", Time::SinceBoot(n));
    record.with("n", Value::U64(n)).with("pad", Value::Binary(&[7; 200][..(n % 7 * 30) as usize]));
    record
}

/// Whatever an agent says, a device keeps its books, and says only what can be read.
fn producer(mut input: Input<'_>) {
    let mut producer = Producer::<400>::new();
    producer.start("d", input.number()).unwrap();
    let (mut now, mut heard, mut appended) = (0_u64, Deframer::<300>::new(), 0);
    for _ in 0..2_000 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 4 {
            0 => {
                assert_eq!(producer.append(&record(appended)), Ok(appended));
                appended += 1;
            }
            1 => producer.receive(now, input.piece()),
            2 => producer.receive(now, &framed(&mut Input(input.piece()))),
            _ => now = now.saturating_add(input.number().saturating_mul(10_000)),
        }
        let mut out = [0; 64];
        let count = producer.transmit(now, &mut out);
        for byte in &out[..count] {
            let Some(found) = heard.push(*byte) else { continue };
            let payload = found.unwrap();
            match FromDevice::read(payload).unwrap() {
                FromDevice::Hello(hello) => assert!(hello.oldest <= hello.head && hello.head <= appended),
                FromDevice::Record(record) => assert!(record.sequence < appended && record.oldest <= record.sequence),
            }
        }
        assert!(producer.head() == appended && producer.pending() + producer.dropped() <= appended);
    }
}

/// Takes note of what comes, and has no room now and then.
struct Book<'a> {
    taken: Vec<u64>,
    input: &'a mut Input<'a>,
}

impl Sink for Book<'_> {
    fn take(&mut self, due: Due<'_>) -> Taken {
        if self.input.byte() % 8 == 7 {
            return Taken::Full(1);
        }
        let values: BTreeMap<_, _> =
            due.record.unwrap().values().map(Result::unwrap).map(|(n, v)| (n, format!("{v:?}"))).collect();
        let number = values["n"].trim_start_matches("U64(").trim_end_matches(')').parse().unwrap();
        self.taken.push(number);
        Taken::Stored
    }
}

/// Over a link that does what the input says, nothing comes twice, all is in order, and once the link is good what is
/// missing was dropped.
fn pair(mut input: Input<'_>) {
    let seed = input.piece();
    let mut room = Input(seed);
    let mut book = Book { taken: Vec::new(), input: &mut room };
    let mut producer = Producer::<400>::new();
    producer.start("d", 1).unwrap();
    let (mut sessions, mut consumer, mut now, mut made) = (Sessions::new(), Consumer::new(), 0_u64, 0);
    let mut quiet = 0;
    while quiet < 4_000 && (quiet == 0 || producer.pending() > 0) {
        let (choice, fault) = if input.is_empty() { (0, 0) } else { (input.byte(), input.byte()) };
        quiet += u32::from(input.is_empty());
        if quiet == 0 && choice & 1 == 1 {
            producer.append(&record(made)).unwrap();
            made += 1;
        }
        now += 5_000 + u64::from(choice) * 2_000;
        let mut out = [0; 64];
        let count = producer.transmit(now, &mut out);
        let at = usize::from(fault) % 64;
        let lost = if fault < 128 { 0 } else { at };
        if fault >= 192 {
            out[at] ^= 1 + choice % 255;
        }
        consumer.receive(&out[lost.min(count)..count], now as i64, &mut sessions, &mut book);
        let answer = consumer.unsent().to_vec();
        consumer.sent(answer.len());
        producer.receive(now, if choice & 0xc0 == 0xc0 { &[] } else { &answer });
    }
    assert_eq!(producer.pending(), 0, "not acknowledged over a good link");
    assert!(book.taken.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", book.taken);
    let dropped = sessions.devices().next().map_or(0, |(_, device)| device.dropped);
    assert_eq!(book.taken.len() as u64 + dropped, made);
    assert!(dropped <= producer.dropped());
}

//! Producer and consumer against each other in virtual time, over a link that loses, damages and inserts bytes, while
//! either side restarts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod link;
mod world;

use pyralog_sync_protocol::sidecar::{
    Consumer, Deframer, Due, Frame, FromAgent, FromDevice, Hello, Numbered, Producer, RecordBuf, Refusal, Sessions,
    Sink, Taken, Time, Timing, Value,
};
use world::{Faults, World};

#[test]
fn over_a_good_link_every_record_arrives_once_and_in_order() {
    let mut world = World::new(1, Faults::NONE);
    for _ in 0..1_000 {
        world.append();
        world.run(10_000);
    }
    world.settle();
    assert_eq!(world.stored().len(), 1_000);
    assert_eq!((world.producer().dropped(), world.device().duplicates), (0, 0));
}

#[test]
fn over_a_bad_link_nothing_comes_twice_and_nothing_is_missing_but_what_was_dropped() {
    for seed in 0..300 {
        let mut world = World::new(seed, Faults::SOME);
        world.live(600);
        world.settle();
        world.check();
    }
}

#[test]
fn when_the_device_restarts_what_it_had_in_its_buffer_is_all_that_is_gone() {
    for seed in 0..200 {
        let mut world = World::new(seed, Faults { device_restarts: 30, ..Faults::SOME });
        world.live(600);
        world.settle();
        world.check();
    }
}

#[test]
fn when_the_agent_restarts_what_it_had_acknowledged_does_not_come_again_and_the_rest_does() {
    for seed in 0..200 {
        let mut world = World::new(seed, Faults { agent_restarts: 40, ..Faults::SOME });
        world.live(600);
        world.settle();
        world.check();
    }
}

#[test]
fn a_ring_that_is_full_now_and_then_loses_nothing_and_gets_nothing_twice() {
    for seed in 0..200 {
        let mut world = World::new(seed, Faults { full: 30, device_restarts: 5, ..Faults::SOME });
        world.live(600);
        world.settle();
        world.check();
    }
}

#[test]
fn all_faults_together() {
    for seed in 0..300 {
        let mut world = World::new(seed, Faults { full: 10, device_restarts: 8, agent_restarts: 8, ..Faults::SOME });
        world.live(600);
        world.settle();
        world.check();
    }
}

#[test]
fn without_an_agent_the_newest_records_stay_and_the_dropped_are_counted_and_told() {
    let mut world = World::new(3, Faults { bytes_lost: 1, ..Faults::NONE });
    world.cut(true);
    for _ in 0..500 {
        world.append();
        world.run(10_000);
    }
    let (dropped, pending) = (world.producer().dropped(), world.producer().pending());
    assert!(dropped > 400 && dropped + pending == 500, "{dropped} dropped, {pending} pending");
    world.cut(false);
    world.settle();
    world.check();
    assert_eq!(world.stored().len() as u64, pending);
    assert_eq!(world.device().dropped, dropped);
}

#[test]
fn a_device_that_makes_more_than_its_link_carries_needs_no_exchange_about_what_it_drops() {
    let mut world = World::new(6, Faults::NONE);
    world.append();
    world.settle();
    for _ in 0..2_000 {
        world.append();
        world.run(1_000);
    }
    assert!(world.producer().dropped() > 1_000, "{} dropped", world.producer().dropped());
    assert_eq!(world.gaps(), 0, "what is gone is not asked for");
    // Five milliseconds a record: the link was never idle.
    assert!(world.stored().len() > 350, "{} arrived", world.stored().len());
    world.settle();
    world.check();
}

#[test]
fn a_record_that_comes_again_is_acknowledged_again_and_not_taken() {
    struct Count(u32);
    impl Sink for Count {
        fn take(&mut self, _: Due<'_>) -> Taken {
            self.0 += 1;
            Taken::Stored
        }
    }
    let (mut sessions, mut consumer, mut sink, mut frame) = (Sessions::new(), Consumer::new(), Count(0), Frame::new());
    let mut say = |message: FromDevice<'_>| {
        message.put(&mut frame);
        consumer.receive(frame.bytes(), 0, &mut sessions, &mut sink);
        let mut heard = Deframer::<64>::new();
        let answers = consumer.unsent().to_vec();
        consumer.sent(answers.len());
        let last =
            answers.iter().filter_map(|byte| heard.push(*byte).map(|found| FromAgent::read(found.unwrap()))).last();
        (last, sink.0, sessions.devices().next().unwrap().1.duplicates)
    };
    let record = record(1);
    let record = FromDevice::Record(Numbered { sequence: 0, oldest: 0, body: record.bytes().unwrap() });
    say(FromDevice::Hello(Hello { device: "d", boot: 9, now: 0, oldest: 0, head: 1, dropped: 0 }));
    let ack = Some(Ok(FromAgent::Ack { boot: 9, next: 1 }));
    assert_eq!(say(record), (ack, 1, 0));
    assert_eq!(say(record), (ack, 1, 1));
}

#[test]
fn a_device_that_takes_the_boot_id_of_its_former_life_is_sent_to_another() {
    let mut world = World::new(4, Faults::NONE);
    world.boot_ids_repeat();
    for _ in 0..50 {
        world.append();
        world.run(10_000);
    }
    world.restart_device();
    for _ in 0..20 {
        world.append();
    }
    world.settle();
    world.check();
    assert_eq!(world.stored().len(), 70);
    assert_eq!(world.device().boots, 2);
}

#[test]
fn times_since_boot_become_unix_times_however_long_the_records_waited() {
    let mut world = World::new(5, Faults::NONE);
    world.cut(true);
    for _ in 0..8 {
        world.append();
        world.run(60_000_000);
    }
    world.cut(false);
    world.settle();
    world.check_times(50_000_000);
}

fn producer() -> Producer<256> {
    let timing = Timing { patience: 100, longest: 1_000, refresh: 1 << 40 };
    let mut producer = Producer::new();
    producer.set_timing(timing);
    producer.start("d", 9).unwrap();
    producer
}

fn record(n: u64) -> RecordBuf {
    let mut record = RecordBuf::new("log", Time::Arrival);
    record.with("n", Value::U64(n));
    record
}

fn answer(producer: &mut Producer<256>, now: u64, message: FromAgent) {
    let mut frame = Frame::new();
    message.put(&mut frame);
    producer.receive(now, frame.bytes());
}

#[test]
fn a_device_says_nothing_before_it_is_started_and_no_record_before_it_is_welcome() {
    let mut silent = Producer::<256>::new();
    silent.append(&record(1)).unwrap();
    assert!(
        silent.start("", 1).is_err()
            && silent.start("12345678901234567890123456789012345678901234567890123456789012345", 1).is_err()
    );
    assert_eq!(silent.transmit(1 << 40, &mut [0; 64]), 0);

    let mut producer = producer();
    producer.append(&record(1)).unwrap();
    let mut out = [0; 256];
    let hello = producer.transmit(0, &mut out);
    assert!(hello > 0 && producer.transmit(99, &mut out) == 0);
    assert_eq!(producer.transmit(100, &mut out), hello, "after a wait in vain the hello again");
    answer(&mut producer, 110, FromAgent::Welcome { boot: 8, next: 0 });
    assert!(!producer.is_connected(), "somebody else's welcome");
    answer(&mut producer, 110, FromAgent::Welcome { boot: 9, next: 0 });
    assert!(producer.is_connected() && producer.transmit(110, &mut out) > 0);
}

#[test]
fn acknowledgements_of_another_life_or_of_records_that_never_were_change_nothing() {
    let mut producer = producer();
    producer.append(&record(1)).unwrap();
    answer(&mut producer, 0, FromAgent::Ack { boot: 9, next: 1 });
    assert_eq!(producer.pending(), 1, "before the welcome");
    answer(&mut producer, 0, FromAgent::Welcome { boot: 9, next: 0 });
    for wrong in [
        FromAgent::Ack { boot: 8, next: 1 },
        FromAgent::Ack { boot: 9, next: 2 },
        FromAgent::Welcome { boot: 9, next: 7 },
    ] {
        answer(&mut producer, 0, wrong);
        assert_eq!(producer.pending(), 1, "{wrong:?}");
    }
    answer(&mut producer, 0, FromAgent::Ack { boot: 9, next: 1 });
    assert_eq!((producer.pending(), producer.dropped()), (0, 0));
}

#[test]
fn a_refusal_that_only_time_can_mend_is_waited_out() {
    for refusal in [Refusal::Full(1), Refusal::Version(2), Refusal::TooManyDevices, Refusal::UnknownKind(1)] {
        let mut producer = producer();
        producer.append(&record(1)).unwrap();
        answer(&mut producer, 0, FromAgent::Welcome { boot: 9, next: 0 });
        answer(&mut producer, 0, FromAgent::Refusal(refusal));
        assert_eq!(producer.transmit(999, &mut [0; 64]), 0, "{refusal:?}");
        assert!(producer.transmit(1_000, &mut [0; 64]) > 0, "{refusal:?}");
        assert_eq!(producer.last_refusal(), Some(refusal));
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_and_costs_no_other() {
    let mut producer = producer();
    producer.append(&record(1)).unwrap();
    let mut long = RecordBuf::new("log", Time::Arrival);
    long.with("a", Value::Binary(&[0; 230]));
    assert!(producer.append(&long).is_err());
    assert_eq!((producer.pending(), producer.dropped(), producer.head()), (1, 0, 1));
}

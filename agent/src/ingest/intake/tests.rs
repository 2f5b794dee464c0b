use super::*;
use crate::ingest::route::RouteSpec;
use crate::ring::{Budget, EvictionPolicy, ReadRange, RingConfig};

fn intake(routes: &[RouteSpec], memory: u64, policy: EvictionPolicy) -> Intake {
    let config = RingConfig { eviction_policy: policy, ..RingConfig::default() };
    let ring = Ring::new(config, Budget::new(memory));
    Intake::new(ring, Clock::start(), Routes::new(routes).unwrap())
}

fn head(intake: &Intake, log: &str) -> u64 {
    intake.ring().log(log).map_or(0, |log| log.head)
}

fn climate() -> RouteSpec {
    RouteSpec {
        topic: "plant/{line}/climate".into(),
        log: Some("climate".into()),
        format: Some("json".into()),
        ..RouteSpec::default()
    }
}

#[test]
fn a_message_is_in_its_log_when_publish_returns() {
    let intake = intake(&[climate()], 8 << 20, EvictionPolicy::Fifo);
    let mut scratch = Records::new();
    intake.publish("plant/a/climate", br#"[{"temp":1},{"temp":2}]"#, &mut scratch).unwrap();
    intake.publish("other/topic", b"21.5", &mut scratch).unwrap();
    assert_eq!((head(&intake, "climate"), head(&intake, "mqtt"), head(&intake, "_rejected")), (2, 1, 0));
    let mut reader = intake.ring().read("climate", ReadRange::default()).unwrap();
    let chunk = reader.next_chunk().unwrap().unwrap();
    let names: Vec<_> = chunk.batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["time", "line", "temp"]);
}

#[test]
fn what_cannot_be_decoded_is_kept_raw_and_leaves_no_half_message() {
    let intake = intake(&[climate()], 8 << 20, EvictionPolicy::Fifo);
    let mut scratch = Records::new();
    intake.publish("plant/a/climate", br#"[{"temp":1},{"temp":"#, &mut scratch).unwrap();
    intake.publish("plant/a/climate", b"\xff\x00", &mut scratch).unwrap();
    assert_eq!((head(&intake, "climate"), head(&intake, "_rejected")), (0, 2));
    // No route: raw bytes are fine there.
    intake.publish("x", b"\xff\x00", &mut scratch).unwrap();
    intake.publish("", b"", &mut scratch).unwrap();
    assert_eq!(head(&intake, "mqtt"), 2);
}

#[test]
fn a_payload_beyond_the_memory_is_refused_and_not_stored() {
    let intake = intake(&[], 1 << 20, EvictionPolicy::Fifo);
    let mut scratch = Records::new();
    let result = intake.publish("x", &vec![b'1'; 1 << 20], &mut scratch);
    assert!(matches!(result, Err(PublishError::TooLarge { limit: 8_192, .. })), "{result:?}");
}

#[test]
fn a_full_ring_that_rejects_says_so_and_stores_nothing() {
    let intake = intake(&[climate()], 1 << 20, EvictionPolicy::Reject);
    let mut scratch = Records::new();
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(4_000));
    let mut taken = 0;
    let full = (0..10_000).find_map(|_| {
        let result = intake.publish("plant/a/climate", payload.as_bytes(), &mut scratch);
        taken += u64::from(result.is_ok());
        result.err()
    });
    assert_eq!(full, Some(PublishError::Full));
    assert!(taken > 0);
    assert_eq!(head(&intake, "climate"), taken);
}

#[test]
fn a_connection_gives_the_memory_of_one_huge_message_back() {
    let intake = intake(&[], 64 << 20, EvictionPolicy::Fifo);
    let mut scratch = Records::new();
    let payload = format!("{{\"v\":[{}1]}}", "0.25,".repeat(30_000));
    intake.publish("x", payload.as_bytes(), &mut scratch).unwrap();
    assert!(scratch.heap_bytes() <= KEPT_SCRATCH);
}

#[test]
fn decoding_a_message_allocates_nothing_after_warm_up() {
    let intake = intake(&[climate()], 64 << 20, EvictionPolicy::Fifo);
    let mut scratch = Records::new();
    let messages: [(&str, &[u8]); 4] = [
        ("plant/a/climate", br#"{"time":1,"temp":21.5,"at":{"x":1,"y":[2,3]},"room":"kitchen"}"#),
        ("x", b"climate,station=north temp=21.5,hum=40i 17"),
        ("x", b"21.5"),
        ("x", b"on"),
    ];
    let mut round = |count: u64| {
        let before = intake.ring().status().rejected;
        let info = allocation_counter::measure(|| {
            for _ in 0..count {
                for (topic, payload) in messages {
                    intake.publish(topic, payload, &mut scratch).unwrap();
                }
            }
        });
        assert_eq!(intake.ring().status().rejected, before);
        info.count_total
    };
    round(2_000);
    // The ring's builders double now and then; the messages themselves are free.
    let allocations = round(1_000);
    assert!(allocations < 100, "{allocations} allocations in 4,000 messages");
}

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow_ipc::writer::StreamWriter;

use super::*;
use crate::ring::{Budget, EvictionPolicy, RingConfig};

fn ring(memory: u64) -> (Ring, Clock) {
    (Ring::new(RingConfig::default(), Budget::new(memory)), Clock::start())
}

fn head(ring: &Ring, log: &str) -> u64 {
    ring.log(log).map_or(0, |log| log.head)
}

fn lines(ring: &Ring, clock: Clock, coding: Coding) -> LineBody {
    LineBody::line_protocol(ring, clock, Precision::Seconds, coding, 64 << 20, "POST /write").unwrap()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn good_lines_are_stored_and_bad_ones_reported_and_kept_raw() {
    let (ring, clock) = ring(8 << 20);
    let mut body = lines(&ring, clock, Coding::Identity);
    for chunk in b"a f=1 1\nbad line\na f=2 2\nb f=x\na f=3".chunks(3) {
        body.feed(chunk).unwrap();
    }
    let report = body.finish().unwrap();
    assert_eq!((report.accepted, report.rejected), (3, 2));
    assert_eq!(report.errors.iter().map(|error| (error.line, error.column)).collect::<Vec<_>>(), [(2, 9), (4, 5)]);
    assert_eq!((head(&ring, "a"), head(&ring, "b"), head(&ring, "_rejected")), (3, 0, 2));
}

#[test]
fn a_hundred_thousand_packed_lines_go_through_in_little_memory() {
    let (ring, clock) = ring(8 << 20);
    let text: String = (0..100_000).map(|n| format!("climate,station=s{} temp={}.5 {n}\n", n % 3, n % 50)).collect();
    let packed = gzip(text.as_bytes());
    let mut body = lines(&ring, clock, Coding::Gzip);
    for chunk in packed.chunks(4_000) {
        body.feed(chunk).unwrap();
    }
    assert_eq!(body.finish().unwrap().accepted, 100_000);
    assert_eq!(head(&ring, "climate"), 100_000);
}

#[test]
fn a_cut_or_corrupt_body_says_how_many_records_were_kept() {
    let (ring, clock) = ring(8 << 20);
    let text: String = (0..5_000).map(|n| format!("m f={} {n}\n", n * 7919 % 1000)).collect();
    let packed = gzip(text.as_bytes());
    let mut body = lines(&ring, clock, Coding::Gzip);
    body.feed(&packed[..packed.len() / 2]).unwrap();
    let error = body.finish().unwrap_err();
    assert_eq!(error.reason, Reason::Body(BodyError::Truncated("gzip")));
    assert_eq!(head(&ring, "m"), error.report.accepted);
    assert!(error.report.accepted > 0);
    assert!(error.to_string().contains(&format!("{} records before it were kept", error.report.accepted)), "{error}");
}

#[test]
fn ndjson_names_its_bad_lines() {
    let (ring, clock) = ring(8 << 20);
    let options = JsonOptions { tags: vec!["station".into()], ..JsonOptions::default() };
    let mut body = LineBody::ndjson(&ring, clock, "room", options, Coding::Identity, 1 << 20, "POST").unwrap();
    body.feed(b"{\"station\":\"a\",\"t\":1}\n{oops}\n{\"t\":2}").unwrap();
    let report = body.finish().unwrap();
    assert_eq!((report.accepted, report.rejected, report.errors[0].line), (2, 1, 2));
    assert_eq!(head(&ring, "room"), 2);
}

#[test]
fn a_body_over_the_limit_stops() {
    let (ring, clock) = ring(8 << 20);
    let mut body =
        LineBody::line_protocol(&ring, clock, Precision::Seconds, Coding::Identity, 20_000, "POST /write").unwrap();
    let error = body.feed(&b"m f=1\n".repeat(10_000)).unwrap_err();
    assert_eq!(error.reason, Reason::Body(BodyError::TooLarge { limit: 20_000 }));
    assert_eq!(head(&ring, "m"), error.report.accepted);

    let mut body = WholeBody::new(&ring, Coding::Gzip, 20_000, None).unwrap();
    assert!(matches!(body.feed(&gzip(&[b' '; 100_000])), Err(Reason::Body(BodyError::TooLarge { .. }))));
}

#[test]
fn ten_thousand_fields_in_one_line_are_bounded() {
    let (ring, clock) = ring(64 << 20);
    let fields: Vec<_> = (0..10_000).map(|n| format!("field_{n}={n}")).collect();
    let mut body = lines(&ring, clock, Coding::Identity);
    body.feed(format!("wide {} 1\nwide a=1\n", fields.join(",")).as_bytes()).unwrap();
    let report = body.finish().unwrap();
    assert_eq!(report.accepted, 2);
    assert!(report.rejected_values >= 9_488, "{report:?}");
    assert!(head(&ring, "_rejected") > 0);
}

#[test]
fn json_bodies_keep_what_comes_before_a_fault() {
    let (ring, clock) = ring(8 << 20);
    let options = JsonOptions::default();
    let objects: Vec<_> = (0..1_000).map(|n| format!("{{\"time\":{n},\"v\":{n}}}")).collect();
    let body = format!("[{}]", objects.join(","));
    assert_eq!(write_json(&ring, clock, "j", &options, body.as_bytes()).map(|r| r.accepted), Ok(1_000));
    let error = write_json(&ring, clock, "j", &options, b"[{\"v\":1},\n7]").unwrap_err();
    assert_eq!(error.report.accepted, 1);
    assert!(matches!(&error.reason, Reason::Json(error) if error.line == 2), "{error}");
    assert_eq!(write_json(&ring, clock, "j", &options, b"{\"v\":1}").map(|r| r.accepted), Ok(1));
    assert_eq!(head(&ring, "j"), 1_002);
}

#[test]
fn arrow_bodies_are_appended_batch_by_batch() {
    let (ring, clock) = ring(32 << 20);
    let batch = RecordBatch::try_from_iter([
        ("time", Arc::new(TimestampNanosecondArray::from_iter_values(0..1_000)) as ArrayRef),
        ("v", Arc::new(Float64Array::from_iter_values((0..1_000).map(f64::from))) as ArrayRef),
    ])
    .unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let bytes = writer.into_inner().unwrap();
    let mut whole = WholeBody::new(&ring, Coding::Zstd, 1 << 20, None).unwrap();
    for chunk in zstd::encode_all(&bytes[..], 1).unwrap().chunks(100) {
        whole.feed(chunk).unwrap();
    }
    let (body, _held) = whole.finish().unwrap();
    assert_eq!(body, bytes);
    assert_eq!(write_arrow(&ring, clock, "a", StreamOptions::default(), body).map(|r| r.accepted), Ok(2_000));
    let cut = Bytes::copy_from_slice(&bytes[..bytes.len() - 100]);
    let error = write_arrow(&ring, clock, "a", StreamOptions::default(), cut).unwrap_err();
    assert_eq!(error.report.accepted, 1_000);
    assert_eq!(head(&ring, "a"), 3_000);
}

#[test]
fn a_full_ring_stops_the_body_and_counts_what_it_took() {
    let config = RingConfig { eviction_policy: EvictionPolicy::Reject, ..RingConfig::default() };
    let (ring, clock) = (Ring::new(config, Budget::new(2 << 20)), Clock::start());
    let mut body = lines(&ring, clock, Coding::Identity);
    let line = format!("m text=\"{}\"\n", "x".repeat(5_000));
    let error = (0..10_000).find_map(|_| body.feed(line.as_bytes()).err()).unwrap();
    assert_eq!(error.reason, Reason::Full);
    assert_eq!(error.report.accepted, head(&ring, "m"));
    drop(body);
    let guests = ring.status();
    assert!(guests.used <= guests.cap);
}

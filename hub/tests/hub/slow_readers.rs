//! Readers who ask for much and do not take it.

use std::path::Path;
use std::time::Duration;

use pyralog_hub::run::{Running, start};
use pyralog_hub::store::StoreUrl;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::device::{Device, client, config, get};
use crate::tls::until;

/// More than sockets hold on their own: some 15 MiB as NDJSON.
const RECORDS: u32 = 250_000;

/// A hub that serves one reader at a time and waits for it for a moment, with a long log; and the URL of its records.
async fn long_log(folder: &Path) -> (Running, String) {
    let mut config = config();
    config.store = StoreUrl::Directory(folder.into());
    config.limits.max_reads = 1;
    config.limits.write_timeout = Duration::from_millis(300);
    let hub = start(&config).await.unwrap();
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let piece = device.segment(RECORDS);
    device.send(&hub.url(), &[piece]).await;
    let records = format!("{}/records", device.at(&hub.url()));
    (hub, records)
}

/// Waits until the place of the only reader is free again, and reads to the end.
async fn another_reader_is_served(hub: &Running, records: &str) {
    let (status, body) = get(&format!("{records}?limit=1")).await;
    assert_eq!(status, 503, "the first reader has the place: {body}");
    let served = async || {
        let answer = client().get(records).send().await.unwrap();
        match answer.status().as_u16() {
            200 => Some(answer.text().await.unwrap()),
            _ => None,
        }
    };
    let text = until("the place of the reader who does not read", served).await;
    assert_eq!(text.lines().count(), RECORDS as usize);
    let (_, metrics) = get(&format!("{}/metrics", hub.url())).await;
    assert!(metrics.contains("pyralog_hub_unread_answers_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_takes_no_byte_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, records) = long_log(folder.path()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let mut deaf = socket.connect(hub.address()).await.unwrap();
    let path = records.strip_prefix(&hub.url()).unwrap();
    deaf.write_all(format!("GET {path} HTTP/1.1\r\nhost: hub\r\n\r\n").as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();
    another_reader_is_served(&hub, &records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_keeps_the_window_of_its_stream_closed_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, records) = long_log(folder.path()).await;
    // Its connection is read from and answers pings; only the records are not asked for.
    let _ = client();
    let two =
        reqwest::Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(65_535).build().unwrap();
    let deaf = two.get(&records).send().await.unwrap();
    assert_eq!((deaf.status().as_u16(), deaf.version()), (200, reqwest::Version::HTTP_2));
    another_reader_is_served(&hub, &records).await;
    assert!(deaf.text().await.is_err(), "what it gets is cut off, and it can tell");
}

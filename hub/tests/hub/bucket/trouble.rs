//! A server that is away, and answers that get lost.

use pyralog_e2e_s3::{Misbehave, S3Server};
use pyralog_sync_protocol::frame::RefusalKind;

use super::Bucket;
use super::sync::assert_in_order;
use crate::device::{Device, get, get_json, hub_on};
use crate::tls::until;

/// Puts of the session below, and one to spare.
const PUTS: u64 = 12;

/// Sends until the hub takes it, as an agent does.
async fn insist(device: &Device, url: &str, pieces: &[crate::device::Piece]) -> u64 {
    for _ in 0..5 {
        match device.try_send(url, pieces).await {
            Ok(ack) => return ack.cursors[0].1.next,
            Err(refusal) if matches!(refusal.kind, RefusalKind::Busy { .. }) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    panic!("busy for good");
}

async fn greet(device: &mut Device, url: &str) {
    for _ in 0..5 {
        match device.try_hello(url).await {
            Ok(_) => return,
            Err(refusal) if matches!(refusal.kind, RefusalKind::Busy { .. }) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    panic!("busy for good");
}

/// One put of a session goes wrong in this way, each in turn: the object is there and the hub did not hear so, or is told of
/// another that is not there. Its client tries again by itself, and meets its own object.
async fn whatever_put_it_is(how: Misbehave) {
    for put in 0..PUTS {
        let bucket = Bucket::new();
        let hub = hub_on(bucket.store().await).await;
        bucket.server.misbehave_after(put, how);
        let mut old = Device::new("board-17", "climate", 1);
        greet(&mut old, &hub.url()).await;
        let piece = old.segment(10);
        assert_eq!(insist(&old, &hub.url(), &[piece]).await, 10);
        let mut device = Device::new("board-17", "climate", 2);
        greet(&mut device, &hub.url()).await;
        assert_eq!(device.epoch.0, 2, "put {put}");
        let pieces = [device.segment(10), device.segment(5), device.loss(3), device.segment(2)];
        assert_eq!(insist(&device, &hub.url(), &pieces).await, 20, "put {put}");
        let account = get_json(&device.at(&hub.url())).await;
        let epochs = account["epochs"].as_array().unwrap();
        assert_eq!(
            (epochs.len(), epochs[0]["committed"].as_u64(), epochs[1]["committed"].as_u64()),
            (2, Some(10), Some(17))
        );
        assert_eq!(epochs[1]["receipted"], serde_json::json!({ "evicted": 3 }), "put {put}");
        assert_in_order(&bucket).await;
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_put_changes_nothing() {
    whatever_put_it_is(Misbehave::SwallowAnswer).await;
}

#[tokio::test]
async fn a_put_that_was_done_and_denied_changes_nothing() {
    whatever_put_it_is(Misbehave::DenyHavingDone).await;
}

#[tokio::test]
async fn a_put_that_is_refused_for_another_under_way_is_put_again() {
    whatever_put_it_is(Misbehave::Conflict).await;
}

#[tokio::test]
async fn a_hub_whose_bucket_is_away_says_busy_and_goes_on_when_it_is_back() {
    let bucket = Bucket::new();
    let hub = hub_on(bucket.store().await).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let pieces = [device.segment(10), device.segment(10)];
    assert_eq!(device.send(&hub.url(), &pieces[..1]).await, 10);
    let Bucket { folder, server } = bucket;
    let address = server.address();
    drop(server);
    let refusal = device.try_send(&hub.url(), &pieces).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Busy { .. }), "{refusal:?}");
    assert!(refusal.detail.contains("refused"), "{refusal:?}");
    let readyz = format!("{}/readyz", hub.url());
    assert_eq!(get(&readyz).await.0, 503);

    let bucket = Bucket { server: S3Server::start_at(folder.path(), address).unwrap(), folder };
    assert_eq!(insist(&device, &hub.url(), &pieces).await, 20);
    until("readiness", async || (get(&readyz).await.0 == 200).then_some(())).await;
    for how in [Misbehave::Unavailable, Misbehave::Hang] {
        bucket.server.misbehave(how);
        let piece = device.segment(10);
        let refusal = device.try_send(&hub.url(), std::slice::from_ref(&piece)).await.unwrap_err();
        assert!(matches!(refusal.kind, RefusalKind::Busy { .. }), "{refusal:?}");
        bucket.server.misbehave(Misbehave::Not);
        insist(&device, &hub.url(), &[piece]).await;
    }
    assert_in_order(&bucket).await;
}

//! Stores in JetStream: real servers, killed and started again.

use std::path::Path;

use async_nats::jetstream::stream::{Config as StreamConfig, DiscardPolicy};
use bytes::Bytes;
use pyralog_e2e::nats::Cluster;
use pyralog_hub::retention::{Budget, Limits, Trim};
use pyralog_hub::run::Running;
use pyralog_hub::store::{self, Chain, OpenError, OwnedChain, Put, SharedStore, StoreUrl};
use pyralog_hub::verify::{Scope, verify};
use pyralog_sync_protocol::cursor::Cursor;
use pyralog_sync_protocol::entry::{Entry, Tip};
use pyralog_sync_protocol::frame::RefusalKind;

use crate::device::{Device, get_json, hub_on};

const CHAIN: Chain<'static> = Chain { agent: "a", epoch: 1, log: "climate" };

async fn open(url: &str) -> Result<SharedStore, OpenError> {
    store::open(&url.parse::<StoreUrl>().unwrap()).await
}

async fn hub(cluster: &Cluster) -> Running {
    hub_on(open(&cluster.url("FLEET")).await.unwrap()).await
}

/// An entry of offsets from `base` to `next`.
fn entry(base: u64, next: u64) -> Bytes {
    let cursor = Cursor { next, ..Cursor::default() };
    Entry { base, tip: Tip { cursor, ..Tip::default() }, received_at: 0, frame: b"frame" }.encode().into()
}

/// A store of one server, and that server.
async fn alone(folder: &Path) -> (Cluster, SharedStore) {
    let cluster = Cluster::start(folder, 1).await.unwrap();
    let store = open(&cluster.url("FLEET")).await.unwrap();
    (cluster, store)
}

#[tokio::test]
async fn a_chain_is_found_by_any_offset() {
    let folder = tempfile::tempdir().unwrap();
    let (_cluster, store) = alone(folder.path()).await;
    let other = Chain { log: "other", ..CHAIN };
    assert_eq!(store.last_entry(CHAIN).await.unwrap(), None);
    for number in 0..100 {
        // Another chain in between, so that sequences have gaps.
        for chain in [CHAIN, other] {
            let (base, next) = (number * 7, (number + 1) * 7);
            assert_eq!(store.commit(chain, base, entry(base, next)).await.unwrap(), Put::Created);
        }
    }
    // A second hub remembers nothing.
    let fresh = open(&store.address()).await.unwrap();
    for store in [&store, &fresh] {
        assert_eq!(store.last_entry(CHAIN).await.unwrap(), Some((693, entry(693, 700))));
        assert_eq!(store.bases(CHAIN, 0, 3).await.unwrap(), [0, 7, 14]);
        assert_eq!(store.bases(CHAIN, 8, 2).await.unwrap(), [14, 21]);
        assert_eq!(store.bases(CHAIN, 0, 1_000).await.unwrap(), (0..100).map(|n| n * 7).collect::<Vec<_>>());
        assert!(store.bases(CHAIN, 701, 10).await.unwrap().is_empty());
        // Short listings are read one by one, and long ones by a consumer behind that.
        for from in [0, 1, 7, 300, 570, 581, 588, 595, 692, 693, 694] {
            for limit in [1, 15, 16, 17, 18, 1_000] {
                let expected: Vec<_> = (0..100).map(|n| n * 7).filter(|base| *base >= from).take(limit).collect();
                assert_eq!(store.bases(CHAIN, from, limit).await.unwrap(), expected, "{limit} from {from}");
                let sizes = store.entry_sizes(CHAIN, from, limit).await.unwrap();
                let size = |base| (base, entry(base, base + 7).len() as u64);
                assert_eq!(sizes, expected.into_iter().map(size).collect::<Vec<_>>(), "{limit} from {from}");
            }
        }
    }
    let fresh = open(&store.address()).await.unwrap();
    for offset in [0, 6, 7, 350, 351, 692, 693, 5_000] {
        let base = (offset / 7 * 7).min(693);
        assert_eq!(fresh.base_at(CHAIN, offset).await.unwrap(), Some(base), "{offset}");
        assert_eq!(fresh.entry(CHAIN, base).await.unwrap(), Some(entry(base, base + 7)));
    }
    assert_eq!(fresh.entry(CHAIN, 8).await.unwrap(), None);
    assert_eq!(fresh.logs("a", None, 10).await.unwrap(), ["climate", "other"]);
    assert_eq!(fresh.log_epochs("a", "climate").await.unwrap(), [1]);
}

#[tokio::test]
async fn all_chains_and_their_schemas_are_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), 1).await.unwrap();
    let store = open(&format!("{}?shards=2", cluster.url("FLEET"))).await.unwrap();
    assert_eq!(store.all_chains(None).await.unwrap(), Some(vec![]));
    let mut written = Vec::new();
    for agent in ["a", "b.c", "ü *", "d>"] {
        for (epoch, log) in [(1, "climate"), (3, "climate"), (3, "cli.mate")] {
            let chain = Chain { agent, epoch, log };
            store.note_schema(chain, [epoch as u8; 8]).await.unwrap();
            assert_eq!(store.commit(chain, 0, entry(0, 7)).await.unwrap(), Put::Created);
            written.push(OwnedChain { agent: agent.into(), epoch, log: log.into() });
        }
    }
    written.sort();
    let sorted = |chains: Option<Vec<OwnedChain>>| {
        let mut chains = chains.unwrap();
        chains.sort();
        chains
    };
    assert_eq!(sorted(store.all_chains(None).await.unwrap()), written);
    written.retain(|chain| chain.log == "climate");
    assert_eq!(sorted(store.all_chains(Some("climate")).await.unwrap()), written);
    let mut notes = store.all_notes("climate").await.unwrap().unwrap();
    notes.sort();
    assert_eq!(notes, written.into_iter().map(|chain| (chain.clone(), [chain.epoch as u8; 8])).collect::<Vec<_>>());
    assert!(store.all_notes("mate").await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn a_commit_anywhere_but_at_the_end_of_its_chain_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_cluster, store) = alone(folder.path()).await;
    let other = open(&store.address()).await.unwrap();
    assert_eq!(store.commit(CHAIN, 0, entry(0, 10)).await.unwrap(), Put::Created);
    for (base, next) in [(0, 10), (0, 20), (5, 15), (20, 30)] {
        for store in [&store, &other] {
            assert_eq!(store.commit(CHAIN, base, entry(base, next)).await.unwrap(), Put::Exists, "{base}");
        }
    }
    // One hub goes on, and the other's memory of the end is old.
    assert_eq!(other.commit(CHAIN, 10, entry(10, 20)).await.unwrap(), Put::Created);
    assert_eq!(store.commit(CHAIN, 10, entry(10, 15)).await.unwrap(), Put::Exists);
    assert_eq!(store.commit(CHAIN, 20, entry(20, 30)).await.unwrap(), Put::Created);
    assert_eq!(store.bases(CHAIN, 0, 10).await.unwrap(), [0, 10, 20]);
}

#[tokio::test]
async fn a_fleet_syncs_into_streams_as_into_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), 1).await.unwrap();
    let (one, two) = (hub(&cluster).await, hub(&cluster).await);
    let mut device = Device::new("board-17", "mesures de l'air", 1);
    device.hello(&one.url()).await;
    let pieces = [device.segment(10), device.segment(5), device.loss(3), device.segment(2)];
    assert_eq!(device.send(&one.url(), &pieces).await, 20);
    // Any hub serves any agent at any moment, and what was sent before changes nothing.
    assert_eq!(device.send(&two.url(), &pieces[1..]).await, 20);
    let more = device.segment(10);
    assert_eq!(device.send(&two.url(), std::slice::from_ref(&more)).await, 30);
    let last = device.segment(1);
    assert_eq!(device.send(&one.url(), &[more, last]).await, 31);

    // A new life of the device: the old one is closed with a receipt.
    let mut next = Device::new("board-17", "mesures de l'air", 2);
    assert_eq!(next.hello(&two.url()).await.epoch.0, 2);
    let segment = next.segment(4);
    assert_eq!(next.send(&one.url(), &[segment]).await, 4);
    let late = device.segment(1);
    let refusal = device.try_send(&two.url(), &[late]).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Fenced { .. }), "{refusal:?}");

    for hub in [&one, &two] {
        let account = get_json(&next.at(&hub.url())).await;
        assert_eq!(account["epochs"][0]["committed"], 28, "{account}");
        assert_eq!(account["epochs"][1]["committed"], 4, "{account}");
        let agents = get_json(&format!("{}/v1/agents", hub.url())).await;
        assert!(agents.to_string().contains("board-17"), "{agents}");
    }
    in_order(&open(&cluster.url("FLEET")).await.unwrap()).await;
}

async fn in_order(store: &SharedStore) {
    let scope = Scope { decode: true, ..Scope::default() };
    let mut findings = Vec::new();
    verify(&**store, &scope, |finding| findings.push(finding.clone())).await.unwrap();
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding.fault.is_none()), "{findings:?}");
}

#[tokio::test]
async fn retention_deletes_messages_and_a_hub_that_hung_commits_nothing_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (_cluster, store) = alone(folder.path()).await;
    let (stale, fresh) =
        (hub_on(open(&store.address()).await.unwrap()).await, hub_on(SharedStore::clone(&store)).await);
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&stale.url()).await;
    let pieces = [device.segment(10), device.segment(5), device.loss(3), device.segment(2), device.segment(4)];
    assert_eq!(device.send(&stale.url(), &pieces[..1]).await, 10);
    assert_eq!(device.send(&fresh.url(), &pieces[1..]).await, 24);
    let before = get_json(&device.at(&fresh.url())).await;
    let chain = Chain { agent: "board-17", ..CHAIN };
    let sizes = store.entry_sizes(chain, 15, 2).await.unwrap();
    let read = [15, 18].map(async |base| (base, store.entry(chain, base).await.unwrap().unwrap().len() as u64));
    assert_eq!(sizes, futures_util::future::join_all(read).await);

    let limits = Limits { max_age: None, max_bytes: Some(0) };
    let trim = Trim { store: &*store, agent: "board-17", log: "climate", limits, now: 0, dry_run: false };
    let done = trim.run(&mut Budget(1_000)).await.unwrap();
    assert_eq!((done.entries, done.records, done.stuck), (3, 17, vec![]));
    assert_eq!(store.bases(chain, 0, 10).await.unwrap(), [15, 20], "the receipt and the last entry stay");
    store.remove_entries(chain, &[0, 10, 18]).await.unwrap();
    assert_eq!(trim.run(&mut Budget(1_000)).await.unwrap().entries, 0);

    for url in [stale.url(), fresh.url()] {
        for piece in &pieces {
            assert_eq!(device.send(&url, std::slice::from_ref(piece)).await, 24);
        }
    }
    assert_eq!(store.bases(chain, 0, 10).await.unwrap(), [15, 20]);
    let mut after = get_json(&device.at(&stale.url())).await;
    let deleted = after["epochs"][0].as_object_mut().unwrap().remove("deleted").unwrap();
    assert_eq!((deleted["records"].as_u64(), deleted["below"].as_u64()), (Some(17), Some(20)));
    assert_eq!(after, before);
    in_order(&store).await;
}

#[tokio::test]
async fn agents_are_divided_among_streams_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), 1).await.unwrap();
    let url = format!("{}?shards=3", cluster.url("FLEET"));
    let store = open(&url).await.unwrap();
    let agents: Vec<_> = (0..12).map(|number| format!("board-{number:02}")).collect();
    for agent in &agents {
        store.create_epoch(agent, 1, Bytes::from_static(b"record")).await.unwrap();
        store.commit(Chain { agent, ..CHAIN }, 0, entry(0, 10)).await.unwrap();
    }
    assert_eq!(store.agents(None, 100).await.unwrap(), agents);
    assert_eq!(store.agents(Some("board-03"), 2).await.unwrap(), ["board-04", "board-05"]);
    let Err(OpenError::Unfit(error)) = open(&cluster.url("FLEET")).await else { panic!("it was taken") };
    assert!(error.contains("write ?shards=3"), "{error}");
    let again = open(&url).await.unwrap();
    for agent in &agents {
        assert_eq!(again.last_entry(Chain { agent, ..CHAIN }).await.unwrap(), Some((0, entry(0, 10))));
    }
}

#[tokio::test]
async fn a_stream_that_would_lose_records_is_refused_with_every_difference_and_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), 1).await.unwrap();
    let client = async_nats::connect(cluster.url("FLEET").trim_end_matches("/FLEET").to_owned()).await.unwrap();
    let streams = async_nats::jetstream::new(client);
    let config = StreamConfig {
        name: "FLEET".into(),
        subjects: vec!["FLEET.>".into()],
        discard: DiscardPolicy::Old,
        max_age: std::time::Duration::from_secs(3_600),
        max_messages_per_subject: 5,
        ..StreamConfig::default()
    };
    streams.create_stream(config).await.unwrap();
    let Err(OpenError::Unfit(error)) = open(&cluster.url("FLEET")).await else { panic!("it was taken") };
    for part in [
        "max age: 1h instead of none",
        "discard: old instead of new",
        "messages per subject: 5",
        "nats stream edit FLEET --discard=new --max-age=0 --max-msgs-per-subject=-1 --allow-direct",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let Err(OpenError::Unfit(error)) = open(&format!("{}?replicas=3", cluster.url("OTHER"))).await else {
        panic!("one server has three copies")
    };
    assert!(error.contains("?replicas=1"), "{error}");
}

#[tokio::test]
async fn no_batch_is_larger_than_what_the_servers_take() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::with(folder.path(), 1, "max_payload: 100000").await.unwrap();
    let hub = hub(&cluster).await;
    let mut device = Device::new("board-17", "climate", 1);
    let ack = device.hello(&hub.url()).await;
    assert!((90_000..100_000).contains(&ack.max_batch), "{}", ack.max_batch);
    let segment = device.segment(5_000);
    assert_eq!(device.send(&hub.url(), &[segment]).await, 5_000);
    let large = device.segment(200_000);
    let refusal = device.try_send(&hub.url(), &[large]).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::TooLarge { .. }), "{refusal:?}");
}

#[tokio::test]
async fn without_a_quorum_agents_keep_their_data_and_are_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path(), 3).await.unwrap();
    let hub = hub(&cluster).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let first = device.segment(10);
    assert_eq!(device.send(&hub.url(), &[first]).await, 10);
    cluster.kill(0);
    cluster.kill(1);
    let more = device.segment(10);
    let refusal = device.try_send(&hub.url(), std::slice::from_ref(&more)).await.unwrap_err();
    assert!(matches!(refusal.kind, RefusalKind::Busy { .. }), "{refusal:?}");
    cluster.up().await.unwrap();
    let mut taken = None;
    for _ in 0..600 {
        taken = device.try_send(&hub.url(), std::slice::from_ref(&more)).await.ok();
        if taken.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(taken.unwrap().cursors[0].1.next, 20);
    in_order(&open(&cluster.url("FLEET")).await.unwrap()).await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_renew() {
    let folder = tempfile::tempdir().unwrap();
    let login = "authorization { user: hub, password: right-secret }";
    let cluster = Cluster::with(folder.path(), 1, login).await.unwrap();
    let Err(OpenError::Unfit(error)) = open(&cluster.url("FLEET")).await else { panic!("let in") };
    assert!(error.contains("password_file"), "{error}");
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong-secret\n").unwrap();
    let url = format!("{}?user=hub&password_file={}", cluster.url("FLEET"), file.display());
    let Err(OpenError::Unfit(error)) = open(&url).await else { panic!("let in") };
    assert!(error.contains("renew") && error.contains("password") && !error.contains("wrong-secret"), "{error}");
    std::fs::write(&file, "right-secret\n").unwrap();
    let store = open(&url).await.unwrap();
    store.check().await.unwrap();
    assert!(!store.address().contains("password"), "{}", store.address());
}

//! Retention: what is deleted is named and counted, and nothing else changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pyralog_hub::auth::Auth;
use pyralog_hub::retention::{Budget, Limits, LogRule, RetentionConfig, Trim, Trimmed};
use pyralog_hub::run::start_on;
use pyralog_hub::store::{SharedStore, open_directory};
use pyralog_hub::verify::{Finding, Scope, verify};
use serde_json::{Value, json};

use crate::device::{Device, Piece, client, config, get, get_json, hub};

const DAY: i64 = 86_400_000_000_000;

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

fn open(folder: &Path) -> SharedStore {
    Arc::new(open_directory(folder).unwrap())
}

fn bytes(max_bytes: u64) -> Limits {
    Limits { max_age: None, max_bytes: Some(max_bytes) }
}

fn age(days: u64) -> Limits {
    Limits { max_age: Some(Duration::from_secs(days * 86_400)), max_bytes: None }
}

async fn trim_at(folder: &Path, log: &str, limits: Limits, now: i64) -> Trimmed {
    let store = open(folder);
    let trim = Trim { store: &*store, agent: "board-17", log, limits, now, dry_run: false };
    trim.run(&mut Budget(10_000)).await.unwrap()
}

async fn trim(folder: &Path, limits: Limits) -> Trimmed {
    trim_at(folder, "climate", limits, now()).await
}

async fn findings(folder: &Path) -> Vec<Finding> {
    let store = open(folder);
    let mut findings = Vec::new();
    let scope = Scope { decode: true, ..Scope::default() };
    verify(&*store, &scope, |finding| findings.push(finding.clone())).await.unwrap();
    findings
}

async fn in_order(folder: &Path) {
    let findings = findings(folder).await;
    assert!(findings.iter().all(|finding| finding.fault.is_none()), "{findings:?}");
}

/// 10 + 5 records, 3 evicted, 2, 4 records: each of them an entry.
fn pieces(device: &mut Device) -> Vec<Piece> {
    vec![device.segment(10), device.segment(5), device.loss(3), device.segment(2), device.segment(4)]
}

/// Offsets of each record of an answer.
fn offsets(ndjson: &str) -> Vec<u64> {
    let lines = ndjson.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|record| record["offset"].as_u64().unwrap()).collect()
}

async fn deleted_below(url: &str) -> Option<String> {
    let response = client().get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.headers().get("x-pyralog-deleted-below").map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_oldest_records_go_and_the_account_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let pieces = pieces(&mut device);
    assert_eq!(device.send(&hub.url(), &pieces).await, 24);
    let before = get_json(&device.at(&hub.url())).await;
    assert_eq!(before["epochs"][0].get("deleted"), None);

    let done = trim(folder.path(), bytes(0)).await;
    assert_eq!((done.entries, done.records, done.stuck), (3, 17, vec![]));
    let after = get_json(&device.at(&hub.url())).await;
    let deleted = &after["epochs"][0]["deleted"];
    assert_eq!((&deleted["below"], &deleted["records"]), (&json!(20), &json!(17)));
    assert_eq!((&deleted["min_time"], &deleted["max_time"]), (&json!(0), &json!(19_000)));
    assert_eq!(deleted["bytes"].as_u64(), Some(done.bytes));
    let mut without = after.clone();
    without["epochs"][0].as_object_mut().unwrap().remove("deleted");
    assert_eq!(without, before, "deletion changes nothing else of the account");
    assert_eq!(after["epochs"][0]["receipts"][0]["from"], 15);

    let records = format!("{}/records", device.at(&hub.url()));
    assert_eq!(offsets(&get(&records).await.1), [20, 21, 22, 23]);
    in_order(folder.path()).await;
    let left = &findings(folder.path()).await[0];
    assert_eq!((left.entries, left.records, left.receipted, left.deleted), (2, 4, 3, 17));
    assert_eq!(trim(folder.path(), bytes(0)).await, Trimmed::default(), "nothing is deleted twice");
}

#[tokio::test]
async fn a_range_that_was_deleted_is_named_and_one_that_was_not_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let pieces = pieces(&mut device);
    device.send(&hub.url(), &pieces).await;
    let records = format!("{}/records", device.at(&hub.url()));
    assert_eq!(deleted_below(&records).await, None);
    trim(folder.path(), bytes(0)).await;
    for (query, deleted, expected) in [
        ("", Some("1/20"), 20..24),
        ("?from_offset=19", Some("1/20"), 20..24),
        ("?from_offset=20", None, 20..24),
        ("?from_offset=22", None, 22..24),
        ("?from=19000", Some("1/20"), 20..24),
        ("?from=19001&to=22000", None, 20..22),
        ("?to=0", None, 0..0),
        ("?to=1", Some("1/20"), 0..0),
        ("?epoch=1&from_offset=3&limit=2", Some("1/20"), 20..22),
    ] {
        let url = format!("{records}{query}");
        assert_eq!(deleted_below(&url).await.as_deref(), deleted, "{query}");
        assert_eq!(offsets(&get(&url).await.1), expected.collect::<Vec<_>>(), "{query}");
    }
}

#[tokio::test]
async fn what_arrives_again_after_it_was_deleted_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&first.url()).await;
    let pieces = pieces(&mut device);
    device.send(&first.url(), &pieces).await;
    trim(folder.path(), bytes(0)).await;
    let account = get_json(&device.at(&first.url())).await;
    // At the hub that remembers the chain, and at one that knows nothing.
    let second = hub(folder.path()).await;
    for url in [first.url(), second.url()] {
        for piece in &pieces {
            assert_eq!(device.send(&url, std::slice::from_ref(piece)).await, 24);
        }
        assert_eq!(device.send(&url, &[device.loss_of(0, 15)]).await, 24);
        let hello = device.hello(&url).await;
        assert_eq!((hello.cursors[0].1.next, hello.cursors[0].1.lost()), (24, 3));
    }
    assert_eq!(get_json(&device.at(&second.url())).await, account);
    in_order(folder.path()).await;
}

#[tokio::test]
async fn a_hub_that_hung_since_before_the_deletion_commits_nothing_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (stale, fresh) = (hub(folder.path()).await, hub(folder.path()).await);
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&stale.url()).await;
    let pieces = pieces(&mut device);
    // This hub goes on to believe that the log ends at 10.
    assert_eq!(device.send(&stale.url(), &pieces[..1]).await, 10);
    assert_eq!(device.send(&fresh.url(), &pieces[1..]).await, 24);
    trim(folder.path(), bytes(0)).await;
    let account = get_json(&device.at(&fresh.url())).await;
    // A delayed segment, and a receipt that claims what was committed and more: both find their place empty.
    assert_eq!(device.send(&stale.url(), &pieces[1..2]).await, 24);
    let other = hub(folder.path()).await;
    assert_eq!(get_json(&device.at(&other.url())).await, account);
    in_order(folder.path()).await;
    let next = device.segment(1);
    assert_eq!(device.send(&stale.url(), &[next]).await, 25);
}

#[tokio::test]
async fn a_receipt_that_comes_too_late_is_in_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let (stale, fresh) = (hub(folder.path()).await, hub(folder.path()).await);
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&stale.url()).await;
    let pieces = pieces(&mut device);
    assert_eq!(device.send(&stale.url(), &pieces[..1]).await, 10);
    assert_eq!(device.send(&fresh.url(), &pieces[1..]).await, 24);
    trim(folder.path(), bytes(0)).await;
    let account = get_json(&device.at(&fresh.url())).await;
    device.head = 40;
    let late = device.loss_of(10, 40);
    let end = device.try_send(&stale.url(), &[late]).await;
    // The hub reads the chain again and finds its end at 24: of the receipt, what is above counts.
    assert_eq!(end.unwrap().cursors[0].1.next, 40);
    let mut after = get_json(&device.at(&fresh.url())).await;
    let receipts = after["epochs"][0]["receipts"].take();
    let ranges: Vec<_> = receipts.as_array().unwrap().iter().map(|r| (r["from"].clone(), r["to"].clone())).collect();
    assert_eq!(ranges, [(json!(15), json!(18)), (json!(24), json!(40))]);
    assert_eq!(after["epochs"][0]["committed"], account["epochs"][0]["committed"]);
    in_order(folder.path()).await;
}

#[tokio::test]
async fn an_agent_that_restarts_after_everything_was_deleted_gets_its_old_epoch_closed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let all = pieces(&mut device);
    device.send(&hub.url(), &all).await;
    trim(folder.path(), bytes(0)).await;
    device.segment(6);
    device.hello(&hub.url()).await;
    let mut next = Device::new("board-17", "climate", 2);
    let hello = next.hello(&hub.url()).await;
    assert_eq!((hello.epoch.0, hello.cursors.first().map_or(0, |(_, cursor)| cursor.next)), (2, 0));
    let all = pieces(&mut next);
    next.send(&hub.url(), &all).await;
    let account = get_json(&next.at(&hub.url())).await;
    let (old, new) = (&account["epochs"][0], &account["epochs"][1]);
    assert_eq!((&old["closed"], &old["next_offset"], &old["receipted"]["lost"]), (&json!(true), &json!(30), &json!(6)));
    assert_eq!((&old["committed"], &old["deleted"]["records"], new.get("deleted")), (&json!(21), &json!(17), None));
    // Now the last segment of the old epoch is not its last entry any more.
    let done = trim(folder.path(), bytes(0)).await;
    assert_eq!((done.entries, done.records), (1 + 3, 4 + 17));
    let account = get_json(&next.at(&hub.url())).await;
    assert_eq!(account["epochs"][0]["deleted"]["records"], 21);
    assert_eq!(account["epochs"][0]["receipts"].as_array().unwrap().len(), 2);
    assert_eq!(offsets(&get(&format!("{}/records", next.at(&hub.url()))).await.1), [20, 21, 22, 23]);
    in_order(folder.path()).await;
}

#[tokio::test]
async fn age_counts_from_when_a_hub_received_a_record_whatever_the_device_says_of_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    // Its clock says 1970.
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let all = pieces(&mut device);
    device.send(&hub.url(), &all).await;
    assert_eq!(trim(folder.path(), age(1)).await, Trimmed::default());
    assert_eq!(trim_at(folder.path(), "climate", age(30), now() + 29 * DAY).await, Trimmed::default());
    // A hub whose clock was never set deletes nothing by age.
    assert_eq!(trim_at(folder.path(), "climate", age(1), 0).await, Trimmed::default());
    let done = trim_at(folder.path(), "climate", age(30), now() + 31 * DAY).await;
    assert_eq!((done.entries, done.records), (3, 17));
    in_order(folder.path()).await;
}

#[tokio::test]
async fn a_limit_on_bytes_keeps_the_newest_that_fit_over_all_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    for incarnation in [1, 2, 3] {
        let mut device = Device::new("board-17", "climate", incarnation);
        device.hello(&hub.url()).await;
        let all: Vec<_> = (0..8).map(|_| device.segment(20)).collect();
        device.send(&hub.url(), &all).await;
    }
    let store = open(folder.path());
    let size = async |epoch| {
        let chain = pyralog_hub::store::Chain { agent: "board-17", epoch, log: "climate" };
        store.entry_sizes(chain, 0, 100).await.unwrap().iter().map(|(_, size)| size).sum::<u64>()
    };
    let total = size(1).await + size(2).await + size(3).await;
    let most = size(3).await + size(2).await / 2;
    let done = trim(folder.path(), bytes(most)).await;
    let left = size(1).await + size(2).await + size(3).await;
    assert_eq!(total - left, done.bytes);
    assert!(left <= most && left + 2 * total / 24 > most, "{left} of {most} bytes are left");
    // Of the first epoch the closing entry is left, of the last nothing is gone.
    let account = get_json(&format!("{}/v1/agents/board-17/logs/climate", hub.url())).await;
    let deleted: Vec<_> = (0..3).map(|at| account["epochs"][at]["deleted"]["records"].as_u64()).collect();
    assert!(deleted[0] == Some(160) && deleted[1].is_some_and(|n| n < 160) && deleted[2].is_none(), "{deleted:?}");
    in_order(folder.path()).await;
}

#[tokio::test]
async fn a_hub_that_died_between_the_mark_and_the_deletes_is_followed_by_one_that_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let all = pieces(&mut device);
    device.send(&hub.url(), &all).await;
    let chain = folder.path().join("agents/board-17/logs/climate/0000000001");
    let files = || {
        let mut names: Vec<_> =
            std::fs::read_dir(&chain).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with('0'));
        names.sort();
        names.iter().map(|name| name.parse().unwrap()).collect::<Vec<u64>>()
    };
    let saved: Vec<_> = [0, 10].map(|base| std::fs::read(chain.join(format!("{base:020}"))).unwrap()).into();
    trim(folder.path(), bytes(0)).await;
    assert_eq!(files(), [15, 20], "the receipt and the last entry stay");
    // As if it had not come to them.
    for (base, bytes) in [0, 10].into_iter().zip(saved) {
        std::fs::write(chain.join(format!("{base:020}")), bytes).unwrap();
    }
    let records = format!("{}/records", device.at(&hub.url()));
    assert_eq!(offsets(&get(&records).await.1), [20, 21, 22, 23], "what is marked is deleted");
    in_order(folder.path()).await;
    assert_eq!(trim(folder.path(), bytes(0)).await, Trimmed::default(), "it was counted already");
    assert_eq!(files(), [15, 20]);
    // One mark is left, however often it moved.
    for _ in 0..5 {
        let more = [device.segment(1), device.segment(1)];
        device.send(&hub.url(), &more).await;
        trim(folder.path(), bytes(0)).await;
    }
    assert_eq!(std::fs::read_dir(chain.join("trimmed")).unwrap().count(), 1);
    in_order(folder.path()).await;
}

#[tokio::test]
async fn nothing_is_deleted_over_damage() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let all = pieces(&mut device);
    device.send(&hub.url(), &all).await;
    let chain = folder.path().join("agents/board-17/logs/climate/0000000001");
    let damaged = chain.join(format!("{:020}", 10));
    let mut bytes_of = std::fs::read(&damaged).unwrap();
    bytes_of[40] ^= 1;
    std::fs::write(&damaged, &bytes_of).unwrap();
    let done = trim(folder.path(), bytes(0)).await;
    assert_eq!((done.entries, done.records, done.stuck.len()), (1, 10, 1));
    assert!(done.stuck[0].0.ends_with("/00000000000000000010"), "{:?}", done.stuck);
    let findings = findings(folder.path()).await;
    assert!(findings[0].fault.as_ref().unwrap().name.ends_with("/00000000000000000010"), "{findings:?}");
}

#[tokio::test]
async fn verify_still_names_what_is_missing_above_the_mark_and_receipts_below() {
    for base in [15, 18, 20] {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(folder.path()).await;
        let mut device = Device::new("board-17", "climate", 1);
        device.hello(&hub.url()).await;
        let mut all = pieces(&mut device);
        all.push(device.segment(1));
        device.send(&hub.url(), &all).await;
        // 18 stays when the limit leaves room for three entries.
        let limit = if base == 18 { 700 } else { 0 };
        trim(folder.path(), bytes(limit)).await;
        let chain = folder.path().join("agents/board-17/logs/climate/0000000001");
        let missing = chain.join(format!("{base:020}"));
        if base == 15 {
            std::fs::remove_file(&missing).unwrap();
            let fault = findings(folder.path()).await[0].fault.clone().unwrap();
            assert!(fault.reason.contains("3 records receipted below offset 24"), "{fault:?}");
        } else if missing.exists() {
            std::fs::remove_file(&missing).unwrap();
            let fault = findings(folder.path()).await[0].fault.clone().unwrap();
            assert!(fault.name.ends_with(&format!("/{base:020}")), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let all = pieces(&mut device);
    device.send(&hub.url(), &all).await;
    let store = open(folder.path());
    let dry = Trim { store: &*store, agent: "board-17", log: "climate", limits: bytes(0), now: now(), dry_run: true };
    let said = dry.run(&mut Budget(1_000)).await.unwrap();
    assert_eq!(offsets(&get(&format!("{}/records", device.at(&hub.url()))).await.1).len(), 21);
    assert_eq!(trim(folder.path(), bytes(0)).await, said);
}

#[tokio::test]
async fn work_that_is_more_than_the_budget_is_finished_later() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path()).await;
    let mut device = Device::new("board-17", "climate", 1);
    device.hello(&hub.url()).await;
    let all: Vec<_> = (0..3_000).map(|_| device.segment(1)).collect();
    for some in all.chunks(500) {
        device.send(&hub.url(), some).await;
    }
    let store = open(folder.path());
    let trim = Trim { store: &*store, agent: "board-17", log: "climate", limits: bytes(0), now: now(), dry_run: false };
    let (mut sum, mut runs) = (Trimmed::default(), 0);
    loop {
        let done = trim.run(&mut Budget(1_500)).await.unwrap();
        let unfinished = done.unfinished;
        sum.add(done);
        runs += 1;
        if !unfinished {
            break;
        }
        in_order(folder.path()).await;
        assert!(runs < 10);
    }
    assert!(sum.records == 2_999 && runs > 1, "{sum:?} in {runs} runs");
    in_order(folder.path()).await;
}

#[tokio::test]
async fn hubs_keep_to_their_limits_by_themselves_log_by_log_and_from_a_reload_on() {
    let folder = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(20);
    let idle = pyralog_hub::config::Config {
        retention: RetentionConfig { interval, ..RetentionConfig::default() },
        ..config()
    };
    let rule = LogRule { log: "vib*".into(), max_bytes: Some(Some(0)), ..LogRule::default() };
    let strict = pyralog_hub::config::Config {
        retention: RetentionConfig { rules: vec![rule], ..idle.retention.clone() },
        ..idle.clone()
    };
    let mut hubs = Vec::new();
    for _ in 0..2 {
        hubs.push(start_on(&idle, Auth::open(None).unwrap(), open(folder.path())).await.unwrap());
    }
    let url = hubs[0].url();
    for (incarnation, agent, log) in [(1, "board-17", "climate"), (2, "board-18", "vibration"), (3, "board-19", "vib")]
    {
        let mut device = Device::new(agent, log, incarnation);
        device.hello(&url).await;
        let all = pieces(&mut device);
        device.send(&url, &all).await;
    }
    let deleted = async |agent: &str, log: &str| {
        let account = get_json(&format!("{url}/v1/agents/{agent}/logs/{log}")).await;
        account["epochs"][0]["deleted"]["records"].as_u64()
    };
    assert_eq!(deleted("board-19", "vib").await, None);
    hubs.iter().for_each(|hub| hub.reload(&idle, &strict).unwrap());
    for attempt in 0.. {
        if deleted("board-18", "vibration").await.is_some() && deleted("board-19", "vib").await.is_some() {
            break;
        }
        assert!(attempt < 1_000, "nothing is deleted");
        tokio::time::sleep(interval).await;
    }
    assert_eq!(deleted("board-18", "vibration").await, Some(17));
    assert_eq!((deleted("board-19", "vib").await, deleted("board-17", "climate").await), (Some(17), None));
    let mut counted = 0;
    for attempt in 0.. {
        counted = 0;
        for hub in &hubs {
            let (_, metrics) = get(&format!("{}/metrics", hub.url())).await;
            let count = metrics.lines().find_map(|line| line.strip_prefix("pyralog_hub_deleted_records_total "));
            counted += count.unwrap().parse::<u64>().unwrap();
        }
        if counted >= 34 || attempt > 1_000 {
            break;
        }
        tokio::time::sleep(interval).await;
    }
    // Where both came to one log at once, both count it.
    assert!((34..=68).contains(&counted), "{counted}");
    in_order(folder.path()).await;
    for hub in hubs {
        assert!(hub.stop().await);
    }
}

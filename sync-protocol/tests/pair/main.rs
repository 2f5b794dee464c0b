//! The two peers of the protocol against each other, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../peers/mod.rs"]
mod peers;
mod world;

use peers::ring::{Logs, Ring};
use peers::store::Store;
use pyralog_sync_protocol::frame::{
    BatchHead, Hello, HelloAck, LogHead, Reason, Refusal, RefusalKind, Reply, SegmentFrame, put_schema,
};
use pyralog_sync_protocol::limits::MIN_BATCH;
use pyralog_sync_protocol::receiver::Terms;
use pyralog_sync_protocol::{
    Action, Answer, BatchReceiver, Cursor, Epoch, HelloReceiver, Incarnation, Item, LogName, Sender, SenderConfig,
    SenderState, Source, Step,
};
use std::collections::BTreeMap;
use std::time::Duration;
use world::{CALM, STORM, Weather, World};

#[test]
fn on_a_calm_day_everything_is_committed_and_nothing_is_lost() {
    let mut world = World::new(1, CALM);
    world.run(60_000);
    world.settle();
    world.check();
    let newest = *world.store.epochs.keys().next_back().unwrap();
    for log in world.logs.clone() {
        let tip = world.store.tip(newest, &log);
        assert_eq!((tip.cursor.committed(), tip.cursor.lost()), (world.ring.head(&log), 0));
        assert!(tip.cursor.next > 50);
    }
}

#[test]
fn any_two_honest_histories_keep_the_account() {
    // More on request: PYRALOG_HISTORIES=100000 cargo test -p pyralog-sync-protocol --test pair
    let histories = std::env::var("PYRALOG_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    for seed in 0..histories {
        let mut world = World::new(seed, STORM);
        world.run(120_000);
        world.settle();
        world.check();
    }
}

#[test]
fn the_storm_is_worth_its_name() {
    let (mut lost, mut epochs, mut commits) = (0, 0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed, STORM);
        world.run(120_000);
        world.settle();
        lost += world.store.check().unwrap().values().map(|(_, lost)| lost).sum::<u64>();
        epochs += world.store.epochs.len();
        commits += world.store.entries.values().map(BTreeMap::len).sum::<usize>();
    }
    assert!(lost > 100 && epochs > 40 && commits > 500, "{lost} lost, {epochs} epochs, {commits} commits");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = || {
        let mut world = World::new(77, STORM);
        world.run(120_000);
        world.store.entries
    };
    assert_eq!(run(), run());
}

#[test]
fn a_hub_that_is_away_longer_than_the_ring_lasts_gets_receipts_for_the_rest() {
    let away = Weather { lose: 1000, ..CALM };
    let mut world = World::new(5, away);
    world.run(60_000);
    assert!(world.store.entries.is_empty());
    world.settle();
    world.check();
    assert!(world.logs.iter().all(|log| world.cursor(log).receipted[0] > 0), "evictions are receipted");
}

/// Runs a hello that knows the newest epoch against the store to its reply.
fn hello(store: &mut Store, incarnation: Incarnation, logs: Vec<LogHead>) -> Reply {
    let after = store.epochs.keys().next_back().copied().unwrap_or(Epoch(0));
    hello_after(store, incarnation, after, logs)
}

fn hello_after(store: &mut Store, incarnation: Incarnation, after: Epoch, logs: Vec<LogHead>) -> Reply {
    let bytes = Hello { incarnation, epoch: None, after, logs }.encode();
    let mut receiver = HelloReceiver::new(&bytes, Terms::default(), 0);
    for _ in 0..100 {
        match receiver.poll().clone() {
            Step::Reply(reply) => return reply,
            step => receiver.handle(store.take(&step)),
        }
    }
    panic!("no reply within 100 steps");
}

#[test]
fn an_older_incarnation_is_fenced_for_good() {
    let mut store = Store::default();
    let (old, new) = (Incarnation([1; 16]), Incarnation([2; 16]));
    assert!(matches!(hello(&mut store, old, vec![]), Reply::Hello(ack) if ack.epoch == Epoch(1)));
    assert!(matches!(hello(&mut store, new, vec![]), Reply::Hello(ack) if ack.epoch == Epoch(2)));
    for _ in 0..3 {
        let Reply::Refusal(refusal) = hello(&mut store, old, vec![]) else { panic!("an old incarnation got in") };
        assert_eq!(refusal.kind, RefusalKind::Fenced { newest: Epoch(2) });
        // And the sender stays away, however often it is asked.
        let ring = Ring::new(Logs::new(), 6, 5);
        let mut sender = Sender::new(old, SenderConfig::default());
        sender.poll(Duration::ZERO, &ring);
        sender.handle_reply(Duration::ZERO, &refusal.encode(), &ring);
        sender.handle_flush();
        assert_eq!(sender.status().state, SenderState::Fenced);
        assert!(sender.status().last_error.unwrap().contains("stop one of the two"));
    }
    let batch = BatchReceiver::new(BatchHead { incarnation: old, epoch: Epoch(1) }.begin(), Terms::default(), 0);
    assert_eq!(batch.poll(), &Step::ReadEpoch);
    assert_eq!(store.epochs.len(), 2);
}

#[test]
fn a_late_first_hello_of_a_dead_process_cannot_fence_the_living() {
    let mut store = Store::default();
    let (dead, living) = (Incarnation([1; 16]), Incarnation([2; 16]));
    assert!(matches!(hello_after(&mut store, living, Epoch(0), vec![]), Reply::Hello(_)));
    let Reply::Refusal(refusal) = hello_after(&mut store, dead, Epoch(0), vec![]) else { panic!("it got an epoch") };
    assert_eq!(refusal.kind, RefusalKind::Newest { newest: Epoch(1) });
    assert_eq!(store.epochs.len(), 1);
}

#[test]
fn what_a_crashed_agent_had_told_of_is_receipted_as_lost() {
    let mut store = Store::default();
    let log = LogName::new("climate").unwrap();
    hello(&mut store, Incarnation([1; 16]), vec![LogHead { log: log.clone(), tail: 0, head: 12 }]);
    hello(&mut store, Incarnation([2; 16]), vec![]);
    let tip = store.tip(Epoch(1), &log);
    assert!(tip.closed);
    assert_eq!((tip.cursor.next, tip.cursor.receipted), (12, [0, 0, 12, 0]));
}

/// Lets a receiver take up to so many steps; its reply, if it has come to one.
fn steps(store: &mut Store, receiver: &mut HelloReceiver, count: usize) -> Option<Reply> {
    for _ in 0..count {
        match receiver.poll().clone() {
            Step::Reply(reply) => return Some(reply),
            step => receiver.handle(store.take(&step)),
        }
    }
    None
}

#[test]
fn a_hello_that_is_answered_while_its_epoch_ends_is_still_accounted_for() {
    let log = LogName::new("climate").unwrap();
    let (old, new) = (Incarnation([1; 16]), Incarnation([2; 16]));
    let logs = vec![LogHead { log: log.clone(), tail: 0, head: 3 }];
    let told = Hello { incarnation: old, epoch: Some(Epoch(1)), after: Epoch(1), logs }.encode();
    let opening = Hello { incarnation: new, epoch: None, after: Epoch(1), logs: vec![] }.encode();
    let (mut acked, mut fenced) = (0, 0);
    for (before, between) in (0..20).flat_map(|before| (0..20).map(move |between| (before, between))) {
        let mut store = Store::default();
        hello(&mut store, old, vec![]);
        let mut late = HelloReceiver::new(&told, Terms::default(), 0);
        let mut next = HelloReceiver::new(&opening, Terms::default(), 0);
        steps(&mut store, &mut late, before);
        steps(&mut store, &mut next, between);
        let reply = steps(&mut store, &mut late, 100).expect("an answer");
        steps(&mut store, &mut next, 100).expect("an answer");
        match reply {
            Reply::Hello(ack) => {
                acked += 1;
                let lost: u64 = ack.cursors.iter().map(|(_, cursor)| cursor.lost()).sum();
                assert_eq!(lost, 0, "after {before} and {between} steps it is told of an end as if it could go on");
                assert_eq!(store.tip(Epoch(1), &log).cursor.next, 3, "after {before} and {between} steps");
            }
            _ => fenced += 1,
        }
    }
    assert!(acked > 20 && fenced > 20, "{acked} {fenced}");
}

#[test]
fn a_hello_that_finds_an_older_epoch_unfinished_finishes_it() {
    let mut store = Store::default();
    let log = LogName::new("climate").unwrap();
    hello(&mut store, Incarnation([1; 16]), vec![LogHead { log: log.clone(), tail: 0, head: 12 }]);
    // The hub dies right after it created epoch 2; then the agent restarts, too, and opens epoch 3.
    let bytes = Hello { incarnation: Incarnation([2; 16]), epoch: None, after: Epoch(1), logs: vec![] }.encode();
    let mut receiver = HelloReceiver::new(&bytes, Terms::default(), 0);
    while !matches!(receiver.poll(), Step::IsClosed { .. }) {
        let step = receiver.poll().clone();
        receiver.handle(store.take(&step));
    }
    assert_eq!(store.epochs.len(), 2);
    hello(&mut store, Incarnation([3; 16]), vec![]);
    assert!(store.tip(Epoch(1), &log).closed);
}

#[test]
fn a_hub_that_takes_next_to_nothing_gets_what_must_fit_and_costs_no_records() {
    let (ring, log, now) = (Ring::new(Logs::new(), 1, 1), LogName::new("climate").unwrap(), Duration::ZERO);
    for _ in 0..2 {
        ring.append(&log, |offset| offset);
    }
    let mut sender = Sender::new(Incarnation([1; 16]), SenderConfig::default());
    assert!(matches!(sender.poll(now, &ring), Action::Hello(_)));
    let ack = HelloAck { epoch: Epoch(1), max_batch: 1, pause: now, hub_time: 0, cursors: vec![] };
    sender.handle_reply(now, &ack.encode(), &ring);
    // The receipt for what was evicted, and the segment behind it.
    let batch = (0..2).map(|_| sender.poll(now, &ring)).find(|action| matches!(action, Action::Batch(_)));
    assert!(matches!(batch, Some(Action::Batch(bytes)) if bytes.len() <= MIN_BATCH));
    assert!(matches!(ring.item(&log, 1), Some(Item::Segment { .. })), "nothing was given up");
}

#[test]
fn a_log_that_goes_back_makes_the_sender_ask_about_all_logs() {
    let (ring, now) = (Ring::new(Logs::new(), 1, 4), Duration::ZERO);
    let [busy, quiet] = ["busy", "quiet"].map(|name| LogName::new(name).unwrap());
    let append = |log: &LogName| (0..2).for_each(|_| ring.append(log, |offset| offset));
    let cursor = |next| Cursor { next, receipted: [0; Reason::COUNT] };
    append(&busy);
    append(&quiet);
    let mut sender = Sender::new(Incarnation([1; 16]), SenderConfig::default());
    assert!(matches!(sender.poll(now, &ring), Action::Hello(_)));
    let cursors = [&busy, &quiet].map(|log| (log.clone(), cursor(2))).to_vec();
    let ack = HelloAck { epoch: Epoch(1), max_batch: 1 << 20, pause: now, hub_time: 0, cursors };
    sender.handle_reply(now, &ack.encode(), &ring);
    append(&busy);
    let sent = (0..2).map(|_| sender.poll(now, &ring)).find(|action| matches!(action, Action::Batch(_)));
    assert!(sent.is_some());
    // The hub's store was restored from a backup: it has one record of the log that is being sent.
    let kind = RefusalKind::Expected { log: busy.clone(), offset: 1 };
    let refusal = Refusal::new(kind, "a frame begins at 2, the hub expects 1", vec![(busy.clone(), cursor(1))]);
    sender.handle_reply(now, &refusal.encode(), &ring);
    let Action::Hello(hello) = sender.poll(now, &ring) else { panic!("it does not ask") };
    let asked: Vec<_> = Hello::decode(&hello).unwrap().logs.into_iter().map(|log| log.log).collect();
    assert_eq!(asked, [busy, quiet]);
}

#[test]
fn a_batch_of_an_unknown_session_is_told_to_say_hello() {
    let bytes = BatchHead { incarnation: Incarnation([9; 16]), epoch: Epoch(4) }.begin();
    let mut receiver = BatchReceiver::new(bytes, Terms::default(), 0);
    receiver.handle(Answer::Epoch(None));
    let Step::Reply(Reply::Refusal(refusal)) = receiver.poll() else { panic!("taken") };
    assert_eq!(refusal.kind, RefusalKind::UnknownSession);
}

#[test]
fn a_batch_that_is_too_large_or_damaged_is_refused_before_anything_is_read() {
    let terms = Terms { max_batch: 10, ..Terms::default() };
    let bytes = BatchHead { incarnation: Incarnation([9; 16]), epoch: Epoch(4) }.begin();
    for (bytes, terms, word) in
        [(bytes.clone(), terms, "too-large"), (bytes[..20].to_vec(), Terms::default(), "malformed")]
    {
        let receiver = BatchReceiver::new(bytes, terms, 0);
        let Step::Reply(Reply::Refusal(refusal)) = receiver.poll() else { panic!("taken") };
        assert_eq!(refusal.kind.word(), word);
    }
}

#[test]
fn a_store_restored_from_amid_a_change_of_epochs_has_the_change_ended_before_anything_is_taken() {
    let (mut store, log) = (Store::default(), LogName::new("climate").unwrap());
    hello(&mut store, Incarnation([1; 16]), vec![LogHead { log: log.clone(), tail: 0, head: 12 }]);
    let living = Incarnation([2; 16]);
    hello(&mut store, living, vec![]);
    // The backup is of the moment after the create of epoch 2; the agent goes on by the session that it has.
    store.closed.clear();
    store.entries.clear();
    let ring = Ring::new(Logs::new(), 9, 1);
    ring.append(&log, |offset| offset);
    let mut bytes = BatchHead { incarnation: living, epoch: Epoch(2) }.begin();
    LogHead { log: log.clone(), tail: 0, head: 1 }.put_frame(&mut bytes);
    let Some(Item::Segment { meta, hash, body }) = ring.item(&log, 0) else { panic!("no segment") };
    put_schema(&mut bytes, meta.schema, &ring.schema(&log, meta.schema).unwrap());
    SegmentFrame { meta, hash, body: &body }.put(&mut bytes);
    let send = |store: &mut Store| {
        let mut receiver = BatchReceiver::new(&bytes, Terms::default(), 0);
        for _ in 0..100 {
            match receiver.poll().clone() {
                Step::Reply(reply) => return reply,
                step => receiver.handle(store.take(&step)),
            }
        }
        panic!("no reply within 100 steps");
    };
    let Reply::Refusal(refusal) = send(&mut store) else { panic!("nobody will ever end epoch 1") };
    assert_eq!(refusal.kind, RefusalKind::UnknownSession);
    assert!(store.entries.is_empty());
    assert!(matches!(hello(&mut store, living, vec![]), Reply::Hello(ack) if ack.epoch == Epoch(2)));
    assert!(matches!(send(&mut store), Reply::Batch(_)));
    assert_eq!(store.tip(Epoch(1), &log).cursor.lost(), 12);
}

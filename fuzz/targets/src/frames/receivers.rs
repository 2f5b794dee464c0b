//! Requests of any content against a store in memory: the chains in it stay what they promise to be.

use pyralog_sync_protocol::chain::link;
use pyralog_sync_protocol::frame::{
    BatchHead, Hello, LogHead, Reason, Receipt, Reply, SegmentFrame, SegmentMeta, put_schema,
};
use pyralog_sync_protocol::receiver::Terms;
use pyralog_sync_protocol::{BatchReceiver, Epoch, Fingerprint, HelloReceiver, Incarnation, LogName, Step};

use super::assembled;
use crate::bytes_in::Input;
use crate::peers::store::Store;

/// Requests in one input, and steps that one may take.
const MAX_REQUESTS: usize = 12;
const MAX_STEPS: usize = 10_000;

pub(super) fn receivers(mut input: Input<'_>) {
    let mut store = Store::default();
    for _ in 0..MAX_REQUESTS {
        if input.is_empty() {
            break;
        }
        let before = store.clone();
        let reply = match input.byte() % 4 {
            0 => hello(&mut store, &hello_of(&mut input)),
            1 => hello(&mut store, &assembled(&mut Input(input.piece()))),
            2 => batch(&mut store, assembled(&mut Input(input.piece()))),
            _ => {
                let bytes = batch_of(&mut input, &store);
                batch(&mut store, bytes)
            }
        };
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply), "an answer that no agent can read");
        store.check_with(|_, _, _, _| true).expect("chains without gaps, overlaps and false hashes");
        let kept = |entries: &std::collections::BTreeMap<u64, Vec<u8>>, key| {
            let now = &store.entries[key];
            entries.iter().all(|(base, entry)| now.get(base) == Some(entry))
        };
        assert!(before.entries.iter().all(|(key, entries)| kept(entries, key)), "something stored changed");
        assert!(store.closed.iter().all(|epoch| store.has_ended(*epoch)), "an ended epoch goes on");
    }
}

fn hello(store: &mut Store, bytes: &[u8]) -> Reply {
    let mut receiver = HelloReceiver::new(bytes, Terms::default(), 7);
    for _ in 0..MAX_STEPS {
        match receiver.poll().clone() {
            Step::Reply(reply) => return reply,
            step => receiver.handle(store.take(&step)),
        }
    }
    panic!("a hello that takes more than {MAX_STEPS} steps");
}

fn batch(store: &mut Store, bytes: Vec<u8>) -> Reply {
    let mut receiver = BatchReceiver::new(bytes, Terms::default(), 7);
    for _ in 0..MAX_STEPS {
        match receiver.poll().clone() {
            Step::Reply(reply) => return reply,
            step => receiver.handle(store.take(&step)),
        }
    }
    panic!("a batch that takes more than {MAX_STEPS} steps");
}

fn incarnation(input: &mut Input<'_>) -> Incarnation {
    Incarnation([input.byte() % 3; 16])
}

fn log(input: &mut Input<'_>) -> LogName {
    let names = ["a", "bb", "c c", "ä/.."];
    LogName::new(names[usize::from(input.byte()) % names.len()]).unwrap()
}

fn log_head(input: &mut Input<'_>) -> LogHead {
    let (log, tail) = (log(input), input.number());
    LogHead { log, tail, head: tail.saturating_add(input.number()) }
}

fn hello_of(input: &mut Input<'_>) -> Vec<u8> {
    let incarnation = incarnation(input);
    let (epoch, after) = (u32::from(input.byte() % 5), Epoch(u32::from(input.byte() % 5)));
    let logs = (0..input.byte() % 4).map(|_| log_head(input)).collect();
    Hello { incarnation, epoch: (epoch > 0).then_some(Epoch(epoch)), after, logs }.encode()
}

/// A batch whose pieces mostly follow from what the store holds, and sometimes do not.
fn batch_of(input: &mut Input<'_>, store: &Store) -> Vec<u8> {
    let head = BatchHead { incarnation: incarnation(input), epoch: Epoch(u32::from(input.byte() % 5)) };
    let mut out = head.begin();
    for _ in 0..input.byte() % 4 {
        let section = log_head(input);
        let mut tip = store.tip(head.epoch, &section.log);
        section.put_frame(&mut out);
        let schema = [input.byte() % 3];
        if !input.byte().is_multiple_of(4) {
            put_schema(&mut out, Fingerprint::of(&schema), &schema);
        }
        for _ in 0..input.byte() % 5 {
            let choice = input.byte();
            let base = match choice & 3 {
                0 => input.number(),
                _ => tip.cursor.next,
            };
            let count = input.number();
            match choice & 4 {
                0 => {
                    let rows = count.clamp(1, 1 << 20) as u32;
                    let meta = SegmentMeta {
                        base,
                        rows,
                        min_time: -1,
                        max_time: 5,
                        encoding: 1,
                        schema: Fingerprint::of(&schema),
                    };
                    let body = input.piece();
                    let mut hash = link(tip.hash, &meta, body);
                    hash.0[0] ^= choice >> 6;
                    if base.checked_add(u64::from(rows)).is_some() {
                        SegmentFrame { meta, hash, body }.put(&mut out);
                        (tip.cursor.next, tip.hash) = (meta.end(), hash);
                    }
                }
                _ => {
                    let reason = Reason::ALL[usize::from(choice >> 6)];
                    let (min_time, max_time, to) = (0, 1, base.saturating_add(count));
                    Receipt { from: base, to, reason, min_time, max_time, hash: tip.hash }.put(&mut out);
                    tip.cursor.next = to;
                }
            }
        }
    }
    out
}

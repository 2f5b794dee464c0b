//! Any answers to a sender: it never panics, never loses its account but to a hub that lies, and stays fenced once it is.

use std::time::Duration;

use pyralog_sync_protocol::frame::{BatchAck, Frames, Hello, HelloAck, Refusal, RefusalKind, Reply};
use pyralog_sync_protocol::limits::MAX_BATCH;
use pyralog_sync_protocol::{
    Action, Cursor, Epoch, Failure, Fingerprint, Incarnation, LogName, Sender, SenderConfig, SenderState, Source,
};

use super::assembled;
use crate::bytes_in::Input;
use crate::peers::ring::{Logs, Ring};

const MAX_EVENTS: usize = 200;

pub(super) fn sender(mut input: Input<'_>) {
    let config = SenderConfig { max_batch: u32::from(input.byte()) * 64, ..SenderConfig::default() };
    let mut sender = Sender::new(Incarnation([1; 16]), config);
    let ring = Ring::new(Logs::new(), 4, 3);
    let names = ["a", "bb"].map(|name| LogName::new(name).unwrap());
    let mut now = Duration::ZERO;
    for _ in 0..MAX_EVENTS {
        if input.is_empty() {
            break;
        }
        let fenced = sender.status().state == SenderState::Fenced;
        match input.byte() % 8 {
            0 => ring.append(&names[0], |offset| offset),
            1 => ring.append(&names[1], |offset| offset),
            2 => _ = ring.evict(&names[0]),
            3 => now += Duration::from_secs(input.number().min(100_000)),
            4 => sender.handle_demand(),
            5 => sender.handle_flush(),
            6 => sender.handle_failure(now, Failure::Transport("away".to_owned())),
            _ => {
                let bytes = match input.byte() % 2 {
                    0 => assembled(&mut Input(input.piece())),
                    _ => reply_of(&mut input, &ring).encode(),
                };
                sender.handle_reply(now, &bytes, &ring);
            }
        }
        match sender.poll(now, &ring) {
            Action::Wait { until } => assert!(until.is_none_or(|until| until >= now)),
            Action::Seal => ring.seal_all(),
            Action::Hello(bytes) => assert!(Hello::decode(&bytes).is_ok()),
            Action::Batch(bytes) => check_batch(&bytes),
        }
        if fenced {
            assert_eq!(sender.status().state, SenderState::Fenced, "fenced, and goes on");
        }
        for (log, books) in ring.books() {
            // A hub that claims more than there was is beyond what an account can mend.
            assert!(books.ahead || books.balance(), "{log}: {books:?}");
        }
    }
}

fn check_batch(bytes: &[u8]) {
    assert!(bytes.len() <= MAX_BATCH, "a batch of {} bytes", bytes.len());
    let mut frames = Frames::new(bytes).unwrap();
    while frames.next_frame().expect("frames that can be read").is_some() {}
}

/// An answer as a hub could give it, but for its truth.
fn reply_of(input: &mut Input<'_>, ring: &Ring) -> Reply {
    let log = || LogName::new("a").unwrap();
    let cursors: Vec<_> = ring
        .logs()
        .into_iter()
        .map(|log| {
            let next = input.number().min(log.head);
            let mut receipted = [0; 4];
            receipted[usize::from(input.byte() % 4)] = input.number().min(next);
            (log.log, Cursor { next, receipted })
        })
        .collect();
    let pause = Duration::from_millis(input.number());
    let kind = match input.byte() % 12 {
        0..3 => {
            let (epoch, max_batch) = (Epoch(u32::from(input.byte() % 4) + 1), input.number().min(1 << 31) as u32);
            return Reply::Hello(HelloAck { epoch, max_batch, pause, hub_time: 0, cursors });
        }
        3 => return Reply::Batch(BatchAck { pause, cursors }),
        4 => RefusalKind::Fenced { newest: Epoch(3) },
        5 => RefusalKind::Newest { newest: Epoch(u32::from(input.byte())) },
        6 => RefusalKind::UnknownSession,
        7 => RefusalKind::NeedSchema { fingerprint: Fingerprint([1; 8]) },
        8 => RefusalKind::Expected { log: log(), offset: input.number() },
        9 => RefusalKind::Corrupt { log: log(), base: input.number() },
        10 => RefusalKind::TooLarge { limit: input.number().min(1 << 31) as u32 },
        _ => RefusalKind::Busy { retry_after: pause },
    };
    Reply::Refusal(Refusal::new(kind, "why", cursors))
}

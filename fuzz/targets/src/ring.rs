//! A small ring for one input, and what must hold of it afterwards.

use pyralog_agent::ring::{Budget, Clock, Ring, RingConfig};

pub(crate) const MEMORY: u64 = 4 << 20;

pub(crate) fn ring() -> (Ring, Clock) {
    let config =
        RingConfig { max_memory: MEMORY, max_logs: 8, max_columns: 32, segment_rows: 64, ..RingConfig::default() };
    (Ring::new(config, Budget::new(MEMORY)), Clock::start())
}

/// What is reported as accepted is what the logs took. The log `_rejected` may take some of it, too, if a sender names it.
pub(crate) fn check_accepted(ring: &Ring, reported: u64, body: &[u8]) {
    let logs = ring.logs();
    let sum = |of: &dyn Fn(&str) -> bool| -> u64 {
        logs.iter().filter(|log| of(&log.name)).map(|log| log.account.accepted).sum()
    };
    let (named, all) = (sum(&|name| name != "_rejected"), sum(&|_| true));
    let is_named = body.windows(9).any(|window| window == b"_rejected");
    assert!(named == reported || is_named && named < reported && reported <= all, "{reported} reported, {named} taken");
}

/// The ring is sound, every account comes out, and no request holds anything any more.
pub(crate) fn settle(ring: &Ring) {
    ring.check_invariants();
    for log in ring.logs() {
        let account = &log.account;
        let receipted: u64 = account.receipted.iter().sum();
        assert_eq!(account.accepted, account.committed + account.pending + receipted, "{}", log.name);
    }
    assert!(ring.budget().used() <= MEMORY);
    // Whatever a request reserved was given back: all of that share can be had again.
    let all = ring.reserve(MEMORY / 8 * 3);
    assert!(all.is_ok(), "something of an input that is over is still charged: {all:?}");
}

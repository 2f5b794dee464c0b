//! A few rounds of chaos, one for each fault and others beside it; `chaos` does the same for as long as one likes.

use clap::ValueEnum;
use pyralog_e2e::Result;
use pyralog_e2e::chaos::faults::Fault;
use pyralog_e2e::chaos::world::Size;
use pyralog_e2e::chaos::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_every_fault_each_record_is_accounted_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let faults = Fault::value_variants().to_vec();
    let size = Size { agents: 2, max_memory: 8 << 20 };
    let rounds = faults.len() as u64;
    let plan = Plan { seed: 7, rounds, only: None, faults, in_order: true, at_once: 3, reckon_every: 7, size };
    let outcome = run(folder.path(), &plan, |script| println!("{script}")).await?;
    println!("{outcome:?}");
    let left_out: Vec<_> = outcome.left_out.iter().map(|fault| fault.name()).collect();
    if !left_out.is_empty() {
        println!("not run: {}; this machine does not let us mount a disk (`unshare --mount`)", left_out.join(", "));
    }
    let totals = &outcome.totals;
    assert!(totals.acked > 0 && totals.committed > 0, "{totals:?}");
    assert!(totals.receipted.get("evicted").is_some_and(|evicted| *evicted > 0), "nothing was evicted: {totals:?}");
    assert!(totals.unknown_committed > 0, "no record of unknown fate was stored: {totals:?}");
    assert!(totals.repeated > 0, "no record that was sent again was there twice: {totals:?}");
    assert!(totals.committed + totals.receipted.values().sum::<u64>() + totals.lost_with_life >= totals.acked);
    Ok(())
}

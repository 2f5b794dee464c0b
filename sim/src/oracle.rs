//! The verdict: when all has settled, every offset that was ever accepted is committed bit for bit, or in one receipt, or was
//! lost with its agent's memory before any hub heard of it.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_hub::account::{self, AccountError, EpochAccount};
use pyralog_hub::scan::{Found, Scan, Selection};
use pyralog_hub::store::SharedStore;
use pyralog_hub::verify::{Scope, verify};

use crate::agent::Agent;
use crate::disk::Disk;
use crate::hubs::AGENT_ID;
use crate::ledger::{self, Incarnation, LogLife};
use crate::rows::{self, Kept};
use crate::sabotage::Sabotage;
use crate::world::World;

type Accounts = BTreeMap<(u32, String), EpochAccount>;

/// Looks at everything once more; says what is wrong.
pub async fn check(world: &World, living: &[Agent]) -> Result<(), String> {
    let store = Disk::store(world, None);
    whole(&store).await?;
    let epochs = epochs(world, &store).await?;
    let newest = epochs.keys().next_back().copied().unwrap_or_default();
    let mut accounts = Accounts::new();
    for log in names(world, &store).await? {
        let account = match account::log(&*store, AGENT_ID, &log).await {
            Ok(account) => account,
            Err(AccountError::UnknownLog { .. } | AccountError::UnknownAgent { .. }) => continue,
            Err(error) => return Err(error.to_string()),
        };
        for account in account.epochs {
            if account.closed != (account.epoch < newest) {
                return Err(format!("{log}, epoch {}: closed is {}", account.epoch, account.closed));
            }
            accounts.insert((account.epoch, log.clone()), account);
        }
    }
    for ((epoch, log), account) in &accounts {
        let opener = epochs.get(epoch).ok_or_else(|| format!("{log} has the unknown epoch {epoch}"))?;
        let rows = read_back(world, &store, log, *epoch).await?;
        let ledger = world.ledger.lock();
        let life = ledger.life(opener).and_then(|life| life.logs.get(log));
        let empty = LogLife::default();
        compare(account, life.unwrap_or(&empty), &rows).map_err(|what| format!("{log}, epoch {epoch}: {what}"))?;
        tally(world, account);
    }
    lives(world, &epochs, &accounts)?;
    for agent in living {
        let epoch = epochs.iter().find(|(_, opener)| **opener == agent.incarnation).map(|(epoch, _)| *epoch);
        status(agent, epoch, &accounts).map_err(|what| format!("agent {}: {what}", agent.number))?;
        agent.watcher.account(world)?;
    }
    Ok(())
}

/// `verify` finds no fault.
async fn whole(store: &SharedStore) -> Result<(), String> {
    let mut fault = None;
    // Every segment is decoded when it is read back.
    let scope = Scope::default();
    let faults = verify(&**store, &scope, |finding| {
        if let Some(found) = &finding.fault {
            fault.get_or_insert_with(|| format!("{}: {}", found.name, found.reason));
        }
    });
    match faults.await {
        Ok(0) => Ok(()),
        Ok(faults) => Err(format!("verify finds {faults} faults: {}", fault.unwrap_or_default())),
        Err(error) => Err(error.to_string()),
    }
}

/// Who opened each epoch; they are dense, and no incarnation has two.
async fn epochs(world: &World, store: &SharedStore) -> Result<BTreeMap<u32, Incarnation>, String> {
    ledger::learn_epochs(world);
    let numbers = store.epochs(AGENT_ID).await.map_err(|error| error.to_string())?;
    let ledger = world.ledger.lock();
    let mut openers = BTreeSet::new();
    let mut epochs = BTreeMap::new();
    for (expected, number) in (1..).zip(numbers) {
        let opener = ledger.opener(number).filter(|opener| ledger.life(opener).is_some());
        let opener = opener.ok_or_else(|| format!("nobody opened epoch {number}"))?;
        if number != expected || !openers.insert(opener) {
            return Err(format!("epoch {number} where {expected} is expected, or opened twice by one agent"));
        }
        epochs.insert(number, opener);
    }
    world.most("epochs, at most", epochs.len() as u64);
    Ok(epochs)
}

/// Every log that the store or the ledger knows.
async fn names(world: &World, store: &SharedStore) -> Result<BTreeSet<String>, String> {
    let stored = store.logs(AGENT_ID, None, usize::MAX).await.map_err(|error| error.to_string())?;
    let ledger = world.ledger.lock();
    let accepted = ledger.lives().flat_map(|(_, life)| life.logs.keys().cloned());
    Ok(stored.into_iter().chain(accepted).collect())
}

/// The records of one chain with their offsets, in the order in which the hub gives them out.
async fn read_back(world: &World, store: &SharedStore, log: &str, epoch: u32) -> Result<Vec<(u64, Kept)>, String> {
    let selection = Selection { epoch: Some(epoch), ..Selection::default() };
    let (mut scan, _) = match Scan::open(store.clone(), AGENT_ID, log, selection).await {
        Ok(scan) => scan,
        // Heard of in a hello, and nothing more.
        Err(AccountError::UnknownLog { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut rows = Vec::new();
    while let Some(found) = scan.next().await.map_err(|error| error.to_string())? {
        let segment = match found {
            Found::Segment(segment) => segment,
            // Asked for by nobody here.
            Found::Receipt(_) => continue,
            Found::Damaged(damage) => return Err(format!("{}: {}", damage.name, damage.reason)),
        };
        let kept = rows::keep(&segment.batch, &segment.schema)?;
        for at in segment.rows.iter().cloned().flatten() {
            let kept = kept.get(at).ok_or("a row beyond its batch")?;
            rows.push((segment.base + at as u64, *kept));
        }
    }
    match world.sabotage {
        Sabotage::ShortReader if rows.len() > 3 => drop(rows.remove(2)),
        Sabotage::LyingReader if rows.len() > 3 => rows[2].1.sum ^= 1,
        _ => {}
    }
    Ok(rows)
}

/// Each offset below the chain's end is committed as it was accepted, or in exactly one receipt.
fn compare(account: &EpochAccount, life: &LogLife, rows: &[(u64, Kept)]) -> Result<(), String> {
    let (next, accepted) = (account.next_offset, life.rows.len() as u64);
    if next > accepted || next < life.acknowledged || (account.closed && next < life.heard) {
        let (acknowledged, heard) = (life.acknowledged, life.heard);
        return Err(format!(
            "it ends at {next}; acknowledged were {acknowledged}, heard of {heard}, accepted {accepted}"
        ));
    }
    let mut covered = vec![0_u8; next as usize];
    let mut cover = |offset: u64| match covered.get_mut(offset as usize) {
        Some(0) => {
            covered[offset as usize] = 1;
            Ok(())
        }
        Some(_) => Err(format!("offset {offset} is there twice")),
        None => Err(format!("offset {offset} is beyond the end, {next}")),
    };
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        return Err(format!("offset {} comes before {}", pair[0].0, pair[1].0));
    }
    for (offset, kept) in rows {
        cover(*offset)?;
        let expected = life.rows.get(*offset as usize).copied().flatten();
        if expected.is_some_and(|expected| expected != *kept) {
            return Err(format!("the record at {offset} is not the one that was accepted"));
        }
    }
    let mut receipted: BTreeMap<&str, u64> = BTreeMap::new();
    for receipt in account.receipts.iter().flatten() {
        for offset in receipt.from..receipt.to {
            cover(offset)?;
            let time = life.rows.get(offset as usize).copied().flatten().map(|kept| kept.time);
            let span = receipt.min_time.zip(receipt.max_time);
            if time.zip(span).is_some_and(|(time, (first, last))| time < first || time > last) {
                return Err(format!("the record at {offset}, of time {time:?}, is not within {receipt:?}"));
            }
        }
        *receipted.entry(receipt.reason).or_default() += receipt.to - receipt.from;
    }
    receipted.retain(|_, count| *count > 0);
    let deleted = account.deleted.as_ref().map_or((0, 0), |deleted| (deleted.below, deleted.records));
    let given_out = rows.iter().filter(|(offset, _)| *offset < deleted.0).count();
    // What is deleted are all the committed records below the mark: neither more nor fewer are missing there.
    let gone = covered.iter_mut().take(deleted.0 as usize).filter(|covered| **covered == 0);
    let gone = gone.map(|covered| *covered = 1).count() as u64;
    if given_out > 0 || gone != deleted.1 {
        return Err(format!("{:?}; {gone} are gone, {given_out} are given out all the same", account.deleted));
    }
    if let Some(missing) = covered.iter().position(|covered| *covered == 0) {
        return Err(format!("the record at {missing} is neither committed nor receipted"));
    }
    if account.committed != rows.len() as u64 + gone || account.receipted != receipted {
        return Err(format!("the account says {account:?}; there are {} records and {receipted:?}", rows.len()));
    }
    Ok(())
}

/// What of each life is in no account may only be what no hub heard of.
fn lives(world: &World, epochs: &BTreeMap<u32, Incarnation>, accounts: &Accounts) -> Result<(), String> {
    let ledger = world.ledger.lock();
    for (incarnation, life) in ledger.lives() {
        let epoch = epochs.iter().find(|(_, opener)| *opener == incarnation).map(|(epoch, _)| *epoch);
        for (name, log) in &life.logs {
            let account = epoch.and_then(|epoch| accounts.get(&(epoch, name.clone())));
            let (next, accepted) = (account.map_or(0, |account| account.next_offset), log.rows.len() as u64);
            world.add("records accepted", accepted);
            // What hubs had answered for before their store was put back is in no account, unless the agent sent it again.
            let known = next.max(log.forgotten.min(accepted));
            world.add("records that a restored store forgot", known - next);
            world.add("records that no hub heard of", accepted.saturating_sub(known));
            world.add("records not compared", log.rows.iter().filter(|row| row.is_none()).count() as u64);
            if next < log.heard.max(log.acknowledged) || (life.flushed && next != accepted) {
                return Err(format!(
                    "agent {}: {name}: {accepted} accepted, {next} accounted for, {} heard of, flushed {}",
                    life.number, log.heard, life.flushed
                ));
            }
        }
    }
    Ok(())
}

/// A living agent says of itself what the hub says of it, and nothing is pending.
fn status(agent: &Agent, epoch: Option<u32>, accounts: &Accounts) -> Result<(), String> {
    for log in agent.ring.logs() {
        let account = epoch.and_then(|epoch| accounts.get(&(epoch, log.name.to_string())));
        let (next, committed) = account.map_or((0, 0), |account| (account.next_offset, account.committed));
        let receipted = pyralog_agent::status::receipted(log.account.receipted);
        let known = account.map(|account| account.receipted.clone()).unwrap_or_default();
        let own = log.account;
        if own.pending > 0 || own.committed != committed || receipted != known || own.accepted != next {
            return Err(format!("{} says {own:?}; the hub says {account:?}", log.name));
        }
    }
    Ok(())
}

fn tally(world: &World, account: &EpochAccount) {
    world.add("records committed", account.committed);
    world.add("records committed and deleted", account.deleted.as_ref().map_or(0, |deleted| deleted.records));
    for (reason, count) in &account.receipted {
        world.add(
            match *reason {
                "evicted" => "records receipted as evicted",
                "expired" => "records receipted as expired",
                "lost" => "records receipted as lost",
                _ => "records receipted as corrupt",
            },
            *count,
        );
    }
}

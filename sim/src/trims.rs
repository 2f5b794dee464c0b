//! Retention in the simulated hubs: what it may delete, and that it deletes nothing else.

use std::sync::Arc;
use std::time::Duration;

use pyralog_hub::retention::{Budget, Limits, Trim};
use pyralog_hub::store::StoreError;
use pyralog_sync_protocol::entry::{Content, Entry};

use crate::disk::{Disk, Platter};
use crate::hubs::{self, AGENT_ID};
use crate::trace::Event;
use crate::world::World;

/// Bytes of the seal at the end of each object.
const SEAL: usize = 8;

/// What a hub may be told to keep.
const BYTES: [Option<u64>; 5] = [None, Some(0), Some(500), Some(3_000), Some(20_000)];
const AGES: [Option<Duration>; 3] = [None, Some(Duration::from_secs(10)), Some(Duration::from_secs(60))];

/// Lets a hub bring all logs within limits that chance chooses, as far as it comes.
pub fn happen(world: &World, hub: usize) {
    let (limits, work) = {
        let mut chance = world.trim_chance.lock();
        let limits = Limits { max_age: *chance.pick(&AGES), max_bytes: *chance.pick(&BYTES) };
        (limits, *chance.pick(&[5, 40, 10_000]))
    };
    world.note(Event::World(format!("hub {hub} is to keep {limits:?}, and may do {work}")));
    let (handle, now) = (Arc::clone(world), world.clocks.lock().hub(hub, world.elapsed()));
    hubs::employ(world, hub, async move {
        let world = handle;
        match round(&world, hub, limits, now, Budget(work)).await {
            Ok(()) => world.count("rounds of retention"),
            Err(error) => {
                world.count("rounds of retention that failed");
                world.note(Event::World(format!("retention at hub {hub}: {error}")));
            }
        }
    });
}

async fn round(world: &World, hub: usize, limits: Limits, now: i64, mut budget: Budget) -> Result<(), StoreError> {
    let store = Disk::store(world, Some(hub));
    for log in store.logs(AGENT_ID, None, usize::MAX).await? {
        let trim = Trim { store: &*store, agent: AGENT_ID, log: &log, limits, now, dry_run: false };
        let done = trim.run(&mut budget).await?;
        if let Some((name, reason)) = done.stuck.first() {
            // Objects of the simulation are never damaged, and another hub's work is none either.
            world.fail(format!("retention takes {name} for damaged: {reason}"));
        }
        world.add("entries deleted", done.entries);
        world.add("records deleted", done.records);
    }
    Ok(())
}

impl Platter {
    /// Whether it is written down that something near `base` was deleted: not further below it than a 256th of it, or 64.
    fn is_noted(&self, folder: &str, base: u64) -> bool {
        let begins = format!("{folder}/deleted/");
        let names = self.names_from(begins.clone()).map_while(|name| name.strip_prefix(&begins));
        let firsts = names.filter_map(|first| u64::from_str_radix(first, 16).ok());
        firsts.take_while(|first| *first <= base).last().is_some_and(|first| base - first < (first / 256).max(64))
    }

    /// Whether an object may be deleted as the platter is now: heads and marks that newer ones have replaced, and segments below
    /// a mark that are not the last of their chain.
    pub(crate) fn may_delete(&self, name: &str) -> Result<(), String> {
        let (folder, number) = name.rsplit_once('/').ok_or("it is in no folder")?;
        let above = |folder: &str, number: &str| {
            let begins = format!("{folder}/");
            let from = format!("{begins}{number}\0");
            let mut names = self.names_from(from).take_while(move |name| name.starts_with(&begins));
            names.find(|name| !name[folder.len() + 1..].contains('/')).is_some()
        };
        if folder.contains("/heads/") {
            return Ok(());
        }
        if folder.ends_with("/trimmed") {
            return if above(folder, number) { Ok(()) } else { Err("it is the newest mark".into()) };
        }
        let base: u64 = number.parse().map_err(|_| "it is no entry")?;
        if !self
            .names_from(format!("{folder}/trimmed/{:016x}", base.saturating_add(1)))
            .next()
            .is_some_and(|mark| mark.strip_prefix(folder).is_some_and(|mark| mark.starts_with("/trimmed/")))
        {
            return Err("no mark says so".into());
        }
        if !self.is_noted(folder, base) {
            return Err("no note keeps those who come late from its place".into());
        }
        if !above(folder, number) {
            return Err("it is the last entry of its chain".into());
        }
        let Some(object) = self.object(name) else { return Ok(()) };
        let entry = Entry::decode(&object[..object.len().saturating_sub(SEAL)]).map_err(|error| error.to_string())?;
        match entry.content() {
            Ok(Content::Segment(_)) => Ok(()),
            Ok(Content::Receipt(_)) => Err("it is a receipt".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

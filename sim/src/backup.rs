//! A store that is put back to what it was: restored from a backup, or emptied by mistake.
//!
//! What was committed since the backup is gone, whatever a hub acknowledged of it; no protocol can help that. What must hold
//! all the same: nothing is twice, nothing is wrong, what was acknowledged before the backup or after the return is there, and agents
//! that live hear of it and send again what they still have. The ledger therefore forgets, with the store, what hubs
//! acknowledged and heard of since the backup, and nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::hubs;
use crate::ledger::{self, Mark};
use crate::trace::Event;
use crate::world::World;

/// The store as it was, and what hubs had promised then. At first: nothing at all.
#[derive(Debug, Default)]
pub struct Backup {
    objects: BTreeMap<String, Bytes>,
    mark: Mark,
}

/// Takes a backup of the store as it is at this moment, in place of the one before.
pub fn take(world: &World) {
    ledger::learn_epochs(world);
    let backup = Backup { objects: world.platter.lock().copy(), mark: world.ledger.lock().mark() };
    world.note(Event::World(format!("a backup of {} objects", backup.objects.len())));
    world.count("backups");
    *world.backup.lock() = backup;
}

/// Stops all hubs and puts the store back to what it was at the last backup. The hubs come up again by themselves.
pub fn restore(world: &World) {
    ledger::learn_epochs(world);
    (0..world.plan.terms.len()).for_each(|hub| hubs::crash(world, hub, "the store is restored from a backup"));
    let backup = world.backup.lock();
    let lost = world.platter.lock().put_back(&backup.objects);
    world.ledger.lock().put_back(&backup.mark);
    world.note(Event::World(format!("the store is as it was at the backup: {lost} objects are gone")));
    world.count("restored stores");
    world.add("restored stores that were emptied", u64::from(backup.objects.is_empty()));
    world.add("objects gone with a restored store", lost);
}

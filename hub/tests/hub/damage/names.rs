//! `verify` names every damaged object by its exact path, and every missing one by where it should be.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use pyralog_hub::retention::{Budget, Limits, Trim};
use pyralog_hub::store::{SharedStore, open_directory};
use pyralog_hub::verify::{Scope, verify};

use super::kinds::{Damage, Seeded, damage, damages};
use super::store::{fill, folder as store_folder, kind, objects};
use crate::device::{get, hub};

/// Names and remedies of all faults.
async fn faults(folder: &Path) -> Vec<(String, String)> {
    let store: SharedStore = Arc::new(open_directory(folder).unwrap());
    let mut found = Vec::new();
    let note = |finding: &pyralog_hub::verify::Finding| {
        found.extend(finding.fault.as_ref().map(|fault| (fault.name.clone(), fault.remedy.to_owned())));
    };
    verify(&*store, &Scope::default(), note).await.unwrap();
    found
}

#[tokio::test]
async fn every_damage_of_every_object_is_named_but_for_a_known_few() {
    let folder = store_folder();
    fill(folder.path()).await.stop().await;
    assert_eq!(faults(folder.path()).await, []);
    let names = objects(folder.path());
    let kinds: BTreeSet<_> = names.iter().map(|name| kind(name)).collect();
    assert_eq!(Vec::from_iter(kinds), ["closed", "entry", "epochs", "heads", "note", "register", "schemas"]);
    let (mut random, mut unseen, mut count) = (Seeded(0x5eed), Vec::new(), 0);
    for name in &names {
        for what in damages(folder.path(), &names, name, 7, &mut random) {
            let done = damage(folder.path(), name, &what);
            let found = faults(folder.path()).await;
            done.undo();
            count += 1;
            let named = |wanted: &str| found.iter().any(|(name, _)| name == wanted);
            assert!(found.iter().all(|(_, remedy)| !remedy.is_empty()), "{name} {what:?}: {found:?}");
            match &what {
                _ if found.is_empty() => unseen.push((name.clone(), what)),
                // Of one chain the first fault is named, and the two may be of one.
                Damage::Swap(other) => assert!(named(name) || named(other), "{name} {what:?}: {found:?}"),
                _ => assert!(named(name), "{name} {what:?}: {found:?}"),
            }
        }
    }
    assert!(count > 600, "{count} damages");
    // The newest end of a chain that may still grow, and how far ahead an agent said it was: nothing in the store tells that
    // they were there.
    let gone = [
        "agents/board-17/heads/0000000001/00000000000000000027",
        "agents/board-17/heads/0000000002/00000000000000000004",
        "agents/board-17/logs/climate/0000000002/00000000000000000005",
        "agents/board-17/logs/vibration%20%2F%20x/0000000002/00000000000000000002",
        "agents/board-18/logs/climate/0000000001/00000000000000000000",
        "agents/board-18/logs/host/0000000001/00000000000000000000",
    ];
    assert_eq!(unseen, gone.map(|name| (name.to_owned(), Damage::Delete)));
    assert_eq!(faults(folder.path()).await, [], "all is mended");
}

#[tokio::test]
async fn every_damage_of_what_retention_left_is_named() {
    let folder = store_folder();
    fill(folder.path()).await.stop().await;
    let store = open_directory(folder.path()).unwrap();
    let limits = Limits { max_age: None, max_bytes: Some(0) };
    let trim = Trim { store: &store, agent: "board-17", log: "climate", limits, now: 0, dry_run: false };
    assert_eq!(trim.run(&mut Budget(1_000)).await.unwrap().records, 13 + 5);
    assert_eq!(faults(folder.path()).await, []);
    let chain = "agents/board-17/logs/climate/0000000001";
    let mark = format!("{chain}/trimmed/0000000000000011");
    let names = objects(folder.path()).into_iter().filter(|name| name.starts_with(chain));
    let (notes, names): (Vec<_>, Vec<_>) = names.partition(|name| kind(name) == "deletion");
    let entries: Vec<_> = names.iter().filter(|name| kind(name) == "entry").collect();
    assert_eq!(entries.len(), 2, "the receipt of a loss, and the one that closes the chain");
    assert!(names.contains(&mark), "{names:?}");
    let hub = hub(folder.path()).await;
    let records = format!("{}/v1/agents/board-17/logs/climate/records?epoch=1", hub.url());
    let (mut random, mut count) = (Seeded(7), 0);
    for name in names.iter().filter(|name| kind(name) != "note") {
        for what in damages(folder.path(), &names, name, 20, &mut random) {
            let done = damage(folder.path(), name, &what);
            let found = faults(folder.path()).await;
            let (status, body) = get(&records).await;
            done.undo();
            count += 1;
            let wanted = match &what {
                // What was deleted passes for missing.
                Damage::Delete if *name == mark => format!("{chain}/{:020}", 0),
                // The mark knows how much was receipted below it.
                Damage::Delete if name == entries[0] => mark.clone(),
                _ => name.clone(),
            };
            let named = found.iter().any(|(name, _)| *name == wanted);
            // Of two objects that changed places the mark's, or the first, is named.
            let other = matches!(&what, Damage::Swap(other) if found.iter().any(|(name, _)| name == other));
            assert!(named || other, "{name} {what:?}: {found:?}");
            // Readers go past receipts below the mark; whatever else is damaged breaks off their stream.
            assert!(name == entries[0] || status >= 500, "{name} {what:?}: {status} {body}");
        }
    }
    assert!(count > 80, "{count} damages");
    assert_eq!(faults(folder.path()).await, [], "all is mended");
    // Of the note that something was deleted all that counts is whether it is there, and only hubs that hung since before ask.
    assert_eq!(notes, [format!("{chain}/deleted/0000000000000000")]);
    let done = damage(folder.path(), &notes[0], &Damage::Delete);
    assert_eq!((faults(folder.path()).await, get(&records).await.0), (vec![], 200));
    done.undo();
}

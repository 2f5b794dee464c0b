//! Everything that fuzzing has kept, once more: the corpora, and each input that was a crash when it was found.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use pyralog_fuzz::{TARGETS, Target};

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(kind).join(target);
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let mut files: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn replay(kind: &str, (name, run): &Target) -> usize {
    let files = inputs(kind, name);
    for file in &files {
        let data = std::fs::read(file).unwrap();
        if std::panic::catch_unwind(|| run(&data)).is_err() {
            panic!("{name} fails on {}", file.display());
        }
    }
    files.len()
}

#[test]
fn every_corpus_replays_and_none_is_empty() {
    for target in TARGETS {
        assert!(replay("corpus", target) > 0, "{}: no inputs in fuzz/corpus", target.0);
    }
}

#[test]
fn what_once_crashed_does_so_no_more() {
    for target in TARGETS {
        replay("crashes", target);
    }
}

#[test]
fn each_target_has_its_fuzzer_and_each_fuzzer_its_target() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no binary {name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
